//! The store remembers that logins are gated: no start skips every second factor because a plugin is missing. And what
//! a gate refuses.
use countersign_tests::{Site, api, fixture};
use serde_json::json;
use std::fs;
use toml_edit::Item;

/// Takes the gate's plugin out of the configuration, as somebody who edits it by hand would.
fn take_out(site: &Site) {
    site.edit(|config| {
        config.remove("mfa");
        let plugins = config.get_mut("plugin").and_then(Item::as_array_of_tables_mut).expect("[[plugin]]");
        let is_gate = |file: &Item| file.as_str().is_some_and(|file| file.contains("plugin_mfa"));
        let at = plugins.iter().position(|entry| is_gate(&entry["file"])).expect("the gate's plugin");
        plugins.remove(at);
    });
}

#[test]
fn a_start_without_the_gate_is_refused_until_it_is_disarmed() {
    let site = Site::with_store("sqlite").start().stop();
    take_out(&site);
    let said = site.refuses();
    assert!(said.contains("gated by the plugin `mfa`") && said.contains("--disarm"), "{said}");

    let disarmed = site.run(&["plugin", "remove", "mfa", "--disarm"]);
    assert!(disarmed.status.success(), "{}", String::from_utf8_lossy(&disarmed.stderr));
    let told = site.run(&["audit", "tail", "--event", "gate.disarmed", "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(r#""plugin":"mfa""#) && told.contains(r#""actor":"cli""#), "{told}");
    let host = site.start();
    let user = json!({ "email": "ann@example.org", "password": "correct horse battery staple" });
    assert_eq!(host.browser().post(&api("/register"), &user).expect("an answer").status, 201);
    host.stop();
}

#[test]
fn a_store_that_never_had_a_gate_starts_without_one() {
    let site = Site::with_store("sqlite");
    take_out(&site);
    site.start().stop();
}

#[test]
fn removing_the_gate_needs_to_be_said() {
    let site = Site::with_store("sqlite").start().stop();
    let refused = site.run(&["plugin", "remove", "mfa"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--disarm"));
    site.start().stop();
}

/// Any plugin may be the gate, and what it says to a login is what becomes of it.
#[test]
fn whom_a_gate_refuses_is_turned_away_and_nothing_is_made_of_it() {
    let site = Site::with_store("memory");
    take_out(&site);
    site.add_plugin(&fixture("hangs"));
    let armed = site.path("armed");
    site.set("hangs.armed_by", armed.to_str().expect("a path of text"));
    site.set("hangs.gates", true);
    site.set("hangs.refuses", true);
    let host = site.start();
    let user = |email: &str| json!({ "email": email, "password": "correct horse battery staple" });
    let (ann, bob) = (user("ann@example.org"), user("bob@example.org"));
    host.browser().ask("POST /register", &ann).expect(201);
    fs::write(&armed, "").expect("armed");
    for (row, body) in [("POST /login", &ann), ("POST /register", &bob)] {
        let reply = host.browser().ask(row, body);
        reply.refused(429, "locked");
        assert_eq!((reply.header("retry-after"), reply.header("set-cookie")), (Some("60"), None), "{row}");
    }
    fs::remove_file(&armed).expect("disarmed");
    host.browser().ask("POST /login", &ann).expect(200);
    host.browser().ask("POST /register", &bob).expect(201);
    host.stop();
}
