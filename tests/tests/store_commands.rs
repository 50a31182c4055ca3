//! `store stats`, `check` and `copy`: with a host that runs and without one, between any two stores.
use countersign_tests::{Host, Site, at_terminal, sqlite3};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use toml_edit::{DocumentMut, value};
use xtask::project::root;

/// A command that answers JSON, and its exit status.
fn store(site: &Site, words: &[&str]) -> (Option<i32>, Value) {
    let output = site.run(&[&["store"], words, &["--json"]].concat());
    let text = [&output.stdout[..], &output.stderr].concat();
    let said =
        serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into());
    (output.status.code(), said)
}

#[track_caller]
fn done(site: &Site, words: &[&str]) -> Value {
    let (status, said) = store(site, words);
    assert_eq!(status, Some(0), "{words:?}: {said}");
    said
}

#[track_caller]
fn refused(site: &Site, words: &[&str], status: i32, sentence: &str) {
    let (code, said) = store(site, words);
    assert_eq!(code, Some(status), "{words:?}: {said}");
    assert!(said.to_string().contains(sentence), "{words:?}: {said}");
}

/// The same configuration under another name, on an SQLite file of its own.
fn elsewhere(site: &Site, name: &str) -> PathBuf {
    let text = fs::read_to_string(site.config()).expect("a configuration");
    let mut config: DocumentMut = text.parse().expect("TOML");
    config["store"]["use"] = value("sqlite");
    config["store"]["sqlite"]["path"] = value(format!("data/{name}.db"));
    config["store"].as_table_mut().expect("a table").remove("memory");
    let file = site.path(&format!("{name}.toml"));
    fs::write(&file, config.to_string()).expect("a file");
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn records(stats: &Value, kind: &str) -> u64 {
    let kinds = stats["kinds"].as_array().expect("kinds");
    kinds.iter().filter(|of| of["kind"] == kind).filter_map(|of| of["records"].as_u64()).sum()
}

fn crowd(host: &Host, people: usize) {
    for at in 0..people {
        host.user_fixture(&format!("user{at}@example.org"));
    }
}

#[test]
fn capacity_is_planned_with_what_records_really_take() {
    let host = Site::with_store("memory").with_clock().start();
    let mut person = host.user_fixture("person-0001@example.org");
    host.setup_totp(&mut person);
    let page = fs::read_to_string(root().join("docs/operating.md")).expect("a page");
    let stats = done(host.site(), &["stats"]);
    let bytes_of = |of: &Value| of["bytes"].as_u64().expect("bytes");
    let kinds = stats["kinds"].as_array().expect("kinds");
    for kind in ["account", "directory", "state", "session", "audit"] {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{kind}` | "))).expect(kind);
        let stated: u64 = row.split([' ', ',']).next().and_then(|number| number.parse().ok()).expect(kind);
        let of = kinds.iter().find(|of| of["kind"] == kind).expect(kind);
        let measured = bytes_of(of) / of["records"].as_u64().expect("records");
        assert!((stated * 3 / 4..=stated * 5 / 4).contains(&measured), "{kind}: {measured}, {stated} stated");
    }
    let usage = &stats["usage"];
    let beside = bytes_of(usage) - kinds.iter().map(bytes_of).sum::<u64>();
    let each = beside / usage["records"].as_u64().expect("records");
    assert!(page.contains(&format!("needs {each} for each record")), "{each}: {stats}");
}

#[test]
fn from_memory_to_sqlite_people_sign_in_as_before() {
    let host = Site::with_store("memory").with_clock().start();
    crowd(&host, 20);
    let mut ann = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut ann);
    let site = host.site();
    let stats = done(site, &["stats"]);
    assert_eq!(
        (stats["store"].as_str(), records(&stats, "account"), records(&stats, "state")),
        (Some("memory"), 21, 1)
    );
    assert_eq!(records(&stats, "directory"), 21);
    assert!(records(&stats, "audit") >= 21, "{stats}");
    assert_eq!(done(site, &["check"])["findings"], json!([]));

    let to = elsewhere(site, "copied");
    let copied = done(site, &["copy", "--to", text(&to)]);
    assert_eq!((&copied["from"], &copied["to"]), (&json!("memory"), &json!("sqlite")));
    assert!(copied["verified"].as_u64() >= copied["copied"].as_u64(), "{copied}");

    let site = host.kill();
    fs::copy(&to, site.config()).expect("a file");
    assert_eq!(done(&site, &["check"])["findings"], json!([]));
    let host = site.start();
    browser.ask("GET /me", Value::Null).expect(200);
    host.signed_in(&ann);
}

#[test]
fn a_copy_is_made_the_same_again_and_never_by_accident() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 3);
    let site = host.site();
    let to = elsewhere(site, "copied");
    let to = text(&to);
    let seen = at_terminal(&site.command(&["store", "copy", "--to", to]));
    let shown = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text:?} in {seen:?}"));
    assert!(shown("\r\u{1b}[Kcopying: ") < shown("comparing: "), "{seen:?}");
    assert!(shown(" records\r\u{1b}[K") < shown(" copied, 0 removed, all compared"), "{seen:?}");
    refused(site, &["copy", "--to", to], 2, "is not empty");
    // Without a host, and after changes on both sides.
    host.user_fixture("late@example.org");
    let site = host.stop();
    sqlite3(&site.path("data/copied.db"), "INSERT INTO record VALUES (x'00', 999, 99999999999, x'00')");
    let copied = done(&site, &["copy", "--to", to, "--force"]);
    assert_eq!(copied["removed"], 1, "{copied}");
    assert!(copied["copied"].as_u64() >= Some(2), "{copied}");
    // Each copy is on record, and so the same is in the copy: that row is all that differs.
    assert_eq!(done(&site, &["copy", "--to", to, "--force"])["copied"], 1);
    let told = site.run(&["audit", "tail", "--event", "store.copied", "--json"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!((told.lines().count(), told.contains("copied.toml")), (3, true), "{told}");
    let dump = |name: &str| {
        sqlite3(&site.path(name), "SELECT hex(key), expires_at, hex(value) FROM record ORDER BY key")
    };
    assert_eq!(dump("data/copied.db"), dump("data/countersign.db"));
}

#[test]
fn what_could_not_be_read_or_kept_is_no_place_to_copy_to() {
    let site = Site::with_store("sqlite");
    let change = |name: &str, change: &dyn Fn(&mut DocumentMut)| {
        let file = elsewhere(&site, name);
        let mut config: DocumentMut = fs::read_to_string(&file).expect("a file").parse().expect("TOML");
        change(&mut config);
        fs::write(&file, config.to_string()).expect("a file");
        text(&file).to_owned()
    };
    let itself = site.config();
    refused(&site, &["copy", "--to", text(&itself)], 2, "its store is the one that is to be copied");
    // By another name, the store is known before it is touched: opened twice in a process, SQLite would lose its locks.
    site.run(&["store", "stats"]);
    let link = site.path("data/link.db");
    symlink("countersign.db", &link).expect("a link");
    let absolute = site.path("data/countersign.db");
    for (name, path) in [
        ("climbing", "data/../data/countersign.db"),
        ("linked", "data/link.db"),
        ("absolute", text(&absolute)),
    ] {
        let other = change(name, &|config| config["store"]["sqlite"]["path"] = value(path));
        refused(&site, &["copy", "--to", &other, "--force"], 2, "its store is the one that is to be copied");
    }
    // And where the tables differ, by what is written to one and read from the other.
    let other = change("larger", &|config| {
        config["store"]["sqlite"]["path"] = value("data/countersign.db");
        config["store"]["sqlite"]["max_bytes"] = value("1 GiB");
    });
    refused(&site, &["copy", "--to", &other, "--force"], 2, "name one store");
    let other = Site::new();
    let other_keys =
        change("foreign", &|config| config["keys"]["file"] = value(text(&other.path("keys.toml"))));
    refused(&site, &["copy", "--to", &other_keys], 2, "it lacks the");
    let volatile = change("volatile", &|config| {
        config["store"]["use"] = value("memory");
        config["store"]["memory"]["volatile"] = value(true);
    });
    refused(&site, &["copy", "--to", &volatile], 2, "forgets everything");
}

#[test]
fn a_copy_of_a_host_that_is_written_to_is_whole_or_says_that_it_is_not() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 5);
    let site = host.site();
    let to = elsewhere(site, "copied");
    let stop = AtomicBool::new(false);
    let said = thread::scope(|all| {
        all.spawn(|| {
            while !stop.load(Relaxed) {
                let wrong =
                    json!({ "email": "nobody@example.org", "password": "wrong horse battery staple" });
                host.browser().ask("POST /login", wrong);
            }
        });
        let said = store(site, &["copy", "--to", text(&to)]);
        stop.store(true, Relaxed);
        said
    });
    match said {
        (Some(0), said) => assert!(said["verified"].is_u64(), "{said}"),
        (status, said) => {
            assert_eq!((status, &said["verified"]), (Some(1), &Value::Null), "{said}");
        }
    }
    let site = host.stop();
    done(&site, &["copy", "--to", text(&to), "--force"]);
    fs::copy(&to, site.config()).expect("a file");
    assert_eq!(done(&site, &["check"])["findings"], json!([]));
}

#[test]
fn damage_and_what_does_not_belong_is_found() {
    let host = Site::with_store("sqlite").with_clock().start();
    crowd(&host, 2);
    let site = host.stop();
    assert_eq!(done(&site, &["check"])["findings"], json!([]));
    let file = site.path("data/countersign.db");
    let run = |sql: &str| drop(sqlite3(&file, sql));
    // An account goes without its entry in the directory.
    let directory = "SELECT key FROM record WHERE instr(key, x'656d61696c') > 20 LIMIT 1";
    run(&format!("DELETE FROM record WHERE key = ({directory})"));
    let (status, said) = store(&site, &["check"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.to_string().contains("nobody can sign in to it"), "{said}");
    // An audit row is a byte longer than it was, and one appears that nobody made.
    run(
        "UPDATE record SET value = CAST(value || x'ff' AS BLOB) WHERE key = (SELECT key FROM record WHERE instr(key, x'726f77') > 20 LIMIT 1)",
    );
    run("INSERT INTO record VALUES (x'ff', 999, 99999999999, x'00')");
    let (status, said) = store(&site, &["check"]);
    assert_eq!((status, said["findings"].as_array().map(Vec::len)), (Some(1), Some(3)), "{said}");
    assert!(said.to_string().contains("does not open"), "{said}");
    assert!(said.to_string().contains("nobody has made a record with such a key"), "{said}");
}
