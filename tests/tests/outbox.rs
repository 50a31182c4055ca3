//! Mails that wait, as an operator sees them, against a relay that is gone and comes back.
use countersign_tests::{
    Host, Site,
    smtp::{Options, Server},
};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    thread::sleep,
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};

/// A site that sends through a relay on that port of this machine.
fn site(port: u16) -> Site {
    let site = Site::with_store("sqlite");
    site.edit(|config| {
        let mut smtp = Table::new();
        smtp["url"] = value(format!("smtp://127.0.0.1:{port}"));
        smtp["from"] = value("Countersign <no-reply@example.org>");
        let mut delivery = Table::new();
        delivery["use"] = value("smtp");
        delivery["smtp"] = Item::Table(smtp);
        config["delivery"] = Item::Table(delivery);
    });
    site
}

/// A port on which nobody listens any more.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn outbox(site: &Site, words: &[&str]) -> (bool, Value, String) {
    let output = site.run(&[&["outbox"], words, &["--json"]].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.success(), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn in_time<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "it did not come");
        sleep(Duration::from_millis(50));
    }
}

const FORGOTTEN: &str = "POST /password/reset";

fn ask_for_a_link(host: &Host, email: &str) {
    host.user_fixture(email);
    host.browser().ask(FORGOTTEN, json!({ "email": email })).expect(202);
}

/// The mail to that address, once it was tried and waits again.
fn tried(site: &Site, to: &str) -> Value {
    in_time(|| {
        let (_, listed, _) = outbox(site, &["list"]);
        let is_it = |one: &&Value| one["mail"] == "password-reset" && one["to"] == to;
        let message = listed["messages"].as_array()?.iter().find(is_it)?.clone();
        (message["sending"] == false && message["tries"].as_u64() >= Some(1)).then_some(message)
    })
}

/// Nothing waits any more.
fn emptied(site: &Site) {
    in_time(|| (outbox(site, &["list"]).1["messages"] == json!([])).then_some(()));
}

/// What is on record of that event, as soon as anything is.
fn told(site: &Site, event: &str) -> String {
    in_time(|| {
        let told = site.run(&["audit", "tail", "--event", event, "--json"]);
        Some(String::from_utf8_lossy(&told.stdout).into_owned()).filter(|told| told.contains(event))
    })
}

/// To whom a link was mailed, each as often as it was.
fn linked(relay: &Server) -> Vec<String> {
    let mails = relay.seen().messages.into_iter().filter(|mail| mail.text.contains("token="));
    mails.flat_map(|mail| mail.to).collect()
}

#[test]
fn a_mail_waits_for_a_relay_that_is_gone_and_is_tried_when_an_operator_says_so() {
    let port = free_port();
    let host = site(port).start();
    ask_for_a_link(&host, "ann@example.org");
    let message = tried(host.site(), "ann@example.org");
    assert_eq!(message["to"], "ann@example.org");
    assert!(message["last_error"].as_str().expect("why").contains("connection refused"), "{message}");
    assert!(!message.to_string().contains("token"), "{message}");
    let text = host.site().run(&["outbox", "list"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("password-reset") && text.contains("ann@example.org"), "{text}");

    let (known, _, said) = outbox(host.site(), &["retry", "0123"]);
    assert!(!known && said.contains("no message `0123` waits"), "{said}");
    let relay = Options::default().port(port).start();
    let (retried, done, said) = outbox(host.site(), &["retry", message["id"].as_str().expect("an id")]);
    assert!(retried && done["retried"][0] == message["id"] && done["host_runs"] == true, "{done} {said}");
    let links = in_time(|| Some(linked(&relay)).filter(|links| !links.is_empty()));
    assert_eq!(links, ["ann@example.org"]);
    told(host.site(), "mail.sent");
    told(host.site(), "mail.retried");
}

#[test]
fn without_a_host_what_waits_is_seen_and_sent_when_one_runs() {
    let port = free_port();
    let host = site(port).start();
    ask_for_a_link(&host, "ann@example.org");
    tried(host.site(), "ann@example.org");
    let site = host.stop();
    let relay = Options::default().port(port).start();
    let (listed, seen, said) = outbox(&site, &["list"]);
    assert!(listed && !seen["messages"].as_array().expect("messages").is_empty(), "{seen} {said}");
    let (retried, done, said) = outbox(&site, &["retry", "--all"]);
    assert!(
        retried
            && done["host_runs"] == false
            && done["retried"].as_array().is_some_and(|all| !all.is_empty())
    );
    let text = site.run(&["outbox", "retry", "--all"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("as soon as a host runs"), "{said} {text}");
    assert!(relay.seen().messages.is_empty(), "no second process works the outbox");
    let host = site.start();
    emptied(host.site());
    assert_eq!(linked(&relay), ["ann@example.org"]);
}

#[test]
fn what_a_relay_may_have_taken_is_on_record_and_not_sent_twice() {
    let relay = Options::default().fault("none").start();
    relay.fault("drop-after-taking", Some(1));
    let host = site(relay.address().port()).start();
    ask_for_a_link(&host, "ann@example.org");
    assert!(told(host.site(), "mail.uncertain").contains("password-reset"));
    emptied(host.site());
    assert_eq!(linked(&relay), ["ann@example.org"]);
}

#[test]
fn what_a_relay_refuses_for_good_waits_no_more_and_is_on_record() {
    let relay = Options::default().fault("refuse").start();
    let host = site(relay.address().port()).start();
    ask_for_a_link(&host, "ann@example.org");
    let told = told(host.site(), "mail.failed");
    assert!(told.contains("password-reset") && !told.contains("token="), "{told}");
    emptied(host.site());
    relay.fault("none", None);
    let (done, retried, said) = outbox(host.site(), &["retry", "--all"]);
    assert!(done && retried["retried"] == json!([]), "{retried} {said}");
    assert_eq!(linked(&relay), Vec::<String>::new());
}

#[test]
fn after_a_long_absence_of_the_relay_what_is_still_good_comes_once_and_the_rest_never() {
    let port = free_port();
    let host = site(port).with_clock().start();
    ask_for_a_link(&host, "old@example.org");
    let old = tried(host.site(), "old@example.org");
    // A link lives for 30 minutes.
    host.site().clock().advance(Duration::from_hours(2));
    for fresh in ["ann@example.org", "bob@example.org"] {
        ask_for_a_link(&host, fresh);
        tried(host.site(), fresh);
    }
    let (_, listed, _) = outbox(host.site(), &["list"]);
    let waiting = listed["messages"].as_array().expect("messages");
    assert!(waiting.iter().all(|message| message["to"] != "old@example.org"), "{listed}");
    let (known, _, said) = outbox(host.site(), &["retry", old["id"].as_str().expect("an id")]);
    assert!(!known && said.contains("waits to be sent"), "{said}");

    let relay = Options::default().port(port).start();
    // One is sent by the host that has it in its queue, and whatever is left by the next host.
    let ann = tried(host.site(), "ann@example.org");
    assert!(outbox(host.site(), &["retry", ann["id"].as_str().expect("an id")]).0);
    in_time(|| Some(linked(&relay)).filter(|links| links.iter().any(|to| to == "ann@example.org")));
    let host = host.stop().start();
    emptied(host.site());
    let failed = told(host.site(), "mail.failed");
    assert!(failed.contains("its life ended"), "{failed}");
    let mut links = linked(&relay);
    links.sort_unstable();
    assert_eq!(links, ["ann@example.org", "bob@example.org"]);
}
