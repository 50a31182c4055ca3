//! A host among what operators run: a service manager, the unit that starts it, Prometheus.
use countersign_test_kit::server::Server;
use countersign_tests::{
    Artifacts, Host, Site, exchange,
    markdown::{blocks, read},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};
use xtask::{
    project::{self, root},
    tools::python,
};

#[path = "service/doctor.rs"]
mod doctor;

/// Whatever is said takes longer only if it is never said.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is said, heard at once: a manager that does not listen is not waited for.
fn listen(path: &Path) -> Receiver<String> {
    let manager = UnixDatagram::bind(path).expect("a socket");
    let (heard, told) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length) = manager.recv(&mut buffer) {
            if heard.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                break;
            }
        }
    });
    told
}

/// The next thing that is said, but for signs of life when those are not asked for.
#[track_caller]
fn told(manager: &Receiver<String>, what: &str) -> String {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let said =
            manager.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what} was not told: {error}"));
        if said.starts_with(what) {
            return said;
        }
        assert!(said == "WATCHDOG=1" && Instant::now() < give_up, "{said} instead of {what}");
    }
}

#[test]
fn a_service_manager_is_told_of_every_turn() {
    let site = Site::with_store("memory");
    let path = site.path("notify");
    let manager = listen(&path);
    let site = site.with_variable("NOTIFY_SOCKET", &path).with_variable("WATCHDOG_USEC", "200000");
    let host = site.start();
    assert_eq!(told(&manager, "READY=1"), "READY=1");
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1");
    }
    let reloaded = host.site().run(&["reload"]);
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    assert!(told(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&manager, "READY=1");

    let config = fs::read_to_string(host.site().config()).expect("a configuration");
    fs::write(host.site().config(), "nonsense").expect("a configuration");
    // The command would read it first, and refuse.
    host.server().signal(Signal::HUP).expect("a signal");
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    fs::write(host.site().config(), config).expect("a configuration");
    host.stop();
    told(&manager, "STOPPING=1");
}

/// The last lines of the log, once it has that.
#[track_caller]
fn logged(host: &Host, from: usize, what: &str) -> String {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let log = host.log().split_off(from);
        if log.contains(what) {
            return log;
        }
        assert!(Instant::now() < give_up, "{what} is not in the log\n{log}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_log_is_what_the_command_line_says_then_the_environment_then_the_file() {
    let site = Site::with_store("memory").with("log.format", "pretty").with("log.level", "warn");
    let host = site.start();
    let ask = |host: &Host| host.browser().ask("GET /session", Value::Null).refused(401, "session-required");
    let reload = |host: &Host| assert!(host.site().run(&["reload"]).status.success(), "{}", host.log());
    ask(&host);
    assert!(!host.log().contains(" INFO "), "{}", host.log());
    // A reload changes the level, and what it refuses changes nothing.
    host.site().set("log.level", "info,countersign::http=off");
    reload(&host);
    logged(&host, 0, " INFO  countersign: reloaded ");
    ask(&host);
    host.site().set("log.level", "verbose");
    assert_eq!(host.site().run(&["reload"]).status.code(), Some(2));
    host.site().set("log.level", "info");
    reload(&host);
    assert!(!host.log().contains("/api/auth/session"), "{}", host.log());
    ask(&host);
    logged(&host, 0, "/api/auth/session");

    // Another level of the file is no news to whom the environment or the command line has told one.
    let site = host.stop().with_variable("RUST_LOG", "off");
    let from = site.log().len();
    let host = site.start();
    ask(&host);
    reload(&host);
    assert_eq!(host.log().len(), from, "{}", host.log());
    let site = host.kill();
    let output = site.command(&["serve", "--log-level", "a=b=c"]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--log-level: `a=b=c` must say"), "{said}");
    let site = site.with_variable("RUST_LOG", "a=b=c");
    assert!(site.refuses().contains("RUST_LOG: `a=b=c` must say"), "{}", site.log());
    let mut serve = site.serve();
    serve.args(["--log-level", "info", "--log-format", "json"]);
    let server = Server::start(&mut serve, site.address()).expect("it starts");
    let line = site.log().lines().find(|line| line.starts_with('{')).map(str::to_owned);
    let read: Value = serde_json::from_str(&line.expect("a line of JSON")).expect("JSON");
    assert_eq!(read["level"], "info");
    server.stop().expect("it stops");
}

/// Whatever limits it is started under.
#[test]
fn a_crash_leaves_no_dump_of_what_is_in_memory() {
    let host = Site::with_store("memory").start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.server().id())).expect("a process");
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "soft and hard");
    host.stop();
}

/// What the unit says at its head is what the page says.
#[test]
fn the_service_is_made_as_the_page_says() {
    let blocks = blocks(&read("docs/operating.md"));
    let shown = blocks.iter().find(|block| block.info == "sh service").expect("the commands");
    let unit = read("dist/countersign.service");
    let said = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    assert_eq!(shown.text.lines().collect::<Vec<_>>(), said.collect::<Vec<_>>());
}

