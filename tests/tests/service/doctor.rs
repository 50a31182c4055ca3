//! `countersign doctor`: a sound host has no findings, and each mistake has its own.
use super::logged;
use countersign_tests::{
    Authority, Host, PASSWORD, Site, exchange, fixture,
    smtp::{Options, Server},
    sqlite3,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use toml_edit::{Array, InlineTable, value};

/// Level, area, and a part of what is said.
type Row = (&'static str, &'static str, &'static str);
/// What it is, how it comes about, and what is found.
type Mistake = (&'static str, fn(&Site), &'static [Row]);

const RELAY_PASSWORD: &str = "relay-password-canary";
const NO_HOST: Row = ("warning", "host", "no host runs on");

/// A relay that wants TLS and a name, and whose authority the site knows.
fn relay(authority: &Authority) -> Server {
    let certificate = authority.certificate("localhost");
    Options::default().starttls(&certificate).account(&format!("countersign:{RELAY_PASSWORD}")).start()
}

/// A site with nothing to find fault with, on a machine whose clock is kept right.
fn sound(authority: &Authority, relay: &Server) -> Site {
    let site = Site::new();
    site.edit(|config| {
        config["public_url"] = value("https://auth.example.org");
        config["allowed_hosts"] = value(list(&[&site.address().to_string()]));
        config["trusted_proxies"] = value(list(&["192.0.2.1"]));
    });
    site.set("delivery.use", "smtp");
    site.set("delivery.smtp.url", format!("smtp+starttls://localhost:{}", relay.address().port()));
    site.set("delivery.smtp.from", "no-reply@example.org");
    site.set("delivery.smtp.username", "countersign");
    site.set("delivery.smtp.password", InlineTable::from_iter([("file", "smtp-password")]));
    site.set("delivery.smtp.ca", authority.file().display().to_string());
    write(&site.path("smtp-password"), RELAY_PASSWORD, 0o600);
    fs::create_dir(site.path("bin")).expect("a folder");
    timedatectl(&site, "echo yes");
    write(&site.path("bin/chronyc"), "#!/bin/sh\nexit 1\n", 0o755);
    let path = format!("{}:/usr/bin:/bin", site.path("bin").display());
    site.with_variable("PATH", path)
}

fn list(names: &[&str]) -> Array {
    names.iter().copied().collect()
}

/// What the machine's own program would say of its clock.
fn timedatectl(site: &Site, script: &str) {
    write(&site.path("bin/timedatectl"), &format!("#!/bin/sh\n{script}\n"), 0o755);
}

/// One that is not in use, and judged all the same.
fn library(site: &Site) -> PathBuf {
    let mut files =
        fs::read_dir(site.path("plugins")).expect("a folder").map(|entry| entry.expect("a file").path());
    let file = files.find(|file| file.to_string_lossy().contains("libstore_memory"));
    file.expect("the plugin is installed")
}

fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).expect("a file");
    chmod(file, mode);
}

fn chmod(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).expect("its mode");
}

/// That `doctor` finds these and nothing else, and ends as they demand.
#[track_caller]
fn finds(site: &Site, name: &str, rows: &[Row]) {
    let output = site.run(&["doctor", "--json"]);
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{name}: {text}{complaint}"));
    assert!(!text.contains("canary"), "{name}: {text}");
    let word = |finding: &Value, key: &str| finding[key].as_str().expect("a word").to_owned();
    let found = told["findings"].as_array().expect("findings").iter().map(|finding| {
        let said = format!("{} → {}", word(finding, "what"), word(finding, "fix"));
        (word(finding, "level"), word(finding, "area"), said)
    });
    // The user and the disk are those of the machine that the test runs on.
    let of_the_machine = |said: &str| said.contains("is root's") || said.contains("MiB are free");
    let mut found: Vec<_> = found.filter(|(.., said)| !of_the_machine(said)).collect();
    let status = i32::from(rows.iter().any(|(level, ..)| *level == "problem"));
    for (level, area, part) in rows {
        let at = found.iter().position(|(l, a, said)| l == level && a == area && said.contains(part));
        found.swap_remove(at.unwrap_or_else(|| panic!("{name}: {level} {area} {part}\n{text}")));
    }
    assert!(found.is_empty(), "{name}: besides {found:#?}");
    // A disk that is full here is a problem as well.
    assert!(
        output.status.code() == Some(status) || text.contains("MiB are free"),
        "{name}: {:?}",
        output.status
    );
}

