//! Plugins that hang: every request is answered, nobody is let in, and the host lives.
use countersign_tests::{Client, Host, Reply, Site, api, fixture};
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};
use toml_edit::{ArrayOfTables, Item, Table, value};

/// Far above two seconds on any machine, and far below what a request would wait for a call that hangs.
const PATIENCE: Duration = Duration::from_secs(15);

fn armed(host: &Host) -> PathBuf {
    host.site().path("armed")
}

fn arm(host: &Host) {
    fs::write(armed(host), "").expect("armed");
}

fn disarm(host: &Host) {
    fs::remove_file(armed(host)).expect("disarmed");
}

fn trap(site: &Site) -> Table {
    let mut table = Table::new();
    table["armed_by"] = value(site.path("armed").to_str().expect("a path of text"));
    table
}

/// A host with the plugin that hangs; as the gate, it stands in the place of the one for second factors.
fn host_with_plugin(gates: bool) -> Host {
    let site = Site::new();
    if gates {
        site.edit(|config| {
            let all = config["plugin"].as_array_of_tables().expect("plugins").clone();
            let others = all
                .iter()
                .filter(|one| !one["file"].as_str().is_some_and(|file| file.contains("mfa")))
                .cloned();
            config["plugin"] = Item::ArrayOfTables(others.collect::<ArrayOfTables>());
            config.remove("mfa");
        });
    }
    site.add_plugin(&fixture("hangs"));
    site.edit(|config| {
        let mut table = trap(&site);
        table["gates"] = value(gates);
        config["hangs"] = Item::Table(table);
    });
    site.start()
}

fn host_with_store(fault: &str) -> Host {
    let site = Site::new();
    site.add_plugin(&fixture("store-faulty"));
    site.edit(|config| {
        let mut table = trap(&site);
        table["fault"] = value(fault);
        config["store"]["use"] = value("faulty");
        config["store"]["faulty"] = Item::Table(table);
    });
    site.start()
}

fn user() -> Value {
    json!({ "email": "a@example.org", "password": "correct horse battery staple" })
}

fn post(client: &mut Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer, whatever hangs")
}

fn get(client: &mut Client, path: &str) -> Reply {
    client.get(path).expect("an answer, whatever hangs")
}

