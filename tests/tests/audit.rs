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
