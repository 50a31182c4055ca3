//! `docs/coming-from.md`: every endpoint, setting, variable and function that it names is there.
use countersign_tests::{Client, Site};
use std::{collections::BTreeSet, fs};
use toml_edit::Value;
use xtask::project::root;

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What stands between backticks in the columns about this system: all but the first of each row, and the text.
fn named() -> BTreeSet<String> {
    let page = read("docs/coming-from.md");
    let here = page.lines().map(|line| match line.strip_prefix('|') {
        Some(row) => row.split_once('|').map_or("", |(_, rest)| rest),
        None => line,
    });
    here.flat_map(|text| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn endpoints_are_answered() {
    let host = Site::with_store("memory").start();
    let mut endpoints = 0;
    for span in named() {
        let Some((method, path)) = span.split_once(" /") else { continue };
        assert!(["GET", "POST", "DELETE"].contains(&method), "{span}");
        let path = format!("/api/auth/{}", path.replace("{id}", "x"));
        let reply = Client::program(host.address()).send("BREW", &path, &[], None).expect("an answer");
        let allow = reply.header("allow").unwrap_or_default();
        assert!(
            allow.split(", ").any(|there| there == method),
            "`{span}` is no endpoint: {} {allow}",
            reply.status
        );
        endpoints += 1;
    }
    assert!(endpoints >= 20, "{endpoints} endpoints");
    let pages: Vec<String> =
        named().into_iter().filter(|span| span.starts_with('/') && !span.starts_with("/api")).collect();
    for page in &pages {
        let reply = host.browser().get(page).expect("an answer");
        assert!([200, 303].contains(&reply.status), "`{page}` is no page: {}", reply.status);
    }
    assert!(pages.len() >= 3, "{pages:?}");
    host.stop();
}

/// Each is given a value of a kind that no setting has; what is said must be about the value and not about the name.
#[test]
fn settings_are_known() {
    let tables = ["mfa.", "store.", "session.", "delivery."];
    let settings: Vec<String> =
        named().into_iter().filter(|span| tables.iter().any(|table| span.starts_with(table))).collect();
    assert!(settings.len() >= 15, "{settings:?}");
    let site = Site::with_store("memory").with_mail();
    let sound = fs::read(site.config()).expect("a configuration");
    for setting in &settings {
        fs::write(site.config(), &sound).expect("a configuration");
        site.set(setting, "[[]]".parse::<Value>().expect("a list in a list"));
        let check = site.run(&["config", "check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(!check.status.success() && !said.contains("is not a known"), "`{setting}`: {said}");
        assert!(said.contains(setting.rsplit('.').next().unwrap_or_default()), "`{setting}`: {said}");
    }
    // And a name that is not there would be noticed.
    fs::write(site.config(), &sound).expect("a configuration");
    site.set("mfa.lockout.treshold", 5);
    let said = String::from_utf8_lossy(&site.run(&["config", "check"]).stderr).into_owned();
    assert!(said.contains("treshold"), "{said}");
}

#[test]
fn variables_and_functions_are_there() {
    let page = read("docs/coming-from.md");
    let site = Site::with_store("memory");
    let variables: BTreeSet<&str> = page.split('`').filter(|span| span.starts_with("MFA_")).collect();
    assert_eq!(variables.len(), 5);
    for variable in variables {
        let mut check = site.command(&["config", "check"]);
        let check = check.env(variable, "not what it takes").output().expect("the binary starts");
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(said.contains(variable), "{variable}: {said}");
    }
    let sources = [
        ("Host::", &["test-kit/src/host.rs", "test-kit/src/user.rs"][..]),
        ("Embedded::", &["host/src/embed/embedded.rs"]),
        ("Mfa::", &["host/src/embed/mfa/mod.rs"]),
    ];
    for (owner, files) in sources {
        let text: String = files.iter().map(|file| read(file)).collect();
        let mut functions = 0;
        for span in named() {
            let Some(function) = span.strip_prefix(owner) else { continue };
            let there = [format!("pub fn {function}("), format!("pub fn {function}<")];
            assert!(there.iter().any(|form| text.contains(form)), "`{span}` is not there");
            functions += 1;
        }
        assert!(functions > 0, "no function of {owner}");
    }
}