/// Asks until the answer has that status.
#[track_caller]
fn soon(client: &mut Client, path: &str, status: u16) -> Reply {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let reply = get(client, path);
        if reply.status == status {
            return reply;
        }
        assert!(Instant::now() < give_up, "{path} goes on answering {}: {}", reply.status, reply.text());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The same request from so many clients at once.
fn crowd(host: &Host, clients: usize, ask: impl Fn(&mut Client) -> Reply + Sync) -> Vec<Reply> {
    thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                let mut client = host.program();
                scope.spawn(move || ask(&mut client))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[track_caller]
fn assert_refused(reply: &Reply, slugs: &[&str]) {
    let slug = reply.problem().unwrap_or_default();
    assert!(reply.status == 503 && slugs.contains(&slug.as_str()), "{}: {}", reply.status, reply.text());
    assert!(reply.header("set-cookie").is_none(), "a cookie on a refusal");
    for key in ["token", "user", "session", "challenge"] {
        assert!(reply.json()[key].is_null(), "the refusal carries `{key}`");
    }
}

#[test]
fn a_plugin_that_hangs_is_answered_for_and_then_left_alone() {
    let host = host_with_plugin(false);
    let mut client = host.program();
    let mut signed_in = host.browser();
    assert_eq!(post(&mut signed_in, "/register", &user()).status, 201);

    arm(&host);
    // More at once than the host has threads for requests, so that some of them have to be given away.
    let replies = crowd(&host, 20, |client| get(client, &api("/hangs/hang")));
    replies.iter().for_each(|reply| assert_refused(reply, &["plugin-fault", "busy"]));
    // Nothing is asked of it any more, not even what would not hang, and the host says so.
    assert_refused(&get(&mut client, &api("/hangs/well")), &["plugin-fault"]);
    assert_refused(&get(&mut client, "/readyz"), &["plugin-fault"]);
    assert!(host.log().contains("the plugin is in quarantine"), "the log does not say it");
    // Everything else goes on.
    assert_eq!(get(&mut client, "/healthz").status, 200);
    assert_eq!(get(&mut signed_in, &api("/me")).status, 200);
    assert_eq!(post(&mut host.browser(), "/login", &user()).status, 200);

    // When its calls have come back, so does it.
    disarm(&host);
    soon(&mut client, &api("/hangs/well"), 204);
    soon(&mut client, "/readyz", 200);
    assert_eq!(get(&mut client, &api("/hangs/hang")).status, 204);
    host.stop();
}

#[test]
fn nobody_is_let_in_past_a_gate_that_hangs() {
    let host = host_with_plugin(true);
    let mut signed_in = host.browser();
    assert_eq!(post(&mut signed_in, "/register", &user()).status, 201);
    assert_eq!(get(&mut signed_in, &api("/me")).status, 200);
    arm(&host);
    let login = |client: &mut Client| post(client, "/login", &user());
    // While it hangs, and when it has been given up.
    for _ in 0..2 {
        crowd(&host, 8, login).iter().for_each(|reply| assert_refused(reply, &["plugin-fault", "busy"]));
        assert_refused(&get(&mut signed_in, &api("/me")), &["plugin-fault"]);
        assert_eq!(get(&mut host.program(), "/healthz").status, 200);
    }
    assert_refused(&get(&mut host.program(), "/readyz"), &["plugin-fault"]);
    disarm(&host);
    soon(&mut signed_in, &api("/me"), 200);
    // What the host made of the calls that came back too late has let nobody in.
    let sessions = get(&mut signed_in, &api("/sessions")).json();
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1), "{sessions}");
    host.stop();
}

/// The gate's own act is part of the login: neither what the host reads before it nor what it writes after undoes it.
#[test]
fn what_a_gate_ends_at_a_login_stays_ended_and_the_new_session_lives() {
    let host = host_with_plugin(true);
    let mut first = host.browser();
    assert_eq!(post(&mut first, "/register", &user()).status, 201);
    assert_eq!(get(&mut first, &api("/me")).status, 200);
    for mut next in [host.browser(), host.browser()] {
        assert_eq!(post(&mut next, "/login", &user()).status, 200);
        assert_eq!(get(&mut next, &api("/me")).status, 200);
        assert_eq!(get(&mut first, &api("/me")).status, 401);
        first = next;
    }
    host.stop();
}

#[test]
fn a_store_that_hangs_refuses_and_comes_back() {
    for fault in ["hangs-in-get", "hangs-in-apply"] {
        let host = host_with_store(fault);
        let mut signed_in = host.browser();
        assert_eq!(post(&mut signed_in, "/register", &user()).status, 201, "{fault}");
        arm(&host);
        let login = |client: &mut Client| post(client, "/login", &user());
        for _ in 0..2 {
            let replies = crowd(&host, 8, login);
            replies.iter().for_each(|reply| {
                assert_refused(reply, &["plugin-fault", "store-unavailable", "busy"]);
            });
            assert_eq!(get(&mut host.program(), "/healthz").status, 200, "{fault}");
        }
        soon(&mut host.program(), "/readyz", 503);
        disarm(&host);
        soon(&mut host.program(), "/readyz", 200);
        soon(&mut signed_in, &api("/me"), 200);
        assert_eq!(post(&mut host.browser(), "/login", &user()).status, 200, "{fault}");
        host.stop();
    }
}

#[test]
fn a_host_stops_although_a_plugin_hangs() {
    let host = host_with_plugin(false);
    arm(&host);
    assert_refused(&get(&mut host.program(), &api("/hangs/hang")), &["plugin-fault"]);
    host.stop();
}
