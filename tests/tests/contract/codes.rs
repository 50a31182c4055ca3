//! plugin-mfa's rows for the rest of a login: recovery codes, codes by mail, challenges; and the password policy.
use crate::{Case, Stage, provoke};
use countersign_tests::{Client, NONE, PASSWORD, Reply, User};
use serde_json::{Value, json};

const VERIFY: &str = "POST /mfa/totp/verify";

/// The challenge of a login by cookie.
fn cookies_challenge(stage: &Stage, user: &User) -> Value {
    stage.browser().ask("POST /login", user.credentials()).expect(202)["challenge"].clone()
}

const RECOVERY: &[Case] = &[
    ("POST /mfa/recovery/generate", "200", |stage| {
        let (mut browser, mut user) = stage.enrolled();
        let old = user.recovery_codes[0].clone();
        let reply = browser.ask("POST /mfa/recovery/generate", json!({}));
        let codes = reply.json()["recovery_codes"].as_array().expect("codes").clone();
        assert_eq!(codes.len(), 8);
        user.recovery_codes = codes.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut waiting = stage.mfa_pending_session(&user);
        waiting.ask("POST /mfa/recovery/verify", json!({ "code": old })).refused(401, "invalid-code");
        waiting.ask("POST /mfa/recovery/verify", json!({ "code": user.recovery_codes[7] })).expect(200);
        reply
    }),
    ("POST /mfa/recovery/generate", "403 step-up-required", |stage| {
        let (_, user) = stage.enrolled();
        // A recovery code that was found must not be worth eight more.
        let mut browser = stage.mfa_pending_session(&user);
        browser.ask("POST /mfa/recovery/verify", json!({ "code": user.recovery_codes[0] })).expect(200);
        browser.ask("POST /mfa/recovery/generate", json!({}))
    }),
    ("POST /mfa/recovery/generate", "409 conflict", |stage| {
        stage.somebody().0.ask("POST /mfa/recovery/generate", json!({}))
    }),
    ("POST /mfa/recovery/verify", "200", |stage| {
        let (mut browser, user) = stage.pending();
        let spelled = user.recovery_codes[0].replace('-', " ").to_lowercase();
        let reply = browser.ask("POST /mfa/recovery/verify", json!({ "code": spelled }));
        assert_eq!(reply.json()["recovery_codes_remaining"], 7);
        assert_eq!(browser.cookie("countersign-mfa-trust"), None);
        stage.mail(&user.email, "recovery code");
        reply
    }),
    ("POST /mfa/recovery/verify", "401 invalid-code", |stage| {
        let (mut browser, user) = stage.pending();
        let code = json!({ "code": user.recovery_codes[0] });
        browser.ask("POST /mfa/recovery/verify", &code).expect(200);
        stage.mfa_pending_session(&user).ask("POST /mfa/recovery/verify", &code)
    }),
    ("POST /mfa/recovery/verify", "401 challenge-invalid", |stage| {
        let (_, user) = stage.enrolled();
        // A cookie's challenge, without that cookie.
        let challenge = cookies_challenge(stage, &user);
        let body = json!({ "code": user.recovery_codes[0], "challenge": challenge });
        stage.program().ask("POST /mfa/recovery/verify", body)
    }),
    ("POST /mfa/recovery/verify", "401 session-required", |stage| {
        stage.browser().ask("POST /mfa/recovery/verify", json!({ "code": "0000-0000-0000-0000" }))
    }),
    ("POST /mfa/recovery/verify", "429 locked", |stage| {
        let (_, user) = stage.enrolled();
        stage.simulate_lockout(&user);
        let code = json!({ "code": user.recovery_codes[0] });
        stage.mfa_pending_session(&user).ask("POST /mfa/recovery/verify", code)
    }),
];

