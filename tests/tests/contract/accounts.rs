//! The host's own rows: accounts, logins, sessions, passwords.
use crate::{Case, Stage, provoke};
use countersign_tests::{Client, Host, NONE, PASSWORD, Reply, Site, User};
use serde_json::{Value, json};

const NEW_PASSWORD: &str = "staple battery horse correct";

fn change(current: &str, new: &str) -> Value {
    json!({ "current_password": current, "new_password": new })
}

/// Five passwords that are wrong, the last of them answered like the first. A browser that has signed in before has
/// tries of its own.
fn use_up_password(client: &mut Client, email: &str) {
    let wrong = json!({ "email": email, "password": "wrong horse battery staple" });
    for _ in 0..5 {
        client.ask("POST /login", &wrong).refused(401, "invalid-credentials");
    }
}

#[track_caller]
fn assert_signed_in(reply: &Reply, user: &User, kind: &str) {
    let answer = reply.json();
    assert_eq!((&answer["user"]["id"], &answer["user"]["email"]), (&json!(user.id), &json!(user.email)));
    assert_eq!(answer["session"]["type"], kind);
    for time in ["authenticated_at", "expires_at"] {
        let text = answer["session"][time].as_str().expect("a time");
        assert!(text.len() == 20 && text.ends_with('Z'), "RFC 3339 in UTC: {text}");
    }
}

const REGISTER: &[Case] = &[
    ("POST /register", "201", |stage| {
        let mut browser = stage.browser();
        let email = stage.new_address();
        let reply = browser.ask("POST /register", json!({ "email": email, "password": PASSWORD }));
        let user = &reply.json()["user"];
        assert_eq!(
            (&user["email"], &user["email_verified"], &user["role"]),
            (&json!(email), &json!(false), &json!("user"))
        );
        browser.ask("GET /me", NONE).expect(200);
        reply
    }),
    ("POST /register", "201", |stage| {
        let mut program = stage.program();
        let body = json!({ "email": stage.new_address(), "password": PASSWORD, "session": "bearer" });
        let reply = program.ask("POST /register", body);
        assert_eq!(reply.header("set-cookie"), None, "a program is given no cookie");
        program.ask("GET /me", NONE).expect(200);
        reply
    }),
    ("POST /register", "409 conflict", |stage| {
        let (_, user) = stage.somebody();
        let variant = format!(" {} ", user.email.to_uppercase());
        stage.browser().ask("POST /register", json!({ "email": variant, "password": PASSWORD }))
    }),
    ("POST /register", "422 password-policy", |stage| {
        let body = json!({ "email": stage.new_address(), "password": "short" });
        let reply = stage.browser().ask("POST /register", body);
        assert_eq!(reply.json()["violations"], json!(["too-short"]));
        reply
    }),
    ("POST /register", "400 malformed", |stage| {
        stage.browser().ask("POST /register", json!({ "email": "nobody", "password": PASSWORD }))
    }),
];

