//! Administration over HTTP: who may, what is done, what is recorded, who is told.
use countersign_tests::{Client, Credentials, Host, NONE, PASSWORD, Reply, Site, User};
use serde_json::{Value, json};
use std::time::Duration;

const ANN: &str = "ann@example.org";
const ROOT: &str = "root@example.org";
/// The `step_up_window`, and a second.
const STALE: Duration = Duration::from_secs(301);

/// A host with an administrator and Ann, both signed in with a factor proven just now.
struct Stage {
    host: Host,
    root: Client,
    root_user: User,
    ann: Client,
    ann_user: User,
}

impl Stage {
    fn new() -> Self {
        let host = Site::with_store("sqlite").with_clock().with_mail().start();
        let mut root_user = host.user_with_role(ROOT, "admin");
        let mut ann_user = host.user_fixture(ANN);
        let ann = host.setup_totp(&mut ann_user);
        let root = host.setup_totp(&mut root_user);
        Self { host, root, root_user, ann, ann_user }
    }

    /// The events of that name about Ann.
    fn events(&mut self, name: &str) -> Vec<Value> {
        let reply = self.root.ask(&format!("GET /admin/audit?account={}", self.ann_user.id), NONE);
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
        assert_eq!(
            (&event["actor"], &event["subject"]),
            (&json!(self.root_user.id), &json!(self.ann_user.id))
        );
        assert_eq!((&event["success"], &event["peer"]), (&json!(true), &json!("127.0.0.1")), "{event}");
        let session = self.root.ask("GET /session", NONE).json()["session"]["id"].clone();
        assert_eq!(event["session"], session);
    }

    fn row(&self, path: &str) -> String {
        path.replace("{id}", &self.ann_user.id)
    }
}

/// Waits until the host has mailed that, once.
#[track_caller]
fn assert_mailed(host: &Host, says: &str) {
    host.site().mailbox().wait_for(1, |mail| mail.text.replace('\n', " ").contains(says));
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
    client.ask(&format!("{method} {path}"), if method == "POST" { json!({}) } else { NONE })
}

#[test]
fn every_row_turns_away_who_is_no_administrator_with_a_fresh_second_factor() {
    let mut stage = Stage::new();
    // An administrator whose browser is trusted signs in by password alone, and has proven nothing more.
    let mut trusted = stage.host.trust_browser(&stage.root_user);
    trusted.ask("POST /login", stage.root_user.credentials()).expect(200);
    let mut pending = stage.host.mfa_pending_session(&stage.root_user);
    let bare = stage.host.user_with_role("bare@example.org", "admin");
    let mut bare = stage.host.signed_in(&bare);
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
        ask(&mut stage.root, method, &path).refused(403, "step-up-required");
    }
    stage.host.complete_mfa(&mut stage.root, &stage.root_user);
    assert_eq!(stage.root.ask("GET /admin/users", NONE).status, 200);
    // None of it did anything.
    assert_eq!(stage.ann.ask("GET /me", NONE).status, 200);
    assert_eq!(stage.ann.ask("GET /mfa/status", NONE).json()["enabled"], true);
    // A role that is taken away counts at once.
    stage.host.site().json(&["user", "set-role", ROOT, "user"], "");
    stage.root.ask("GET /admin/users", NONE).refused(403, "forbidden");
    stage.host.stop();
}

