//! Everything that happens to an account stands in the record once, in order, and holds no secret (R46, R45).
use countersign_tests::{Host, Site, User};
use serde_json::{Value, json};

fn events(host: &Host, user: &User) -> Vec<Value> {
    let output = host.site().feed(&["audit", "tail", "--json", "-n", "1000", "--account", &user.id], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn every_event_of_an_account_is_recorded_once_and_in_order() {
    let host = Site::with_store("sqlite").with_clock().with_mail().start();
    let mut user = host.user_fixture("ann@example.org");
    let mut browser = host.setup_totp(&mut user);
    let sid = browser.ask("GET /session", Value::Null).expect(200)["session"]["id"].clone();
    let wrong = json!({ "email": user.email, "password": "wrong horse battery staple" });
    host.browser().ask("POST /login", wrong).refused(401, "invalid-credentials");
    let mut waiting = host.mfa_pending_session(&user);
    let wrong = json!({ "code": host.generate_wrong_code(&user) });
    waiting.ask("POST /mfa/totp/verify", wrong).refused(401, "invalid-code");
    waiting.ask("POST /mfa/otp/send", json!({})).expect(202);
    let pending = waiting.ask("GET /session", Value::Null).expect(200)["session"]["id"].clone();
    waiting.ask("POST /mfa/recovery/verify", json!({ "code": user.recovery_codes[0] })).expect(200);
    waiting.ask("POST /logout", json!({})).expect(204);
    host.complete_mfa(&mut browser, &user);
    browser.ask("POST /mfa/recovery/generate", json!({})).expect(200);
    browser.ask("POST /reauthenticate", json!({ "password": user.password })).expect(200);
    // Refused by their form or by whoever asks: nothing happened to anybody.
    browser.ask("POST /mfa/totp/verify", json!({ "code": "x" })).refused(400, "malformed");
    host.browser().ask("GET /me", Value::Null).refused(401, "session-required");

    let all = events(&host, &user);
    let names: Vec<&str> = all.iter().filter_map(|event| event["event"].as_str()).collect();
    let expected = [
        "account.created",
        "login.succeeded",
        "mfa.totp.enrolling",
        "mfa.totp.activated",
        "login.failed",
        "login.challenged",
        "mfa.totp.refused",
        "mfa.email-otp.sent",
        "mfa.recovery.verified",
        "logout",
        "mfa.totp.verified",
        "mfa.recovery.generated",
        "reauthenticated",
    ];
    // What was mailed has records of its own, as each mail leaves.
    let others = |name: &&str| !name.starts_with("mail.") && !name.starts_with("mfa.trust");
    assert_eq!(names.iter().copied().filter(others).collect::<Vec<_>>(), expected);
    for event in &all {
        assert!(event["at"].is_string() && event["success"].is_boolean(), "{event}");
        assert_eq!(event["subject"], user.id.as_str());
    }
    let of = |name: &str| all.iter().find(|event| event["event"] == name).expect("recorded");
    assert_eq!(
        (&of("login.failed")["success"], &of("mfa.totp.refused")["success"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        (&of("mfa.totp.activated")["session"], &of("mfa.recovery.verified")["session"]),
        (&sid, &pending)
    );

    let text = format!("{all:?}\n{}", host.log());
    let mut secrets = vec![user.password.clone(), user.secret().to_owned()];
    secrets.extend(user.recovery_codes.clone());
    secrets.iter().for_each(|secret| assert!(!text.contains(secret), "{secret}"));
    host.stop();
}

/// A program shows no session while it proves its challenge; its guesses are those of the login that waits.
#[test]
fn what_a_program_tries_names_its_login() {
    let host = Site::with_store("memory").with_clock().with_mail().start();
    let mut user = host.user_fixture("ann@example.org");
    host.setup_totp(&mut user);
    let challenge = host.mfa_pending_challenge(&user);
    let ask = |path: &str, body: Value| {
        let mut body = body;
        body["challenge"] = challenge.clone().into();
        host.program().ask(path, body)
    };
    for _ in 0..5 {
        let wrong = json!({ "code": host.generate_wrong_code(&user) });
        ask("POST /mfa/totp/verify", wrong).refused(401, "invalid-code");
    }
    ask("POST /mfa/recovery/verify", json!({ "code": user.recovery_codes[0] })).refused(429, "locked");
    ask("POST /mfa/challenge/cancel", json!({})).expect(204);
    let all = events(&host, &user);
    let login = all.iter().rfind(|event| event["event"] == "login.challenged").expect("a login");
    let tried: Vec<&Value> = all.iter().skip_while(|event| *event != login).collect();
    let named = |name: &str| tried.iter().filter(|event| event["event"] == name).count();
    assert_eq!(
        ["mfa.totp.refused", "mfa.recovery.refused", "mfa.challenge.cancelled"].map(named),
        [5, 1, 1],
        "{tried:?}"
    );
    assert!(login["session"].as_str().is_some_and(|session| !session.is_empty()), "{login}");
    for event in
        tried.iter().filter(|event| event["event"].as_str().is_some_and(|name| name.starts_with("mfa.")))
    {
        assert_eq!((&event["session"], &event["actor"]), (&login["session"], &json!(user.id)), "{event}");
    }
    host.stop();
}

/// While a password is locked each place that asks for it leaves a row, one a minute.
#[test]
fn tries_during_a_lock_of_the_password_are_on_record() {
    let host = Site::with_store("memory").with_clock().start();
    let user = host.user_fixture("ann@example.org");
    let mut browser = host.signed_in(&user);
    let wrong = json!({ "password": "wrong horse battery staple" });
    for _ in 0..5 {
        browser.ask("POST /reauthenticate", &wrong).refused(401, "invalid-credentials");
    }
    for _ in 0..3 {
        browser.ask("POST /reauthenticate", &wrong).refused(429, "locked");
    }
    let named = |name: &str| events(&host, &user).iter().filter(|event| event["event"] == name).count();
    assert_eq!(["password.wrong", "password.refused"].map(named), [5, 1]);
    host.stop();
}