const LOGIN: &[Case] = &[
    ("POST /login", "200", |stage| {
        let (_, user) = stage.somebody();
        let mut browser = stage.browser();
        let reply = browser.ask("POST /login", user.credentials());
        assert_eq!(reply.json()["status"], "authenticated");
        assert_eq!(reply.json()["token"], Value::Null, "only a program is told its token");
        assert_signed_in(&reply, &user, "standard");
        reply
    }),
    ("POST /login", "200", |stage| {
        let (_, user) = stage.somebody();
        let mut program = stage.program();
        let body = json!({ "email": user.email, "password": PASSWORD, "session": "bearer" });
        let reply = program.ask("POST /login", body);
        assert_eq!(reply.header("set-cookie"), None);
        program.ask("GET /me", NONE).expect(200);
        reply
    }),
    ("POST /login", "202", |stage| {
        let (_, user) = stage.enrolled();
        let mut browser = stage.browser();
        let reply = browser.ask("POST /login", user.credentials());
        let answer = reply.json();
        assert_eq!(answer["status"], "mfa_required");
        assert_eq!(answer["methods"], json!(["totp", "recovery", "email_otp"]));
        assert!(answer["challenge"].is_string() && answer["expires_at"].is_string());
        assert_signed_in(&browser.ask("GET /session", NONE), &user, "mfa_pending");
        reply
    }),
    ("POST /login", "202", |stage| {
        let (_, user) = stage.enrolled();
        let body = json!({ "email": user.email, "password": PASSWORD, "session": "bearer" });
        let reply = stage.program().ask("POST /login", body);
        assert_eq!((reply.header("set-cookie"), &reply.json()["token"]), (None, &Value::Null));
        reply
    }),
    ("POST /login", "401 invalid-credentials", |stage| {
        let (_, user) = stage.somebody();
        let known = json!({ "email": user.email, "password": "wrong horse battery staple" });
        let unknown = json!({ "email": stage.new_address(), "password": "wrong horse battery staple" });
        let known = stage.browser().ask("POST /login", known);
        let unknown = stage.browser().ask("POST /login", unknown);
        assert_eq!(known.text(), unknown.text());
        unknown
    }),
    ("POST /login", "429 locked", |stage| {
        let (_, user) = stage.somebody();
        use_up_password(&mut stage.browser(), &user.email);
        let locked = stage.browser().ask("POST /login", user.credentials());
        // A name that belongs to nobody locks alike.
        let nobody = stage.new_address();
        use_up_password(&mut stage.browser(), &nobody);
        let body = json!({ "email": nobody, "password": PASSWORD });
        stage.browser().ask("POST /login", body).refused(429, "locked");
        stage.later(900);
        stage.browser().ask("POST /login", user.credentials()).expect(200);
        locked
    }),
];

const SESSIONS: &[Case] = &[
    ("POST /logout", "204", |stage| {
        let (mut browser, _) = stage.somebody();
        let mut thief = browser.clone();
        let reply = browser.ask("POST /logout", json!({}));
        thief.ask("GET /me", NONE).refused(401, "session-required");
        reply
    }),
    ("POST /logout", "204", |stage| {
        let (mut browser, _) = stage.pending();
        let mut thief = browser.clone();
        let reply = browser.ask("POST /logout", NONE);
        thief.ask("GET /session", NONE).refused(401, "session-required");
        reply
    }),
    ("POST /logout", "204", |stage| stage.browser().ask("POST /logout", json!({}))),
    ("GET /session", "200", |stage| {
        let (mut browser, user) = stage.somebody();
        let reply = browser.ask("GET /session", NONE);
        assert_signed_in(&reply, &user, "standard");
        let session = &reply.json()["session"];
        assert_eq!((&session["mfa_verified_at"], &session["amr"]), (&Value::Null, &json!(["pwd"])));
        assert_eq!(session["enrollment_required"], false);
        reply
    }),
    ("GET /session", "200", |stage| stage.pending().0.ask("GET /session", NONE)),
    ("GET /session", "401 session-required", |stage| stage.browser().ask("GET /session", NONE)),
    ("GET /me", "200", |stage| stage.somebody().0.ask("GET /me", NONE)),
    ("GET /me", "401 session-required", |stage| stage.browser().ask("GET /me", NONE)),
    ("GET /me", "403 mfa-required", |stage| stage.pending().0.ask("GET /me", NONE)),
    ("GET /verify", "200", |stage| {
        let (mut browser, user) = stage.somebody();
        let reply = browser.ask("GET /verify", NONE);
        assert_eq!((reply.header("remote-user"), reply.body.len()), (Some(&*user.id), 0));
        assert_eq!((reply.header("remote-role"), reply.header("remote-email")), (Some("user"), None));
        reply
    }),
    ("GET /verify", "200", |stage| {
        let user = stage.user_fixture(&stage.new_address());
        let mut browser = stage.browser();
        // Who opens a mailed link has proven the address.
        let token = stage.magic_link(&mut browser, &user);
        browser.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(200);
        let reply = browser.ask("GET /verify", NONE);
        assert_eq!(reply.header("remote-email"), Some(&*user.email));
        reply
    }),
    ("GET /verify", "401 session-required", |stage| stage.browser().ask("GET /verify", NONE)),
    ("GET /verify", "403 mfa-required", |stage| stage.pending().0.ask("GET /verify", NONE)),
    ("GET /verify", "302", |stage| {
        let html = [("accept", "text/html")];
        stage.pending().0.ask_with("GET /verify", &html, NONE).expect(302);
        stage.browser().ask_with("GET /verify", &html, NONE)
    }),
    ("GET /sessions", "200", |stage| {
        let (mut browser, user) = stage.somebody();
        stage.signed_in(&user);
        let reply = browser.ask("GET /sessions", NONE);
        let sessions = reply.json()["sessions"].as_array().expect("a list").clone();
        assert_eq!((sessions.len(), sessions.iter().filter(|one| one["current"] == true).count()), (2, 1));
        reply
    }),
    ("DELETE /sessions/{id}", "204", |stage| {
        let (mut browser, user) = stage.somebody();
        let mut other = stage.signed_in(&user);
        let id = other.ask("GET /session", NONE).json()["session"]["id"].clone();
        let reply = browser.ask(&format!("DELETE /sessions/{}", id.as_str().expect("an id")), NONE);
        other.ask("GET /me", NONE).refused(401, "session-required");
        browser.ask("GET /me", NONE).expect(200);
        reply
    }),
    ("DELETE /sessions/{id}", "404 not-found", |stage| {
        let (mut stranger, _) = stage.somebody();
        let id = stranger.ask("GET /session", NONE).json()["session"]["id"].clone();
        let reply =
            stage.somebody().0.ask(&format!("DELETE /sessions/{}", id.as_str().expect("an id")), NONE);
        stranger.ask("GET /me", NONE).expect(200);
        reply
    }),
    ("DELETE /sessions", "204", |stage| {
        let (mut browser, user) = stage.somebody();
        let mut other = stage.signed_in(&user);
        let reply = browser.ask("DELETE /sessions", NONE);
        other.ask("GET /me", NONE).refused(401, "session-required");
        browser.ask("GET /me", NONE).expect(200);
        reply
    }),
];

