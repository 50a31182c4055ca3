//! A store that breaks its word in each way it can: nobody is let in on it, nobody waits for ever, and the host lives.
use countersign_tests::{Client, Credentials, Host, Reply, Site, api, fixture};
use serde_json::{Value, json};
use std::fs;
use toml_edit::{Item, Table, value};

/// A fault of the fixture, and whether reads go wrong as well.
const FAULTS: [(&str, bool); 9] = [
    ("drops", false),
    ("forgets", false),
    ("writes-and-drops", false),
    ("panics-in-apply", false),
    ("conflicts", false),
    ("full", false),
    ("panics-in-get", true),
    ("unavailable", true),
    ("answers-too-little", true),
];

fn host_with(fault: &str) -> Host {
    let site = Site::new();
    site.add_plugin(&fixture("store-faulty"));
    let armed = site.path("armed");
    site.edit(|config| {
        let mut table = Table::new();
        table["fault"] = value(fault);
        table["armed_by"] = value(armed.to_str().expect("a path of text"));
        config["store"]["use"] = value("faulty");
        config["store"]["faulty"] = Item::Table(table);
    });
    site.start()
}

fn user() -> Value {
    json!({ "email": "a@example.org", "password": "correct horse battery staple" })
}

fn post(client: &mut Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer, however bad the store is")
}

#[track_caller]
fn assert_refused(reply: &Reply, fault: &str) {
    assert_eq!(reply.status, 503, "{fault}: {}", reply.text());
    assert!(reply.header("retry-after").is_some(), "{fault}: nobody is told when to come back");
    assert!(reply.header("set-cookie").is_none(), "{fault}: a cookie on a refusal");
    for key in ["token", "user", "session", "challenge", "recovery_codes"] {
        assert!(reply.json()[key].is_null(), "{fault}: the refusal carries `{key}`");
    }
}

#[test]
fn nothing_is_granted_on_a_write_that_the_store_did_not_confirm() {
    for (fault, reads_fail) in FAULTS {
        let host = host_with(fault);
        let armed = host.site().path("armed");
        let mut signed_in = host.browser();
        assert_eq!(post(&mut signed_in, "/register", &user()).status, 201, "{fault}: before it is armed");

        fs::write(&armed, "").expect("armed");
        assert_refused(&post(&mut host.browser(), "/login", &user()), fault);
        let other = json!({ "email": "b@example.org", "password": "correct horse battery staple" });
        assert_refused(&post(&mut host.browser(), "/register", &other), fault);
        // A session that cannot be read is neither valid nor ended.
        let me = signed_in.get(&api("/me")).expect("an answer");
        assert_eq!(me.status, if reads_fail { 503 } else { 200 }, "{fault}: {}", me.text());
        assert!(matches!(&signed_in.credentials, Credentials::Cookies(jar) if !jar.is_empty()), "{fault}");

        fs::remove_file(&armed).expect("disarmed");
        assert_eq!(signed_in.get(&api("/me")).expect("an answer").status, 200, "{fault}: after it");
        assert_eq!(post(&mut host.browser(), "/login", &user()).status, 200, "{fault}: after it");
        host.stop();
    }
}

#[test]
fn a_host_does_not_start_on_a_store_that_cannot_be_read() {
    let site = host_with("unavailable").stop();
    fs::write(site.path("armed"), "").expect("armed");
    let said = site.refuses();
    assert!(said.contains("unavailable"), "{said}");
}