/// systemd's own reading of the unit, with our binary where the unit has the installed one.
#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = fs::read_to_string(root().join("dist/countersign.service")).expect("the unit");
    let installed = "/usr/bin/countersign";
    assert!(unit.contains(installed));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("countersign.service");
    let binary = Artifacts::get().binary().display().to_string();
    fs::write(&file, unit.replace(installed, &binary)).expect("a file");
    let analyze = |words: &[&str]| {
        let mut command = project::command("systemd-analyze");
        let output = command.args(words).arg(&file).stdin(Stdio::null()).output();
        output.expect("systemd-analyze starts; `cargo xtask test` installs it")
    };
    let verified = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("countersign.service"), "{said}");
    // Exposure from 0.0 to 10.0, in tenths here: what a change of the unit may not give away unnoticed.
    let secured = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
    assert!(secured.status.success(), "{}", String::from_utf8_lossy(&secured.stdout));
}

/// Prometheus' own parser. A family is its kind, its help, and its samples.
const PARSER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
print(json.dumps({f.name + ('_total' if f.type == 'counter' else ''): [f.type, f.documentation,
    [[s.name, s.labels, s.value] for s in f.samples]] for f in families(sys.stdin.read())}))";

/// A name, its labels, a value.
type Sample = (String, BTreeMap<String, String>, f64);

struct Scrape(BTreeMap<String, (String, String, Vec<Sample>)>);

impl Scrape {
    fn of(address: SocketAddr) -> (Self, String) {
        let request = "GET /metrics HTTP/1.1\r\nHost: any.name:1\r\nConnection: close\r\n\r\n";
        let reply = exchange(address, request.as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let mut parser = project::command(python().expect("a path"));
        parser.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut parser = parser.spawn().expect("python starts; `cargo xtask test` installs it");
        parser.stdin.take().expect("a pipe").write_all(&reply.body).expect("it reads");
        let output = parser.wait_with_output().expect("it ends");
        assert!(output.status.success(), "not the format of Prometheus\n{}", reply.text());
        (Self(serde_json::from_slice(&output.stdout).expect("JSON")), reply.text())
    }

    /// The sum of the samples of that name that have these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |all: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| all.get(*name).is_some_and(|is| is == value))
        };
        let samples = self.0.values().flat_map(|(_, _, samples)| samples);
        samples.filter(|(is, all, _)| is == name && has(all)).map(|(.., value)| value).sum()
    }
}

fn host_with_metrics() -> (Host, SocketAddr) {
    let site = Site::with_store("memory").with_clock().with_mail();
    let address = SocketAddr::new(site.address().ip(), 9100);
    site.set("metrics.listen", address.to_string());
    (site.start(), address)
}