const PASSWORDS: &[Case] = &[
    ("POST /reauthenticate", "200", |stage| {
        let (mut browser, user) = stage.somebody();
        stage.later(301);
        browser.ask("POST /mfa/totp/enroll", json!({})).refused(403, "step-up-required");
        let reply = browser.ask("POST /reauthenticate", json!({ "password": PASSWORD }));
        assert_signed_in(&reply, &user, "standard");
        browser.ask("POST /mfa/totp/enroll", json!({})).expect(201);
        reply
    }),
    ("POST /reauthenticate", "401 invalid-credentials", |stage| {
        stage.somebody().0.ask("POST /reauthenticate", json!({ "password": "wrong" }))
    }),
    ("POST /reauthenticate", "429 locked", |stage| {
        let (mut browser, user) = stage.somebody();
        use_up_password(&mut browser, &user.email);
        browser.ask("POST /reauthenticate", json!({ "password": PASSWORD }))
    }),
    ("POST /password/change", "204", |stage| {
        let (mut browser, mut user) = stage.somebody();
        let mut other = stage.signed_in(&user);
        let reply = browser.ask("POST /password/change", change(PASSWORD, NEW_PASSWORD));
        other.ask("GET /me", NONE).refused(401, "session-required");
        browser.ask("GET /me", NONE).expect(200);
        stage.browser().ask("POST /login", user.credentials()).refused(401, "invalid-credentials");
        user.password = NEW_PASSWORD.into();
        stage.browser().ask("POST /login", user.credentials()).expect(200);
        stage.mail(&user.email, "password");
        reply
    }),
    ("POST /password/change", "401 invalid-credentials", |stage| {
        stage.somebody().0.ask("POST /password/change", change("wrong", NEW_PASSWORD))
    }),
    ("POST /password/change", "403 step-up-required", |stage| {
        let (mut browser, user) = stage.enrolled();
        stage.later(301);
        let refused = browser.ask("POST /password/change", change(PASSWORD, NEW_PASSWORD));
        // The password does not stand in for the factor.
        browser.ask("POST /reauthenticate", json!({ "password": PASSWORD })).expect(200);
        browser.ask("POST /password/change", change(PASSWORD, NEW_PASSWORD)).refused(403, "step-up-required");
        stage.complete_mfa(&mut browser, &user);
        browser.ask("POST /password/change", change(PASSWORD, NEW_PASSWORD)).expect(204);
        refused
    }),
    ("POST /password/change", "422 password-policy", |stage| {
        let (mut browser, user) = stage.somebody();
        let reply = browser.ask("POST /password/change", change(PASSWORD, &format!("{} 12345", user.email)));
        assert_eq!(reply.json()["violations"], json!(["context-word"]));
        reply
    }),
    ("POST /password/change", "429 locked", |stage| {
        let (mut browser, user) = stage.somebody();
        use_up_password(&mut browser, &user.email);
        browser.ask("POST /password/change", change(PASSWORD, NEW_PASSWORD))
    }),
];