const MAIL: &[Case] = &[
    ("POST /mfa/otp/send", "202", |stage| {
        let (mut browser, user) = stage.pending();
        let reply = browser.ask("POST /mfa/otp/send", json!({}));
        assert!(reply.json()["expires_at"].is_string() && reply.json()["resend_after"].is_u64());
        stage.mailed_code(&user.email);
        reply
    }),
    ("POST /mfa/otp/send", "429 rate-limited", |stage| {
        let (mut browser, _) = stage.pending();
        (0..3).for_each(|_| _ = browser.ask("POST /mfa/otp/send", json!({})).expect(202));
        browser.ask("POST /mfa/otp/send", json!({}))
    }),
    ("POST /mfa/otp/send", "429 locked", |stage| {
        let (_, user) = stage.enrolled();
        stage.simulate_lockout(&user);
        stage.mfa_pending_session(&user).ask("POST /mfa/otp/send", json!({}))
    }),
    ("POST /mfa/otp/send", "401 session-required", |stage| {
        stage.browser().ask("POST /mfa/otp/send", json!({}))
    }),
    ("POST /mfa/otp/send", "401 challenge-invalid", |stage| {
        let (_, user) = stage.enrolled();
        let challenge = cookies_challenge(stage, &user);
        stage.program().ask("POST /mfa/otp/send", json!({ "challenge": challenge }))
    }),
    // It is no step-up.
    ("POST /mfa/otp/send", "403 forbidden", |stage| stage.enrolled().0.ask("POST /mfa/otp/send", json!({}))),
    ("POST /mfa/otp/verify", "200", |stage| {
        let (mut browser, user) = stage.pending();
        browser.ask("POST /mfa/otp/send", json!({})).expect(202);
        stage.mailed_code(&user.email);
        browser.ask("POST /mfa/otp/send", json!({})).expect(202);
        // Only the newest code counts.
        let code = json!({ "code": stage.mailed_code(&user.email) });
        let reply = browser.ask("POST /mfa/otp/verify", code);
        assert_eq!(reply.json()["session"]["amr"], json!(["pwd", "email"]));
        browser.ask("POST /mfa/totp/enroll", json!({})).refused(403, "step-up-required");
        reply
    }),
    ("POST /mfa/otp/verify", "401 invalid-code", |stage| {
        let (mut browser, user) = stage.pending();
        browser.ask("POST /mfa/otp/send", json!({})).expect(202);
        let code = json!({ "code": stage.mailed_code(&user.email) });
        // For another challenge it is worth nothing.
        stage.mfa_pending_session(&user).ask("POST /mfa/otp/verify", &code)
    }),
    ("POST /mfa/otp/verify", "401 challenge-invalid", |stage| {
        let (mut browser, user) = stage.pending();
        browser.ask("POST /mfa/otp/send", json!({})).expect(202);
        // The right code beside somebody else's challenge.
        let challenge = stage.mfa_pending_challenge(&stage.enrolled().1);
        let body = json!({ "code": stage.mailed_code(&user.email), "challenge": challenge });
        browser.ask("POST /mfa/otp/verify", body)
    }),
    ("POST /mfa/otp/verify", "401 session-required", |stage| {
        stage.browser().ask("POST /mfa/otp/verify", json!({ "code": "123456" }))
    }),
    ("POST /mfa/otp/verify", "429 locked", |stage| {
        let (mut browser, user) = stage.pending();
        browser.ask("POST /mfa/otp/send", json!({})).expect(202);
        let code = stage.mailed_code(&user.email);
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for _ in 0..5 {
            browser.ask("POST /mfa/otp/verify", json!({ "code": wrong })).refused(401, "invalid-code");
        }
        browser.ask("POST /mfa/otp/verify", json!({ "code": code }))
    }),
    ("POST /mfa/otp/verify", "403 forbidden", |stage| {
        stage.enrolled().0.ask("POST /mfa/otp/verify", json!({ "code": "123456" }))
    }),
];

fn status(client: &mut Client, challenge: Option<&str>) -> Reply {
    let query = challenge.map_or(String::new(), |challenge| format!("?challenge={challenge}"));
    client.ask(&format!("GET /mfa/challenge/status{query}"), NONE)
}