/// What is found while the host goes on with a configuration that is sound; what can be made together is.
const BESIDE_A_HOST: [&[Mistake]; 6] = [
    &[
        (
            "a clock that nobody keeps",
            |site| timedatectl(site, "echo no"),
            &[("problem", "clock", "set-ntp true")],
        ),
        (
            "a file for all",
            |site| chmod(&site.path("countersign.toml"), 0o644),
            &[("warning", "files", "chmod o-rwx")],
        ),
        (
            "a secret for all",
            |site| chmod(&site.path("smtp-password"), 0o644),
            &[("problem", "files", "/smtp-password (mode 0644)")],
        ),
        (
            "data for a group",
            |site| chmod(&site.path("data"), 0o750),
            &[("problem", "files", "/data (mode 0750)")],
        ),
        (
            "a host for all",
            |site| site.set("listen", "0.0.0.0:8080"),
            &[("warning", "proxy", "around the proxy")],
        ),
        (
            "half of all proxies",
            |site| site.set("trusted_proxies", list(&["128.0.0.0/1"])),
            &[("problem", "proxy", "128.0.0.0/1")],
        ),
        (
            "metrics for all",
            |site| site.set("metrics.listen", "192.0.2.1:9100"),
            &[("warning", "metrics", "192.0.2.1:9100")],
        ),
    ],
    &[
        (
            "one that nobody knows",
            |site| timedatectl(site, "exit 1"),
            &[("warning", "clock", "nobody here knows")],
        ),
        (
            "no proxy",
            |site| site.set("trusted_proxies", list(&[])),
            &[("warning", "proxy", "trusted_proxies is empty")],
        ),
        (
            "an application without a session",
            |site| site.set("allowed_hosts", list(&["wiki.example.org"])),
            &[("warning", "proxy", "`wiki.example.org`")],
        ),
    ],
    &[
        (
            "keys for a group",
            |site| chmod(&site.path("keys.toml"), 0o640),
            &[("problem", "configuration", "chmod 600")],
        ),
        (
            "a plugin for all",
            |site| chmod(&library(site), 0o666),
            &[("problem", "configuration", "can be written by others (mode 666); run chmod go-w")],
        ),
        (
            "another pin",
            |site| site.edit(|config| config["plugin"][0]["sha256"] = value("ab".repeat(32))),
            &[
                ("problem", "configuration", "abababab"),
                ("warning", "host", "than the one that is pinned now"),
            ],
        ),
        ("no such key", |site| site.set("lissen", 1), &[("problem", "configuration", "`listen`")]),
    ],
    &[
        (
            "the proxy's TLS on our port",
            |site| site.set("public_url", format!("https://auth.example.org:{}", site.address().port())),
            &[("problem", "proxy", "names the port of `listen`")],
        ),
        (
            "a session without an application",
            |site| site.set("session.cookie_domain", "example.org"),
            &[("warning", "proxy", "allowed_hosts has none")],
        ),
    ],
    &[(
        "an application elsewhere",
        |site| {
            site.set("session.cookie_domain", "example.org");
            site.set("allowed_hosts", list(&["wiki.example.com"]));
        },
        &[("problem", "proxy", "`wiki.example.com`")],
    )],
    &[(
        "a trial",
        |site| site.set("public_url", "http://localhost"),
        &[("warning", "proxy", "nowhere but this machine")],
    )],
];

/// What a kernel of the moment finds.
const WITHOUT_A_HOST: [&[Mistake]; 5] = [
    &[(
        "a password that the relay does not know",
        |site| write(&site.path("smtp-password"), "canary of another", 0o600),
        &[("problem", "mail", "takes no mail: AUTH: it answers 535")],
    )],
    &[(
        "an authority that did not sign",
        |site| site.set("delivery.smtp.ca", "stranger.pem"),
        &[("problem", "mail", "takes no mail: localhost:")],
    )],
    &[(
        "a delivery that cannot tell",
        |site| {
            site.add_plugin(&fixture("hello-delivery"));
            site.set("delivery.use", "stderr");
            site.set("delivery.stderr.prefix", "mail");
        },
        &[("warning", "mail", "it is not known whether")],
    )],
    &[
        (
            "no mail",
            |site| site.edit(|config| drop(config.remove("delivery"))),
            &[("warning", "mail", "there is no [delivery]")],
        ),
        (
            "records that nobody can open",
            |site| {
                let damage = "UPDATE record SET value = x'00' WHERE instr(key, CAST('account' AS BLOB))";
                sqlite3(&site.path("data/countersign.db"), damage);
            },
            &[("problem", "store", "countersign store check")],
        ),
    ],
    &[(
        "a store that others read",
        |site| {
            let file = site.path("data/countersign.db");
            sqlite3(&file, "DELETE FROM record WHERE value = x'00'");
            fs::copy(&file, site.path("countersign.db")).expect("a copy");
            chmod(&site.path("countersign.db"), 0o644);
            site.set("store.sqlite.path", "countersign.db");
        },
        &[("problem", "host", "others may open it (chmod 600)")],
    )],
];