#[test]
fn prometheus_reads_what_happened_and_nobody_else_does() {
    let (host, address) = host_with_metrics();
    let mut ann = host.user_fixture("ann-canary@example.org");
    host.setup_totp(&mut ann);
    host.captured_mail(&ann);
    let mut browser = host.mfa_pending_session(&ann);
    host.complete_mfa(&mut browser, &ann);
    let wrong = json!({ "email": ann.email, "password": "wrong-password-canary" });
    host.browser().ask("POST /login", wrong).refused(401, "invalid-credentials");
    host.simulate_lockout(&ann);
    let strange = "CANARY /nothing-canary?canary HTTP/1.1\r\nHost: localhost\r\nUser-Agent: agent-canary\r\n\
        X-Forwarded-For: 192.0.2.77\r\nConnection: close\r\n\r\n";
    exchange(host.address(), strange.as_bytes()).expect("an answer");
    assert!(host.site().run(&["reload"]).status.success());

    let (metrics, text) = Scrape::of(address);
    let route = |path, method, status| [("route", path), ("method", method), ("status", status)];
    for (name, labels, least, most) in [
        ("countersign_http_requests_total", &route("/api/auth/login", "POST", "401")[..], 1.0, 1.0),
        ("countersign_http_requests_total", &route("/api/auth/mfa/totp/verify", "POST", "429"), 1.0, 1.0),
        ("countersign_http_requests_total", &route("none", "other", "421"), 1.0, 1.0),
        ("countersign_http_request_duration_seconds_count", &[("route", "/api/auth/login")], 3.0, 4.0),
        ("countersign_http_problems_total", &[("problem", "locked")], 1.0, 1.0),
        ("countersign_http_problems_total", &[("problem", "invalid-credentials")], 1.0, 1.0),
        ("countersign_http_forwarding_mistakes_total", &[("kind", "untrusted")], 1.0, 1.0),
        ("countersign_http_forwarding_mistakes_total", &[("kind", "no-client")], 0.0, 0.0),
        ("countersign_events_total", &[("event", "login.failed"), ("result", "failure")], 1.0, 1.0),
        ("countersign_events_total", &[("event", "mfa.totp.activated"), ("result", "success")], 1.0, 1.0),
        ("countersign_events_total", &[("event", "mfa.totp.refused")], 5.0, 7.0),
        ("countersign_sessions_total", &[("kind", "elevated")], 1.0, 1.0),
        ("countersign_sessions_total", &[("kind", "pending")], 2.0, 2.0),
        ("countersign_audit_rows_total", &[], 9.0, 99.0),
        ("countersign_hash_seconds_count", &[], 4.0, 99.0),
        ("countersign_hash_wait_seconds_count", &[], 4.0, 99.0),
        ("countersign_store_seconds_count", &[("operation", "get")], 10.0, 1e6),
        ("countersign_store_seconds_count", &[("operation", "apply")], 10.0, 1e6),
        ("countersign_store_records", &[], 10.0, 1e4),
        ("countersign_store_records_limit", &[], 1e6, 1e6),
        ("countersign_delivery_tries_total", &[("result", "sent")], 1.0, 9.0),
        ("countersign_plugin_quarantined", &[("plugin", "mfa")], 0.0, 0.0),
        ("countersign_plugin_faults_total", &[], 0.0, 0.0),
        ("countersign_reloads_total", &[("result", "done")], 1.0, 1.0),
        ("countersign_log_lines_total", &[("level", "info")], 10.0, 1e4),
        ("countersign_ready", &[], 1.0, 1.0),
        ("countersign_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0, 1.0),
        ("process_resident_memory_bytes", &[], 1e6, 1e12),
        ("process_open_fds", &[], 5.0, 1e5),
        ("process_start_time_seconds", &[], 1e9, 1e10),
    ] {
        let value = metrics.value(name, labels);
        assert!((least..=most).contains(&value), "{name} {labels:?} is {value}\n{text}");
    }
    for (name, (_, _, samples)) in metrics.0.iter().filter(|(_, (kind, ..))| kind == "histogram") {
        for (_, labels, count) in samples.iter().filter(|(sample, ..)| sample.ends_with("_count")) {
            let buckets: Vec<f64> = samples
                .iter()
                .filter(|(sample, of, _)| {
                    sample.ends_with("_bucket")
                        && labels.iter().all(|(label, value)| of.get(label) == Some(value))
                })
                .map(|(.., below)| *below)
                .collect();
            assert!(buckets.is_sorted() && buckets.last() == Some(count), "{name} {labels:?} {buckets:?}");
        }
    }
    let told = ["canary", "192.0.2.77", "ann", ann.secret(), &ann.password, "any.name"];
    assert!(told.iter().all(|secret| !text.contains(secret)), "{text}");

    // Nowhere but there, and there nothing else.
    for (at, path) in [(host.address(), "/metrics"), (address, "/readyz"), (address, "/api/auth/session")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host.address());
        assert_eq!(exchange(at, request.as_bytes()).expect("an answer").status, 404, "{at} {path}");
    }
    // Its address is not another's to change while it runs.
    host.site().set("metrics.listen", "127.0.0.1:1");
    let refused = host.site().run(&["reload"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[metrics] listen"), "{refused:?}");
    let (metrics, _) = Scrape::of(address);
    assert!(metrics.value("countersign_reloads_total", &[("result", "refused")]) >= 1.0);
}

/// The names in a text that can be of metrics.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with("countersign_") || word.starts_with("process_")).collect()
}

#[test]
fn the_page_the_dashboard_and_the_alerts_know_the_metrics() {
    let (host, address) = host_with_metrics();
    host.browser().ask("GET /session", Value::Null).refused(401, "session-required");
    let (metrics, _) = Scrape::of(address);
    let page = read("docs/metrics.md");
    let mut told = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let (kind, help, samples) = metrics.0.get(name).unwrap_or_else(|| panic!("{name} is not measured"));
        assert_eq!(cells[2], kind, "{name}");
        assert!(cells[4].starts_with(help.as_str()), "{name}: {help}");
        let labels: BTreeSet<&str> = cells[3].split('`').filter(|label| !label.trim().is_empty()).collect();
        for (_, has, _) in samples {
            let has: BTreeSet<&str> = has.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(has, labels, "{name}");
        }
        told.insert(name);
    }
    let measured: BTreeSet<&str> = metrics.0.keys().map(String::as_str).collect();
    assert_eq!(told, measured, "what docs/metrics.md tells of, and what is measured");
    for (file, least) in [("dist/grafana/countersign.json", 35), ("dist/prometheus/alerts.yml", 10)] {
        let text = read(file);
        let used: BTreeSet<&str> = named(&text)
            .into_iter()
            .map(|name| {
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
                base.filter(|base| metrics.0.get(*base).is_some_and(|(kind, ..)| kind == "histogram"))
                    .unwrap_or(name)
            })
            .collect();
        let unknown: Vec<_> = used.difference(&measured).collect();
        assert!(unknown.is_empty() && used.len() >= least, "{file}: {unknown:?} of {}", used.len());
    }
    let dashboard: Value = serde_json::from_str(&read("dist/grafana/countersign.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
}
