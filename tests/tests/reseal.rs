//! `store reseal`: everything under a new key, with a host and without one, under load, and interrupted.
use countersign_tests::{Host, Site, sqlite3};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

fn command(site: &Site, words: &[&str]) -> (Option<i32>, Value) {
    let output = site.run(&[words, &["--json"]].concat());
    let text = [&output.stdout[..], &output.stderr].concat();
    let said =
        serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into());
    (output.status.code(), said)
}

#[track_caller]
fn done(site: &Site, words: &[&str]) -> Value {
    let (status, said) = command(site, words);
    assert_eq!(status, Some(0), "{words:?}: {said}");
    said
}

#[track_caller]
fn refused(site: &Site, words: &[&str], sentence: &str) {
    let (status, said) = command(site, words);
    assert_eq!(status, Some(1), "{words:?}: {said}");
    assert!(said.to_string().contains(sentence), "{words:?}: {said}");
}

/// The sealing keys in that state.
fn kids(site: &Site, state: &str) -> Vec<String> {
    let listed = done(site, &["keys", "list"]);
    let keys = listed["keys"].as_array().expect("keys").iter();
    let ours = keys.filter(|key| key["role"] == "seal" && key["state"] == state);
    ours.filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
}

fn crowd(host: &Host, people: usize) {
    for at in 0..people {
        host.user_fixture(&format!("user{at}@example.org"));
    }
}

/// The key that sealed each record of SQLite, as the file has it.
fn on_disk(site: &Site) -> BTreeSet<String> {
    let rows = sqlite3(&site.path("data/countersign.db"), "SELECT hex(substr(value, 2, 4)) FROM record");
    rows.lines().map(str::to_lowercase).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_host_on_memory_serves_on_and_the_old_key_goes() {
    let host = Site::with_store("memory").with_clock().start();
    crowd(&host, 5);
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    let site = host.site();
    let old = kids(site, "active").concat();
    refused(site, &["keys", "retire", &old], "store reseal");

    let stop = AtomicBool::new(false);
    let said = thread::scope(|all| {
        all.spawn(|| {
            while !stop.load(Relaxed) {
                browser.ask("GET /me", Value::Null).expect(200);
                let wrong = json!({ "email": "user1@example.org", "password": "wrong horse battery staple" });
                host.browser().ask("POST /login", wrong);
            }
        });
        let said = done(site, &["store", "reseal"]);
        stop.store(true, Relaxed);
        said
    });
    let new = kids(site, "active").concat();
    assert_eq!((&said["kid"], &said["made"], &said["left"]), (&json!(new), &json!(true), &json!(0)));
    assert!(said["resealed"].as_u64() >= Some(12) && new != old, "{said}");

    refused(site, &["keys", "retire", &old], "may still arrive");
    site.clock().advance(Duration::from_mins(2));
    done(site, &["keys", "retire", &old]);
    assert_eq!(kids(site, "verify-only"), Vec::<String>::new());
    assert_eq!(done(site, &["store", "check"])["findings"], json!([]));
    browser.ask("GET /me", Value::Null).expect(200);
    host.signed_in(&ann);
}

#[test]
fn sqlite_without_a_host_and_a_start_without_the_old_key() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 5);
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    let site = host.stop();
    let old = kids(&site, "active").concat();
    assert_eq!(on_disk(&site), [old.clone()].into());
    let file = site.path("data/countersign.db");
    let expiries = "SELECT hex(key), expires_at FROM record WHERE expires_at < 9999999999 ORDER BY key";
    let before = sqlite3(&file, expiries);
    assert!(!before.trim().is_empty(), "a session expires");
    let said = done(&site, &["store", "reseal"]);
    // What was there expires when it did; what is new is the record of this.
    let after = sqlite3(&file, expiries);
    let after: BTreeSet<&str> = after.lines().collect();
    assert!(before.lines().all(|row| after.contains(row)), "{before}");
    let new = kids(&site, "active").concat();
    assert_eq!((on_disk(&site), &said["kid"]), ([new.clone()].into(), &json!(new)));

    site.clock().advance(Duration::from_mins(2));
    done(&site, &["keys", "retire", &old]);
    // Without a host: the key that came is on record, and the one that went is as soon as somebody opens the store.
    let told = site.run(&["audit", "tail", "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for (event, field) in [("store.resealed", &new), ("keys.changed", &new), ("keys.changed", &old)] {
        let is_it = |line: &&str| line.contains(event) && line.contains(field.as_str());
        assert_eq!(told.lines().filter(is_it).count(), 1, "{event} {field}: {told}");
    }
    assert!(!fs::read_to_string(site.path("keys.toml")).expect("keys").contains(&old));
    let host = site.start();
    browser.ask("GET /me", Value::Null).expect(200);
    host.signed_in(&ann);
    host.user_fixture("late@example.org");
    assert_eq!(done(host.site(), &["store", "check"])["findings"], json!([]));
    // Once more, now through the host that runs.
    assert_eq!(done(host.site(), &["store", "reseal"])["made"], true);
    host.signed_in(&ann);
    let site = host.kill();
    assert_eq!(done(&site, &["store", "check"])["findings"], json!([]));
}

#[test]
fn what_was_interrupted_goes_on_with_the_key_that_it_made() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 60);
    let site = host.site();
    let old = kids(site, "active").concat();
    let mut resealing = site
        .command(&["store", "reseal"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // The key is in the file: from here on an end at any place must do no harm.
    while kids(site, "active").concat() == old {
        assert!(resealing.try_wait().expect("a status").is_none_or(|status| status.success()));
    }
    let _ = resealing.kill();
    resealing.wait().expect("it ended");
    let new = kids(site, "active").concat();
    let site = host.kill();
    let left = on_disk(&site).contains(&old);
    site.clock().advance(Duration::from_mins(2));
    if left {
        refused(&site, &["keys", "retire", &old], "of the records in the store");
    }
    assert_eq!(done(&site, &["store", "check"])["findings"], json!([]));
    let host = site.start();
    host.user_fixture("late@example.org");
    let said = done(host.site(), &["store", "reseal"]);
    assert_eq!(said["left"], 0, "{said}");
    if left {
        assert_eq!((&said["made"], &said["kid"]), (&json!(false), &json!(new)));
    }
    host.site().clock().advance(Duration::from_mins(2));
    done(host.site(), &["keys", "retire", &old]);
    let site = host.stop();
    assert!(!on_disk(&site).contains(&old));
    let host = site.start();
    host.user_fixture("later@example.org");
    assert_eq!(done(host.site(), &["store", "check"])["findings"], json!([]));
}

#[test]
fn a_key_that_records_need_is_not_retired() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 3);
    let site = host.stop();
    let file = site.path("data/countersign.db");
    let old = kids(&site, "active").concat();
    // A record as it was before: written back behind the back of everybody.
    let row = sqlite3(&file, "SELECT hex(key), hex(value) FROM record ORDER BY key LIMIT 1");
    let (key, value) = row.trim().split_once('|').expect("a row");
    done(&site, &["store", "reseal"]);
    let put_back = format!("UPDATE record SET value = x'{value}' WHERE key = x'{key}'");
    sqlite3(&file, &put_back);
    site.clock().advance(Duration::from_mins(2));
    refused(&site, &["keys", "retire", &old], "has sealed 1 of the records");
    let again = done(&site, &["store", "reseal"]);
    assert_eq!((&again["made"], &again["resealed"]), (&json!(false), &json!(1)));
    done(&site, &["keys", "retire", &old]);
    assert_eq!(done(&site, &["store", "check"])["findings"], json!([]));
}