/// That each is found, and besides them what is always there; and that nothing of it is left.
fn each(site: &Site, groups: &[&[Mistake]], always: &[Row]) {
    let sound = fs::read_to_string(site.config()).expect("a configuration");
    for group in groups {
        let mut expected = always.to_vec();
        for (_, make, rows) in *group {
            make(site);
            expected.extend(*rows);
        }
        let names: Vec<&str> = group.iter().map(|(name, ..)| *name).collect();
        finds(site, &names.join(", "), &expected);
        write(&site.config(), &sound, 0o600);
        write(&site.path("smtp-password"), RELAY_PASSWORD, 0o600);
        chmod(&site.path("keys.toml"), 0o600);
        chmod(&site.path("data"), 0o700);
        chmod(&library(site), 0o600);
        timedatectl(site, "echo yes");
    }
}

#[test]
fn each_mistake_is_named_to_who_asks_beside_a_host() {
    let authority = Authority::new();
    let relay = relay(&authority);
    let host = sound(&authority, &relay).start();
    finds(host.site(), "nothing is wrong", &[]);
    let text = String::from_utf8(host.site().run(&["doctor"]).stdout).expect("text");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.contains("; nothing to say about configuration, clock,") && last.ends_with("mail"),
        "{text}"
    );
    let seen = relay.seen();
    assert!(seen.connections >= 2 && seen.recipients == 0 && seen.in_the_clear.is_empty(), "{seen:?}");
    each(host.site(), &BESIDE_A_HOST, &[]);
}

#[test]
fn what_a_host_has_seen_since_its_start_is_told() {
    let authority = Authority::new();
    let relay = relay(&authority);
    let host = sound(&authority, &relay).start();
    let site = host.site();
    let sound = fs::read_to_string(site.config()).expect("a configuration");
    site.set("session.idle_ttl", "nonsense");
    hang_up(&host, "not reloaded");
    fs::write(site.config(), &sound).expect("a configuration");
    finds(site, "a refused reload", &[("problem", "host", "the last reload was refused")]);
    hang_up(&host, "\"reloaded\"");
    finds(site, "none any more", &[]);

    let ask = |path: &str, lines: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
        exchange(host.address(), request.as_bytes()).expect("an answer").status
    };
    let own = format!("Host: {}", host.address());
    assert_eq!(ask("/login", &format!("{own}\r\nX-Forwarded-For: 192.0.2.7")), 200);
    let stranger: Row = ("warning", "proxy", "1 request said for whom");
    finds(site, "a proxy that nobody told of", &[stranger]);
    // Who asks how it is does so by any name.
    assert_eq!((ask("/healthz", "Host: localhost"), ask("/login", "Host: localhost")), (421, 421));
    let elsewhere: Row =
        ("warning", "proxy", "1 request asked for another host than https://auth.example.org");
    finds(site, "a name that is not passed on", &[stranger, elsewhere]);
    site.set("trusted_proxies", list(&["127.0.0.0/8"]));
    hang_up(&host, "\"reloaded\"");
    assert_eq!(ask("/login", &own), 200);
    let silent: Row = ("warning", "proxy", "1 request of a trusted proxy did not say");
    finds(site, "a proxy that says nothing", &[stranger, elsewhere, silent]);
    drop(relay);
    let gone: Row = ("problem", "mail", "takes no mail: localhost:");
    finds(site, "a relay that is gone", &[stranger, elsewhere, silent, gone]);
}

/// Has the host read its files again, and waits until it has.
#[track_caller]
fn hang_up(host: &Host, outcome: &str) {
    let from = host.log().len();
    host.server().signal(Signal::HUP).expect("a signal");
    logged(host, from, outcome);
}

#[test]
fn each_mistake_is_named_without_a_host() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let relay = relay(&authority);
    let site = sound(&authority, &relay);
    fs::copy(stranger.file(), site.path("stranger.pem")).expect("a copy");
    finds(&site, "nothing but the host is missing", &[NO_HOST]);
    site.json(&["user", "add", "ann@example.org", "--password-stdin"], PASSWORD);
    each(&site, &WITHOUT_A_HOST, &[NO_HOST]);
    // What is in memory alone is not there without its host.
    site.set("store.use", "memory");
    site.set("store.memory.volatile", true);
    finds(&site, "no host", &[NO_HOST]);
    let seen = relay.seen();
    assert!(seen.recipients == 0 && seen.in_the_clear.is_empty(), "{seen:?}");
    finds(site.start().site(), "a host that forgets", &[("problem", "store", "the store is in memory")]);
}