#[test]
fn accounts_and_sessions() {
    let stage = Stage::new();
    for cases in [REGISTER, LOGIN, SESSIONS, PASSWORDS] {
        provoke(&stage, cases);
    }
}

#[test]
fn registration_that_is_closed_tells_nothing() {
    let stage = Stage::on(Site::with_store("memory").with("registration", "closed"));
    let known = stage.user_fixture("ann@example.org");
    for email in [known.email.as_str(), "nobody@example.org", "no address"] {
        let body = json!({ "email": email, "password": "short" });
        stage.browser().ask("POST /register", body).refused(403, "forbidden");
    }
    stage.signed_in(&known);
}

/// Policy wants a factor: until there is one, what is not needed for setting it up is refused.
#[test]
fn who_must_enrol_gets_to_enrolment_and_no_further() {
    let stage = Stage::on(Site::with_store("memory").with_clock().with("mfa.require", "all"));
    provoke(
        &stage,
        &[
            ("GET /session", "200", |stage| {
                let (mut browser, _) = stage.somebody();
                let reply = browser.ask("GET /session", NONE);
                assert_eq!(reply.json()["session"]["enrollment_required"], true);
                reply
            }),
            ("POST /login", "200", |stage| {
                // Beside the session of somebody who has a factor.
                let (_, user) = stage.somebody();
                let reply = stage.enrolled().0.ask("POST /login", user.credentials());
                assert_eq!(reply.json()["session"]["enrollment_required"], true);
                reply
            }),
            ("GET /me", "403 enrollment-required", |stage| stage.somebody().0.ask("GET /me", NONE)),
            ("GET /verify", "403 enrollment-required", |stage| stage.somebody().0.ask("GET /verify", NONE)),
            ("GET /verify", "302", |stage| {
                let reply = stage.somebody().0.ask_with("GET /verify", &[("accept", "text/html")], NONE);
                assert!(reply.header("location").is_some_and(|to| to.ends_with("/settings/mfa")));
                reply
            }),
            ("GET /me", "200", |stage| stage.enrolled().0.ask("GET /me", NONE)),
            ("GET /mfa/status", "200", |stage| {
                let reply = stage.somebody().0.ask("GET /mfa/status", NONE);
                assert_eq!(
                    (&reply.json()["enabled"], &reply.json()["required"]),
                    (&json!(false), &json!(true))
                );
                reply
            }),
        ],
    );
}

/// Hashing that takes longer than anybody waits: the queue refuses, it does not grow.
#[test]
fn more_passwords_than_can_be_hashed_are_answered_busy() {
    let site = Site::with_store("memory").with("password.max_concurrent_hashes", 1);
    site.set("password.argon2.memory", "64 MiB");
    site.set("password.argon2.iterations", 16);
    let host: Host = site.start();
    let body = json!({ "email": "nobody@example.org", "password": PASSWORD });
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| host.program().ask("POST /login", &body));
        let threads: Vec<_> = (0..12).map(|_| ask()).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let busy = replies.iter().filter(|reply| reply.status == 503);
    assert!(busy.clone().count() > 0, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    busy.for_each(|reply| reply.refused(503, "busy"));
    host.stop();
}
