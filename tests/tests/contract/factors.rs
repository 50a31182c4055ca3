//! plugin-mfa's rows for factors: what an account has, setting an app up, its codes, giving it up.
use crate::{Case, Stage, provoke};
use countersign_tests::{Client, NONE, PASSWORD, Site};
use serde_json::{Value, json};

const VERIFY: &str = "POST /mfa/totp/verify";

/// Begins one more enrolment; answers what is to be confirmed, and the app's key.
fn begin(browser: &mut Client) -> (Value, String) {
    let begun = browser.ask("POST /mfa/totp/enroll", json!({})).expect(201);
    (begun["enrollment"].clone(), begun["secret"].as_str().expect("a key").to_owned())
}

fn shown(stage: &Stage, secret: &str) -> String {
    countersign_test_kit::totp::code(secret, stage.site().clock().now()).expect("a code")
}

const STATUS: &[Case] = &[
    ("GET /mfa/status", "200", |stage| {
        let (mut browser, _) = stage.enrolled();
        let reply = browser.ask("GET /mfa/status", NONE);
        let status = reply.json();
        assert_eq!((&status["enabled"], &status["required"]), (&json!(true), &json!(false)));
        assert_eq!(
            (&status["recovery_codes_remaining"], &status["recovery_codes_low"]),
            (&json!(8), &json!(false))
        );
        let factor = &status["factors"][0];
        assert_eq!(
            (&factor["kind"], &factor["label"], &factor["last_used_at"]),
            (&json!("totp"), &json!("phone"), &NONE)
        );
        reply
    }),
    ("GET /mfa/status", "401 session-required", |stage| stage.browser().ask("GET /mfa/status", NONE)),
    ("GET /mfa/status", "403 mfa-required", |stage| stage.pending().0.ask("GET /mfa/status", NONE)),
];

const ENROLMENT: &[Case] = &[
    ("POST /mfa/totp/enroll", "201", |stage| {
        let (mut browser, user) = stage.enrolled();
        let reply = browser.ask("POST /mfa/totp/enroll", json!({ "label": "tablet" }));
        let begun = reply.json();
        assert_eq!(begun["secret"].as_str().map(str::len), Some(32));
        assert!(
            begun["qr_svg"].as_str().is_some_and(|svg| svg.starts_with("<svg"))
                && begun["expires_at"].is_string()
        );
        // What is begun disarms nothing.
        stage.complete_mfa(&mut stage.mfa_pending_session(&user), &user);
        reply
    }),
    ("POST /mfa/totp/enroll", "400 malformed", |stage| {
        stage.somebody().0.ask("POST /mfa/totp/enroll", json!({ "label": "x".repeat(65) }))
    }),
    ("POST /mfa/totp/enroll", "401 session-required", |stage| {
        stage.browser().ask("POST /mfa/totp/enroll", json!({}))
    }),
    ("POST /mfa/totp/enroll", "403 mfa-required", |stage| {
        stage.pending().0.ask("POST /mfa/totp/enroll", json!({}))
    }),
    ("POST /mfa/totp/enroll", "403 step-up-required", |stage| {
        let (mut browser, _) = stage.enrolled();
        stage.later(301);
        // With a factor the password is not enough.
        browser.ask("POST /reauthenticate", json!({ "password": PASSWORD })).expect(200);
        browser.ask("POST /mfa/totp/enroll", json!({}))
    }),
    ("POST /mfa/totp/enroll", "409 conflict", |stage| {
        let (mut browser, _) = stage.enrolled();
        for _ in 1..10 {
            let (enrolment, secret) = begin(&mut browser);
            let body = json!({ "code": shown(stage, &secret), "enrollment": enrolment });
            let activated = browser.ask(VERIFY, body).expect(200);
            assert_eq!(activated["recovery_codes"], NONE, "they come with the first factor");
        }
        browser.ask("POST /mfa/totp/enroll", json!({}))
    }),
    (VERIFY, "200", |stage| {
        let (mut browser, user) = stage.somebody();
        let mut other = stage.signed_in(&user);
        let (enrolment, secret) = begin(&mut browser);
        let code = shown(stage, &secret);
        let reply = browser.ask(VERIFY, json!({ "code": code, "enrollment": enrolment }));
        let activated = reply.json();
        assert_eq!(
            (&activated["status"], &activated["factor"]["kind"]),
            (&json!("activated"), &json!("totp"))
        );
        assert_eq!(activated["recovery_codes"].as_array().map(Vec::len), Some(8));
        // The session that did it stays and has proven a factor; the others are over; the code is spent.
        assert_ne!(browser.ask("GET /session", NONE).json()["session"]["mfa_verified_at"], NONE);
        other.ask("GET /me", NONE).refused(401, "session-required");
        let mut again = stage.mfa_pending_session(&user);
        again.ask(VERIFY, json!({ "code": code })).refused(401, "invalid-code");
        reply
    }),
    (VERIFY, "401 invalid-code", |stage| {
        let (mut browser, _) = stage.somebody();
        let (superseded, old) = begin(&mut browser);
        begin(&mut browser);
        browser.ask(VERIFY, json!({ "code": shown(stage, &old), "enrollment": superseded }))
    }),
    (VERIFY, "401 invalid-code", |stage| {
        let (foreign, secret) = begin(&mut stage.somebody().0);
        stage.somebody().0.ask(VERIFY, json!({ "code": shown(stage, &secret), "enrollment": foreign }))
    }),
    (VERIFY, "401 invalid-code", |stage| {
        let (mut browser, _) = stage.somebody();
        let (expired, secret) = begin(&mut browser);
        stage.later(600);
        browser.ask(VERIFY, json!({ "code": shown(stage, &secret), "enrollment": expired }))
    }),
    (VERIFY, "403 mfa-required", |stage| {
        stage.pending().0.ask(VERIFY, json!({ "code": "123456", "enrollment": "e" }))
    }),
];

