//! Mails of a running host: through a relay, and on the terminal.
use countersign_tests::{Client, Site, api, smtp::Options};
use serde_json::json;
use std::{
    fs::{self, File},
    thread::sleep,
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};
use xtask::server;

/// A site whose mails go out through the delivery of that name, which has that table.
fn site(name: &str, settings: &[(&str, &str)]) -> Site {
    let site = Site::with_store("sqlite");
    site.edit(|config| {
        let mut own = Table::new();
        settings.iter().for_each(|(key, setting)| own[key] = value(*setting));
        let mut delivery = Table::new();
        delivery["use"] = value(name);
        delivery[name] = Item::Table(own);
        config["delivery"] = Item::Table(delivery);
    });
    site
}

/// Asks for a mail to Ann, who has an account.
fn forget_password(browser: &mut Client) {
    let account = json!({ "email": "ann@example.org", "password": "correct horse battery staple" });
    assert_eq!(browser.post(&api("/register"), &account).expect("an answer").status, 201);
    let forgotten = json!({ "email": "ann@example.org" });
    assert_eq!(browser.post(&api("/password/reset"), &forgotten).expect("an answer").status, 202);
}

/// What `look` finds, once it finds something.
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

#[test]
fn a_host_sends_through_the_relay() {
    let server = Options::default().start();
    let url = format!("smtp://{}", server.address());
    let host = site("smtp", &[("url", &url), ("from", "Countersign <no-reply@example.org>")]).start();
    forget_password(&mut host.browser());
    let mail = in_time(|| server.seen().messages.pop());
    assert_eq!(mail.to, ["ann@example.org"]);
    assert!(mail.text.contains("token="), "{}", mail.raw);
    assert_eq!(mail.defects, Vec::<String>::new());
    assert!(!host.log().contains("token="), "{}", host.log());
    host.stop();
    assert_eq!(server.seen().messages.len(), 1);
}

#[test]
fn a_host_prints_mails_only_when_it_is_for_development() {
    let site = site("log", &[]);
    let check = |words: &[&str]| {
        let output = site.run(&[&["config", "check"], words].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (accepted, said) = check(&[]);
    assert!(!accepted && said.contains("--dev"), "{said}");
    assert_eq!(check(&["--dev"]), (true, String::new()));
    assert!(site.refuses().contains("--dev"), "{}", site.log());

    let terminal = site.path("terminal");
    let mut serve = site.command(&["serve", "--dev"]);
    serve
        .stdout(File::create(site.path("out")).expect("a file"))
        .stderr(File::create(&terminal).expect("a file"));
    let running = server::Server::start(&mut serve, site.address()).expect("a host for development");
    forget_password(&mut Client::browser(site.address()));
    in_time(|| {
        let shown = fs::read_to_string(&terminal).expect("what the terminal shows");
        let is_shown = shown.contains("│ To: ann@example.org") && shown.contains("token=");
        is_shown.then_some(())
    });
    running.stop().expect("it stops");
}
