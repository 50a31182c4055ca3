//! Administration over HTTP: who may, what is done, what is recorded, who is told.
use countersign_tests::{Client, Credentials, Host, Reply, Site, api, fixture, oathtool};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};

const PASSWORD: &str = "correct horse battery staple";
const ANN: &str = "ann@example.org";
const ROOT: &str = "root@example.org";
/// The `step_up_window`, and a second.
const STALE: Duration = Duration::from_secs(301);

/// A directory whose hosts write their mails to the log.
fn site() -> Site {
    let site = Site::with_store("sqlite").with_clock();
    site.add_plugin(&fixture("hello-delivery"));
    site.edit(|config| {
        let mut delivery = Table::new();
        delivery["use"] = value("stderr");
        let mut stderr = Table::new();
        stderr["prefix"] = value("MAIL");
        delivery["stderr"] = Item::Table(stderr);
        config["delivery"] = Item::Table(delivery);
    });
    site
}

fn cli(site: &Site, words: &[&str], stdin: &str) -> Output {
    let mut command = site.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A command that refuses before it reads has closed its end.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// What a command that must succeed prints as JSON.
#[track_caller]
fn cli_json(site: &Site, words: &[&str], stdin: &str) -> Value {
    let output = cli(site, &[words, &["--json"]].concat(), stdin);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {complaint}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn add(site: &Site, email: &str, role: &str) -> String {
    let made = cli_json(site, &["user", "add", email, "--role", role, "--password-stdin"], PASSWORD);
    made["id"].as_str().expect("an id").to_owned()
}

fn post(client: &mut Client, path: &str, body: &Value) -> Reply {
    client.post(&api(path), body).expect("an answer")
}

fn get(client: &mut Client, path: &str) -> Reply {
    client.get(&api(path)).expect("an answer")
}

fn delete(client: &mut Client, path: &str) -> Reply {
    client.delete(&api(path)).expect("an answer")
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, slug: &str) {
    assert_eq!((reply.status, reply.problem().as_deref()), (status, Some(slug)), "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

fn login(client: &mut Client, email: &str) -> Reply {
    post(client, "/login", &json!({ "email": email, "password": PASSWORD }))
}

/// A code that was not used yet.
fn code(host: &Host, secret: &str) -> String {
    host.site().clock().advance(Duration::from_secs(30));
    oathtool(secret, host.site().clock().now())
}

/// Adds a factor to the account of a client that has just signed in.
fn enrol(host: &Host, client: &mut Client) -> String {
    let enrolment = post(client, "/mfa/totp/enroll", &json!({ "label": "phone" }));
    assert_eq!(enrolment.status, 201, "{}", enrolment.text());
    let enrolment = enrolment.json();
    let secret = enrolment["secret"].as_str().expect("a secret").to_owned();
    let body = json!({ "code": code(host, &secret), "enrollment": enrolment["enrollment"] });
    assert_eq!(post(client, "/mfa/totp/verify", &body).status, 200);
    secret
}

/// Signs in for the first time and enrols, which is a second factor proven on that session.
fn enrolled(host: &Host, email: &str) -> (Client, String) {
    let mut client = host.browser();
    assert_eq!(login(&mut client, email).status, 200);
    let secret = enrol(host, &mut client);
    (client, secret)
}

fn step_up(host: &Host, client: &mut Client, secret: &str) {
    let body = json!({ "code": code(host, secret) });
    assert_eq!(post(client, "/mfa/totp/verify", &body).status, 200);
}

/// A host with an administrator and Ann, both signed in with a factor.
struct Stage {
    host: Host,
    root: Client,
    root_id: String,
    root_secret: String,
    ann: Client,
    ann_id: String,
    ann_secret: String,
}

impl Stage {
    fn new() -> Self {
        let host = site().start();
        let root_id = add(host.site(), ROOT, "admin");
        let ann_id = add(host.site(), ANN, "user");
        let (ann, ann_secret) = enrolled(&host, ANN);
        let (root, root_secret) = enrolled(&host, ROOT);
        Self { host, root, root_id, root_secret, ann, ann_id, ann_secret }
    }

    /// The events of that name about Ann.
    fn events(&mut self, name: &str) -> Vec<Value> {
        let reply = get(&mut self.root, &format!("/admin/audit?account={}", self.ann_id));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let events = reply.json()["events"].as_array().expect("events").clone();
        events.into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The one event of that name, which the administrator caused and Ann was the target of.
    #[track_caller]
    fn assert_recorded(&mut self, name: &str) {
        let events = self.events(name);
        assert_eq!(events.len(), 1, "{name}: {events:?}");
        let event = &events[0];
        assert_eq!((&event["actor"], &event["subject"]), (&json!(self.root_id), &json!(self.ann_id)));
        assert_eq!((&event["success"], &event["peer"]), (&json!(true), &json!("127.0.0.1")), "{event}");
        let session = get(&mut self.root, "/session").json()["session"]["id"].clone();
        assert_eq!(event["session"], session);
    }

    fn row(&self, path: &str) -> String {
        path.replace("{id}", &self.ann_id)
    }
}

/// Waits until the host has mailed that, and has not mailed it twice.
#[track_caller]
fn assert_mailed(host: &Host, says: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while host.log().matches(says).count() != 1 {
        assert!(Instant::now() < until, "one mail should say {says:?}:\n{}", host.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

const ROWS: [(&str, &str); 6] = [
    ("GET", "/admin/users"),
    ("GET", "/admin/users/{id}"),
    ("GET", "/admin/audit"),
    ("POST", "/admin/users/{id}/mfa/reset"),
    ("POST", "/admin/users/{id}/unlock"),
    ("DELETE", "/admin/users/{id}/sessions"),
];

fn ask(client: &mut Client, method: &str, path: &str) -> Reply {
    match method {
        "GET" => get(client, path),
        "POST" => post(client, path, &json!({})),
        _ => delete(client, path),
    }
}

#[test]
fn every_row_turns_away_who_is_no_administrator_with_a_fresh_second_factor() {
    let mut stage = Stage::new();
    // An administrator whose browser is trusted signs in by password alone, and has proven nothing more.
    let mut trusted = stage.host.browser();
    assert_eq!(login(&mut trusted, ROOT).status, 202);
    let body = json!({ "code": code(&stage.host, &stage.root_secret), "trust_browser": true });
    assert_eq!(post(&mut trusted, "/mfa/totp/verify", &body).status, 200);
    assert_eq!(login(&mut trusted, ROOT).status, 200);
    let mut pending = stage.host.browser();
    assert_eq!(login(&mut pending, ROOT).status, 202);
    add(stage.host.site(), "bare@example.org", "admin");
    let mut bare = stage.host.browser();
    assert_eq!(login(&mut bare, "bare@example.org").status, 200);
    let mut stranger = stage.host.browser();
    let mut forged = stage.host.program();
    forged.credentials = Credentials::Bearer(Some("A".repeat(86)));
    let mut ann = stage.ann.clone();

    let callers: [(&str, &mut Client, u16, &str); 6] = [
        ("nobody", &mut stranger, 401, "session-required"),
        ("a forged token", &mut forged, 401, "session-required"),
        ("half signed in", &mut pending, 403, "mfa-required"),
        ("no administrator", &mut ann, 403, "forbidden"),
        ("without a factor", &mut bare, 403, "enrollment-required"),
        ("in a trusted browser", &mut trusted, 403, "step-up-required"),
    ];
    for (who, client, status, slug) in callers {
        for (method, path) in ROWS {
            let reply = ask(client, method, &stage.row(path));
            assert_eq!(
                (reply.status, reply.problem().as_deref()),
                (status, Some(slug)),
                "{who}: {method} {path}"
            );
        }
    }
    // A proof does not last.
    stage.host.site().clock().advance(STALE);
    for (method, path) in ROWS {
        let path = stage.row(path);
        assert_problem(&ask(&mut stage.root, method, &path), 403, "step-up-required");
    }
    step_up(&stage.host, &mut stage.root, &stage.root_secret);
    assert_eq!(get(&mut stage.root, "/admin/users").status, 200);
    // None of it did anything.
    assert_eq!(get(&mut stage.ann, "/me").status, 200);
    assert_eq!(get(&mut stage.ann, "/mfa/status").json()["enabled"], true);
    // A role that is taken away counts at once.
    cli_json(stage.host.site(), &["user", "set-role", ROOT, "user"], "");
    assert_problem(&get(&mut stage.root, "/admin/users"), 403, "forbidden");
    stage.host.stop();
}

#[test]
fn every_row_says_what_is_wrong_with_a_request() {
    let mut stage = Stage::new();
    for (method, path) in ROWS.iter().filter(|(_, path)| path.contains("{id}")) {
        let path = path.replace("{id}", "nobody");
        assert_problem(&ask(&mut stage.root, method, &path), 404, "not-found");
    }
    for path in ["/admin/users/{id}/mfa/reset", "/admin/users/{id}/unlock"] {
        let path = stage.row(path);
        assert_problem(&post(&mut stage.root, &path, &json!({ "x": 1 })), 400, "malformed");
        let reply = get(&mut stage.root, &path);
        assert_problem(&reply, 405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    for cursor in ["x", "!", "cm93", "AAAAAAAA", &"A".repeat(200)] {
        for list in ["users", "audit"] {
            let reply = get(&mut stage.root, &format!("/admin/{list}?after={cursor}"));
            // What would be a place before the first event is one.
            if (list, cursor) != ("audit", "cm93") {
                assert_problem(&reply, 400, "malformed");
            }
        }
    }
    assert_problem(&get(&mut stage.root, "/admin/audit?account=nobody@example.org"), 404, "not-found");
    for path in ["/admin", "/admin/", "/admin/users/", "/admin/users//unlock", "/admin/nothing"] {
        assert_problem(&get(&mut stage.root, path), 404, "not-found");
    }
    let headers = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let path = api(&stage.row("/admin/users/{id}/mfa/reset"));
    let reply = stage.root.send("POST", &path, &headers, Some(b"{}")).expect("an answer");
    assert_problem(&reply, 403, "cross-site");
    stage.host.stop();
}

#[test]
fn accounts_are_found_and_shown_without_their_secrets() {
    let mut stage = Stage::new();
    let all = get(&mut stage.root, "/admin/users").json();
    assert_eq!((all["users"].as_array().map(Vec::len), &all["next"]), (Some(2), &Value::Null));
    for (query, found) in
        [("ann", 1), ("ANN@Example.org", 1), ("example.org", 2), ("%40example", 2), ("nobody", 0), ("", 2)]
    {
        let reply = get(&mut stage.root, &format!("/admin/users?query={query}")).json();
        assert_eq!(reply["users"].as_array().map(Vec::len), Some(found), "{query}");
    }
    let path = stage.row("/admin/users/{id}");
    let reply = get(&mut stage.root, &path);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let shown = reply.json();
    assert_eq!((&shown["user"]["email"], &shown["user"]["role"]), (&json!(ANN), &json!("user")));
    assert_eq!(shown["mfa"]["enabled"], true, "{shown}");
    assert_eq!(shown["mfa"]["factors"][0]["label"], "phone");
    assert_eq!(shown["password_locked_until"], Value::Null);
    assert_eq!(shown["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["sessions"][0]["current"], false);
    let text = reply.text();
    assert!(!text.contains(&stage.ann_secret) && !text.contains("hash") && !text.contains("token"), "{text}");
    stage.host.stop();
}

#[test]
fn a_reset_signs_out_and_lets_the_owner_enrol_again() {
    let mut stage = Stage::new();
    let path = stage.row("/admin/users/{id}/mfa/reset");
    let reply = post(&mut stage.root, &path, &json!({}));
    assert_eq!((reply.status, reply.text()), (204, String::new()));
    assert_problem(&get(&mut stage.ann, "/me"), 401, "session-required");
    stage.assert_recorded("mfa.reset");
    assert_mailed(&stage.host, "has removed the second factor of ann@example.org");
    assert_eq!(get(&mut stage.root, "/me").status, 200, "the administrator stays signed in");

    let (mut ann, secret) = enrolled(&stage.host, ANN);
    assert_ne!(secret, stage.ann_secret);
    assert_eq!(get(&mut ann, "/mfa/status").json()["factors"].as_array().map(Vec::len), Some(1));
    // The old authenticator opens nothing.
    let mut old = stage.host.browser();
    assert_eq!(login(&mut old, ANN).status, 202);
    let body = json!({ "code": code(&stage.host, &stage.ann_secret) });
    assert_problem(&post(&mut old, "/mfa/totp/verify", &body), 401, "invalid-code");

    // One's own is another administrator's business.
    let own = format!("/admin/users/{}/mfa/reset", stage.root_id);
    assert_problem(&post(&mut stage.root, &own, &json!({})), 403, "forbidden");
    assert_eq!(get(&mut stage.root, "/mfa/status").json()["enabled"], true);
    stage.host.stop();
}

#[test]
fn an_unlock_ends_the_locks_of_both_factors() {
    let mut stage = Stage::new();
    let mut guesser = stage.host.browser();
    assert_eq!(login(&mut guesser, ANN).status, 202);
    let right = code(&stage.host, &stage.ann_secret);
    let wrong =
        json!({ "code": format!("{:06}", (right.parse::<u32>().expect("digits") + 500_000) % 1_000_000) });
    for _ in 0..5 {
        assert_eq!(post(&mut guesser, "/mfa/totp/verify", &wrong).status, 401);
    }
    let mut locked = stage.host.browser();
    assert_eq!(login(&mut locked, ANN).status, 202);
    assert_problem(&post(&mut locked, "/mfa/totp/verify", &json!({ "code": right })), 429, "locked");
    let mut stranger = stage.host.browser();
    for _ in 0..5 {
        let body = json!({ "email": ANN, "password": "wrong horse battery staple" });
        assert_problem(&post(&mut stranger, "/login", &body), 401, "invalid-credentials");
    }
    assert_problem(&login(&mut stranger, ANN), 429, "locked");
    let path = stage.row("/admin/users/{id}");
    let shown = get(&mut stage.root, &path).json();
    assert_ne!(shown["password_locked_until"], Value::Null, "{shown}");
    assert_ne!(shown["mfa"]["locked_until"], Value::Null, "{shown}");

    let path = stage.row("/admin/users/{id}/unlock");
    assert_eq!(post(&mut stage.root, &path, &json!({})).status, 204);
    assert_eq!(login(&mut stranger, ANN).status, 202);
    let body = json!({ "code": code(&stage.host, &stage.ann_secret) });
    assert_eq!(post(&mut stranger, "/mfa/totp/verify", &body).status, 200);
    stage.assert_recorded("account.unlocked");
    assert_mailed(&stage.host, "has unlocked sign-ins of ann@example.org");
    stage.host.stop();
}

#[test]
fn sessions_end_for_whom_it_was_said_and_for_nobody_else() {
    let mut stage = Stage::new();
    let path = stage.row("/admin/users/{id}/sessions");
    assert_eq!(delete(&mut stage.root, &path).status, 204);
    assert_problem(&get(&mut stage.ann, "/me"), 401, "session-required");
    assert_eq!(login(&mut stage.ann, ANN).status, 202, "the factor stays");
    stage.assert_recorded("sessions.ended");
    assert_mailed(&stage.host, "has ended all sessions of ann@example.org");

    let own = format!("/admin/users/{}/sessions", stage.root_id);
    let reply = delete(&mut stage.root, &own);
    assert_eq!(reply.status, 204);
    assert!(
        reply.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")),
        "{:?}",
        reply.headers
    );
    assert_problem(&get(&mut stage.root, "/me"), 401, "session-required");
    stage.host.stop();
}

#[test]
fn the_record_comes_in_pages_that_miss_nothing_and_repeat_nothing() {
    let mut stage = Stage::new();
    // Ends her other sessions, of which there are none, each time an event of its own.
    for _ in 0..230 {
        assert_eq!(delete(&mut stage.ann, "/sessions").status, 204);
    }
    for account in ["", &format!("account={}", stage.ann_id), &format!("account={ANN}")] {
        let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(&mut stage.root, &format!("/admin/audit?{account}{after}")).json();
            pages += 1;
            for event in page["events"].as_array().expect("events") {
                assert!(account.is_empty() || event["subject"] == stage.ann_id.as_str(), "{event}");
                ids.push((event["id"].clone(), event["event"].clone()));
            }
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert!(pages >= 3, "{pages}");
        assert_eq!(ids.iter().filter(|(_, event)| event == "sessions.ended").count(), 230);
        let mut unique: Vec<String> = ids.iter().map(|(id, _)| id.to_string()).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), ids.len());
    }
    stage.host.stop();
}

#[test]
fn the_directory_comes_in_pages_that_miss_nobody() {
    let mut stage = Stage::new();
    std::thread::scope(|scope| {
        for half in ["a", "b"] {
            let host = &stage.host;
            scope.spawn(move || {
                for n in 0..60 {
                    let email = format!("{half}{n}@Many.example.org");
                    let body = json!({ "email": email, "password": PASSWORD });
                    assert_eq!(post(&mut host.browser(), "/register", &body).status, 201);
                }
            });
        }
    });
    for (query, expected) in [("", 122), ("many.EXAMPLE", 120), ("b1", 11), ("a7@many.example.org", 1)] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = get(&mut stage.root, &format!("/admin/users?query={query}{after}")).json();
            let users = page["users"].as_array().expect("users");
            assert!(users.len() <= 100);
            found.extend(users.iter().map(|user| user["email"].as_str().expect("text").to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), expected, "{query}");
    }
    let listed = cli_json(stage.host.site(), &["user", "list"], "");
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(122));
    stage.host.stop();
}