const APP: &[Case] = &[
    (VERIFY, "200", |stage| {
        let (mut browser, user) = stage.pending();
        let before = browser.ask("GET /session", NONE).json();
        let mut old = browser.clone();
        let reply = browser.ask(VERIFY, stage.right(&user));
        let (answer, session) = (reply.json(), &reply.json()["session"]);
        assert_eq!((&answer["status"], &session["type"]), (&json!("authenticated"), &json!("standard")));
        assert_eq!((&session["amr"], &session["id"]), (&json!(["pwd", "otp"]), &before["session"]["id"]));
        old.ask("GET /session", NONE).refused(401, "session-required");
        reply
    }),
    (VERIFY, "200", |stage| {
        let (_, user) = stage.enrolled();
        let challenge = stage.mfa_pending_challenge(&user);
        let mut program = stage.program();
        let reply =
            program.ask(VERIFY, json!({ "code": stage.generate_totp_code(&user), "challenge": challenge }));
        assert!(reply.json()["token"].is_string() && reply.header("set-cookie").is_none());
        program.ask("GET /me", NONE).expect(200);
        reply
    }),
    (VERIFY, "200", |stage| {
        let (mut browser, user) = stage.enrolled();
        stage.later(301);
        browser.ask("POST /mfa/totp/enroll", json!({})).refused(403, "step-up-required");
        let reply = browser.ask(VERIFY, stage.right(&user));
        browser.ask("POST /mfa/totp/enroll", json!({})).expect(201);
        reply
    }),
    (VERIFY, "400 malformed", |stage| stage.pending().0.ask(VERIFY, json!({ "code": "12345" }))),
    (VERIFY, "400 malformed", |stage| {
        stage.pending().0.ask(VERIFY, json!({ "code": "123456", "enrollment": "e", "challenge": "c" }))
    }),
    (VERIFY, "401 invalid-code", |stage| {
        let (mut browser, user) = stage.pending();
        let wrong = browser.ask(VERIFY, stage.wrong(&user));
        // Wrong, spent and never issued: one body.
        let right = stage.right(&user);
        browser.ask(VERIFY, &right).expect(200);
        let spent = stage.mfa_pending_session(&user).ask(VERIFY, &right);
        let recovery = json!({ "code": "0000-0000-0000-0000" });
        let never = stage.mfa_pending_session(&user).ask("POST /mfa/recovery/verify", recovery);
        assert!(wrong.text() == spent.text() && spent.text() == never.text());
        wrong
    }),
    (VERIFY, "401 challenge-invalid", |stage| {
        stage.program().ask(VERIFY, json!({ "code": "123456", "challenge": "v1.x.y.z" }))
    }),
    (VERIFY, "401 session-required", |stage| stage.browser().ask(VERIFY, json!({ "code": "123456" }))),
    (VERIFY, "429 locked", |stage| {
        let (_, user) = stage.enrolled();
        stage.simulate_lockout(&user);
        stage.mfa_pending_session(&user).ask(VERIFY, stage.right(&user))
    }),
    ("POST /mfa/totp/disable", "204", |stage| {
        let (mut browser, user) = stage.enrolled();
        let mut other = stage.signed_in(&user);
        let factor = browser.ask("GET /mfa/status", NONE).json()["factors"][0]["id"].clone();
        let reply = browser.ask("POST /mfa/totp/disable", json!({ "factor": factor }));
        other.ask("GET /me", NONE).refused(401, "session-required");
        browser.ask("GET /me", NONE).expect(200);
        stage.browser().ask("POST /login", user.credentials()).expect(200);
        reply
    }),
    ("POST /mfa/totp/disable", "204", |stage| {
        let (mut browser, _) = stage.enrolled();
        let (enrolment, secret) = begin(&mut browser);
        browser.ask(VERIFY, json!({ "code": shown(stage, &secret), "enrollment": enrolment })).expect(200);
        let reply = browser.ask("POST /mfa/totp/disable", json!({}));
        assert_eq!(browser.ask("GET /mfa/status", NONE).json()["factors"], json!([]));
        reply
    }),
    ("POST /mfa/totp/disable", "403 step-up-required", |stage| {
        let (mut browser, _) = stage.enrolled();
        stage.later(301);
        browser.ask("POST /mfa/totp/disable", json!({}))
    }),
    ("POST /mfa/totp/disable", "404 not-found", |stage| {
        stage.enrolled().0.ask("POST /mfa/totp/disable", json!({ "factor": "f" }))
    }),
];

#[test]
fn enrolment_and_codes_of_an_app() {
    let stage = Stage::new();
    for cases in [STATUS, ENROLMENT, APP] {
        provoke(&stage, cases);
    }
}

/// Where policy wants a factor the last one stays, and an administrator's lack of one is no way around.
#[test]
fn the_last_factor_stays_where_policy_wants_one() {
    let stage = Stage::on(Site::with_store("memory").with_clock().with("mfa.require", "all"));
    provoke(
        &stage,
        &[("POST /mfa/totp/disable", "403 enrollment-required", |stage| {
            let (mut browser, _) = stage.enrolled();
            let (enrolment, secret) = begin(&mut browser);
            browser
                .ask(VERIFY, json!({ "code": shown(stage, &secret), "enrollment": enrolment }))
                .expect(200);
            let factor = browser.ask("GET /mfa/status", NONE).json()["factors"][0]["id"].clone();
            // One of two may go, then none.
            browser.ask("POST /mfa/totp/disable", json!({})).refused(403, "enrollment-required");
            browser.ask("POST /mfa/totp/disable", json!({ "factor": factor })).expect(204);
            browser.ask("POST /mfa/totp/disable", json!({}))
        })],
    );
}