#[test]
fn every_row_says_what_is_wrong_with_a_request() {
    let mut stage = Stage::new();
    for (method, path) in ROWS.iter().filter(|(_, path)| path.contains("{id}")) {
        let path = path.replace("{id}", "nobody");
        ask(&mut stage.root, method, &path).refused(404, "not-found");
    }
    for path in ["/admin/users/{id}/mfa/reset", "/admin/users/{id}/unlock"] {
        let path = stage.row(path);
        stage.root.ask(&format!("POST {path}"), json!({ "x": 1 })).refused(400, "malformed");
        let reply = stage.root.ask(&format!("GET {path}"), NONE);
        reply.refused(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    for cursor in ["x", "!", "cm93", "AAAAAAAA", &"A".repeat(200)] {
        for list in ["users", "audit"] {
            let reply = stage.root.ask(&format!("GET /admin/{list}?after={cursor}"), NONE);
            // What would be a place before the first event is one.
            if (list, cursor) != ("audit", "cm93") {
                reply.refused(400, "malformed");
            }
        }
    }
    stage.root.ask("GET /admin/audit?account=nobody@example.org", NONE).refused(404, "not-found");
    for path in ["/admin", "/admin/", "/admin/users/", "/admin/users//unlock", "/admin/nothing"] {
        stage.root.ask(&format!("GET {path}"), NONE).refused(404, "not-found");
    }
    let row = stage.row("POST /admin/users/{id}/mfa/reset");
    stage.root.ask_with(&row, &[("origin", "https://evil.example")], json!({})).refused(403, "cross-site");
    stage.host.stop();
}

#[test]
fn accounts_are_found_and_shown_without_their_secrets() {
    let mut stage = Stage::new();
    let all = stage.root.ask("GET /admin/users", NONE).json();
    assert_eq!((all["users"].as_array().map(Vec::len), &all["next"]), (Some(2), &Value::Null));
    for (query, found) in
        [("ann", 1), ("ANN@Example.org", 1), ("example.org", 2), ("%40example", 2), ("nobody", 0), ("", 2)]
    {
        let reply = stage.root.ask(&format!("GET /admin/users?query={query}"), NONE).json();
        assert_eq!(reply["users"].as_array().map(Vec::len), Some(found), "{query}");
    }
    let path = stage.row("/admin/users/{id}");
    let reply = stage.root.ask(&format!("GET {path}"), NONE);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let shown = reply.json();
    assert_eq!((&shown["user"]["email"], &shown["user"]["role"]), (&json!(ANN), &json!("user")));
    assert_eq!(shown["mfa"]["enabled"], true, "{shown}");
    assert_eq!(shown["mfa"]["factors"][0]["label"], "phone");
    assert_eq!(shown["password_locked_until"], Value::Null);
    assert_eq!(shown["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["sessions"][0]["current"], false);
    let text = reply.text();
    assert!(
        !text.contains(stage.ann_user.secret()) && !text.contains("hash") && !text.contains("token"),
        "{text}"
    );
    stage.host.stop();
}

#[test]
fn a_reset_signs_out_and_lets_the_owner_enrol_again() {
    let mut stage = Stage::new();
    let path = stage.row("/admin/users/{id}/mfa/reset");
    let reply = stage.root.ask(&format!("POST {path}"), json!({}));
    assert_eq!((reply.status, reply.text()), (204, String::new()));
    stage.ann.ask("GET /me", NONE).refused(401, "session-required");
    stage.assert_recorded("mfa.reset");
    assert_mailed(&stage.host, "has removed the second factor of ann@example.org");
    assert_eq!(stage.root.ask("GET /me", NONE).status, 200, "the administrator stays signed in");

    let mut again = stage.ann_user.clone();
    let mut ann = stage.host.setup_totp(&mut again);
    assert_ne!(again.secret, stage.ann_user.secret);
    assert_eq!(ann.ask("GET /mfa/status", NONE).json()["factors"].as_array().map(Vec::len), Some(1));
    // The old authenticator opens nothing.
    let mut old = stage.host.mfa_pending_session(&stage.ann_user);
    let body = json!({ "code": stage.host.generate_totp_code(&stage.ann_user) });
    old.ask("POST /mfa/totp/verify", &body).refused(401, "invalid-code");

    // One's own is another administrator's business.
    let own = format!("/admin/users/{}/mfa/reset", stage.root_user.id);
    stage.root.ask(&format!("POST {own}"), json!({})).refused(403, "forbidden");
    assert_eq!(stage.root.ask("GET /mfa/status", NONE).json()["enabled"], true);
    stage.host.stop();
}

#[test]
fn an_unlock_ends_the_locks_of_both_factors() {
    let mut stage = Stage::new();
    stage.host.simulate_lockout(&stage.ann_user);
    let mut stranger = stage.host.browser();
    for _ in 0..5 {
        let body = json!({ "email": ANN, "password": "wrong horse battery staple" });
        stranger.ask("POST /login", &body).refused(401, "invalid-credentials");
    }
    stranger.ask("POST /login", stage.ann_user.credentials()).refused(429, "locked");
    let path = stage.row("/admin/users/{id}");
    let shown = stage.root.ask(&format!("GET {path}"), NONE).json();
    assert_ne!(shown["password_locked_until"], Value::Null, "{shown}");
    assert_ne!(shown["mfa"]["locked_until"], Value::Null, "{shown}");

    let path = stage.row("/admin/users/{id}/unlock");
    assert_eq!(stage.root.ask(&format!("POST {path}"), json!({})).status, 204);
    stranger.ask("POST /login", stage.ann_user.credentials()).expect(202);
    stage.host.complete_mfa(&mut stranger, &stage.ann_user);
    stage.assert_recorded("account.unlocked");
    assert_mailed(&stage.host, "has unlocked sign-ins of ann@example.org");
    stage.host.stop();
}

#[test]
fn sessions_end_for_whom_it_was_said_and_for_nobody_else() {
    let mut stage = Stage::new();
    let path = stage.row("/admin/users/{id}/sessions");
    assert_eq!(stage.root.ask(&format!("DELETE {path}"), NONE).status, 204);
    stage.ann.ask("GET /me", NONE).refused(401, "session-required");
    assert_eq!(stage.ann.ask("POST /login", stage.ann_user.credentials()).status, 202, "the factor stays");
    stage.assert_recorded("sessions.ended");
    assert_mailed(&stage.host, "has ended all sessions of ann@example.org");

    let own = format!("/admin/users/{}/sessions", stage.root_user.id);
    let reply = stage.root.ask(&format!("DELETE {own}"), NONE);
    assert_eq!(reply.status, 204);
    assert!(
        reply.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")),
        "{:?}",
        reply.headers
    );
    stage.root.ask("GET /me", NONE).refused(401, "session-required");
    stage.host.stop();
}

#[test]
fn the_record_comes_in_pages_that_miss_nothing_and_repeat_nothing() {
    let mut stage = Stage::new();
    // Ends her other sessions, of which there are none, each time an event of its own.
    for _ in 0..230 {
        assert_eq!(stage.ann.ask("DELETE /sessions", NONE).status, 204);
    }
    for account in ["", &format!("account={}", stage.ann_user.id), &format!("account={ANN}")] {
        let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = stage.root.ask(&format!("GET /admin/audit?{account}{after}"), NONE).json();
            pages += 1;
            for event in page["events"].as_array().expect("events") {
                assert!(account.is_empty() || event["subject"] == stage.ann_user.id.as_str(), "{event}");
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
                    assert_eq!(host.browser().ask("POST /register", &body).status, 201);
                }
            });
        }
    });
    for (query, expected) in [("", 122), ("many.EXAMPLE", 120), ("b1", 11), ("a7@many.example.org", 1)] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = stage.root.ask(&format!("GET /admin/users?query={query}{after}"), NONE).json();
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
    let listed = stage.host.site().json(&["user", "list"], "");
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(122));
    stage.host.stop();
}