const CHALLENGES: &[Case] = &[
    ("GET /mfa/challenge/status", "200", |stage| {
        let (mut browser, user) = stage.pending();
        browser.ask(VERIFY, stage.wrong(&user)).refused(401, "invalid-code");
        let reply = status(&mut browser, None);
        assert_eq!((&reply.json()["status"], &reply.json()["attempts_left"]), (&json!("pending"), &json!(4)));
        assert_eq!(reply.json()["methods"], json!(["totp", "recovery", "email_otp"]));
        reply
    }),
    ("GET /mfa/challenge/status", "200", |stage| {
        let (_, user) = stage.enrolled();
        let challenge = stage.mfa_pending_challenge(&user);
        let body = json!({ "challenge": challenge, "code": stage.generate_totp_code(&user) });
        stage.program().ask(VERIFY, &body).expect(200);
        let reply = status(&mut stage.program(), Some(&challenge));
        assert_eq!(reply.json()["status"], "completed");
        // One success.
        stage.program().ask(VERIFY, &body).refused(401, "challenge-invalid");
        reply
    }),
    ("GET /mfa/challenge/status", "200", |stage| {
        let (_, user) = stage.enrolled();
        let challenge = stage.mfa_pending_challenge(&user);
        stage.later(301);
        let reply = status(&mut stage.program(), Some(&challenge));
        assert_eq!((&reply.json()["status"], &reply.json()["methods"]), (&json!("expired"), &json!([])));
        reply
    }),
    ("GET /mfa/challenge/status", "200", |stage| {
        let (_, user) = stage.enrolled();
        stage.simulate_lockout(&user);
        let reply = status(&mut stage.mfa_pending_session(&user), None);
        assert_eq!((&reply.json()["status"], &reply.json()["attempts_left"]), (&json!("locked"), &json!(0)));
        reply
    }),
    ("GET /mfa/challenge/status", "401 challenge-invalid", |stage| {
        status(&mut stage.program(), Some("v1.x.y.z"))
    }),
    ("GET /mfa/challenge/status", "401 challenge-invalid", |stage| {
        // A challenge for a cookie, without that cookie; and beside another session.
        let (_, user) = stage.enrolled();
        let mut browser = stage.browser();
        let challenge = browser.ask("POST /login", user.credentials()).expect(202)["challenge"].clone();
        let challenge = challenge.as_str().expect("a challenge");
        status(&mut browser, Some(challenge)).expect(200);
        status(&mut stage.browser(), Some(challenge)).refused(401, "challenge-invalid");
        status(&mut stage.somebody().0, Some(challenge))
    }),
    ("GET /mfa/challenge/status", "401 session-required", |stage| status(&mut stage.browser(), None)),
    ("POST /mfa/challenge/cancel", "204", |stage| {
        let (mut browser, user) = stage.pending();
        let mut thief = browser.clone();
        let reply = browser.ask("POST /mfa/challenge/cancel", json!({}));
        thief.ask(VERIFY, stage.right(&user)).refused(401, "session-required");
        reply
    }),
    ("POST /mfa/challenge/cancel", "204", |stage| {
        let (_, user) = stage.enrolled();
        let challenge = stage.mfa_pending_challenge(&user);
        let reply = stage.program().ask("POST /mfa/challenge/cancel", json!({ "challenge": challenge }));
        assert_eq!(status(&mut stage.program(), Some(&challenge)).json()["status"], "expired");
        reply
    }),
    ("POST /mfa/challenge/cancel", "401 challenge-invalid", |stage| {
        stage.somebody().0.ask("POST /mfa/challenge/cancel", json!({}))
    }),
    ("POST /mfa/challenge/cancel", "401 session-required", |stage| {
        stage.browser().ask("POST /mfa/challenge/cancel", json!({}))
    }),
];

const POLICY: &[Case] = &[("POST /mfa/password/validate", "200", |stage| {
    for (password, violations) in [
        (PASSWORD, json!([])),
        ("short", json!(["too-short"])),
        ("aaaaaaaaaaaaaaaa", json!(["repeated-character"])),
        ("password1234", json!(["common"])),
        (&*"x".repeat(1_025), json!(["too-long"])),
        ("no composition rules at all", json!([])),
    ] {
        let answer =
            stage.browser().ask("POST /mfa/password/validate", json!({ "password": password })).expect(200);
        assert_eq!((&answer["valid"], &answer["violations"]), (&json!(violations == json!([])), &violations));
    }
    let (mut browser, user) = stage.somebody();
    let reply =
        browser.ask("POST /mfa/password/validate", json!({ "password": format!("{} x", user.email) }));
    assert_eq!(reply.json()["violations"], json!(["context-word"]));
    reply
})];

#[test]
fn recovery_codes_mailed_codes_challenges_and_the_policy() {
    let stage = Stage::new();
    for cases in [RECOVERY, MAIL, CHALLENGES, POLICY] {
        provoke(&stage, cases);
    }
}
