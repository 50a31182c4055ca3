//! Rows of trusted browsers, and what trust is not good for.
use crate::{Case, Stage, provoke};
use countersign_tests::{Client, Credentials, NONE};
use serde_json::{Value, json};

const COOKIE: &str = "countersign-mfa-trust";

fn listed(browser: &mut Client) -> Vec<Value> {
    let list = browser.ask("GET /mfa/trusted-browsers", NONE).expect(200);
    list["trusted_browsers"].as_array().expect("a list").clone()
}

const ROWS: &[Case] = &[
    ("GET /mfa/trusted-browsers", "200", |stage| {
        let (_, user) = stage.enrolled();
        stage.trust_browser(&user);
        let mut browser = stage.trust_browser(&user);
        let reply = browser.ask("GET /mfa/trusted-browsers", NONE);
        let browsers = reply.json()["trusted_browsers"].as_array().expect("a list").clone();
        assert_eq!((browsers.len(), browsers.iter().filter(|one| one["current"] == true).count()), (2, 1));
        for field in ["id", "label", "created_at", "last_used_at", "expires_at"] {
            assert!(browsers[0][field].is_string(), "{field}");
        }
        stage.mail(&user.email, "trusted");
        reply
    }),
    ("GET /mfa/trusted-browsers", "403 mfa-required", |stage| {
        stage.pending().0.ask("GET /mfa/trusted-browsers", NONE)
    }),
    ("DELETE /mfa/trusted-browsers/{id}", "204", |stage| {
        let (_, user) = stage.enrolled();
        let mut lost = stage.trust_browser(&user);
        let mut browser = stage.trust_browser(&user);
        let id = listed(&mut lost).iter().find(|one| one["current"] == true).expect("itself")["id"].clone();
        let reply =
            browser.ask(&format!("DELETE /mfa/trusted-browsers/{}", id.as_str().expect("an id")), NONE);
        lost.ask("POST /login", user.credentials()).expect(202);
        browser.ask("POST /login", user.credentials()).expect(200);
        reply
    }),
    ("DELETE /mfa/trusted-browsers/{id}", "404 not-found", |stage| {
        let (_, user) = stage.enrolled();
        let id = listed(&mut stage.trust_browser(&user))[0]["id"].clone();
        let row = format!("DELETE /mfa/trusted-browsers/{}", id.as_str().expect("an id"));
        stage.enrolled().0.ask(&row, NONE)
    }),
    ("DELETE /mfa/trusted-browsers", "204", |stage| {
        let (_, user) = stage.enrolled();
        let (mut one, mut two) = (stage.trust_browser(&user), stage.trust_browser(&user));
        let reply = one.ask("DELETE /mfa/trusted-browsers", NONE);
        assert_eq!(listed(&mut one), [] as [Value; 0]);
        assert_eq!(one.cookie(COOKIE), None);
        two.ask("POST /login", user.credentials()).expect(202);
        reply
    }),
];

#[test]
fn trusted_browsers_are_listed_and_given_up() {
    provoke(&Stage::new(), ROWS);
}

/// It spares a login's challenge, to this user, in this browser, with the right password, for thirty days.
#[test]
fn trust_is_good_for_nothing_else() {
    let stage = Stage::new();
    let (_, ann) = stage.enrolled();
    let mut browser = stage.trust_browser(&ann);
    let cookie = browser.cookie(COOKIE).expect("trusted").to_owned();
    let with = |value: &str| {
        let mut client = stage.browser();
        client.credentials = Credentials::Cookies([(COOKIE.to_owned(), value.to_owned())].into());
        client
    };
    let (_, bob) = stage.enrolled();
    with(&cookie).ask("POST /login", bob.credentials()).expect(202);
    for at in 0..cookie.len() {
        let mut tampered = cookie.clone();
        let other = if &cookie[at..=at] == "0" { "1" } else { "0" };
        tampered.replace_range(at..=at, other);
        if at % 8 == 0 {
            with(&tampered).ask("POST /login", ann.credentials()).expect(202);
        }
    }
    let wrong = json!({ "email": ann.email, "password": "wrong horse battery staple" });
    with(&cookie).ask("POST /login", wrong).refused(401, "invalid-credentials");
    let mut program = ann.credentials();
    program["session"] = "bearer".into();
    with(&cookie).ask("POST /login", program).expect(202);

    // A login that it shortened is no step-up, and forgives no guess.
    let mut guesser = stage.mfa_pending_session(&ann);
    for _ in 0..4 {
        guesser.ask("POST /mfa/totp/verify", stage.wrong(&ann)).refused(401, "invalid-code");
    }
    browser.ask("POST /login", ann.credentials()).expect(200);
    for row in ["POST /mfa/totp/enroll", "POST /mfa/totp/disable", "POST /mfa/recovery/generate"] {
        browser.ask(row, json!({})).refused(403, "step-up-required");
    }
    stage
        .mfa_pending_session(&ann)
        .ask("POST /mfa/totp/verify", stage.wrong(&ann))
        .refused(401, "invalid-code");
    stage.mfa_pending_session(&ann).ask("POST /mfa/totp/verify", stage.right(&ann)).refused(429, "locked");

    // Thirty days from when it was given, however often it was used.
    stage.later(30 * 86_400 - 301);
    browser.ask("POST /login", ann.credentials()).expect(200);
    stage.later(301);
    browser.ask("POST /login", ann.credentials()).expect(202);

    // A recovery code gives no trust, and ends what there was.
    let mut trusted = stage.trust_browser(&bob);
    let body = json!({ "code": bob.recovery_codes[0], "trust_browser": true });
    let mut lost = stage.mfa_pending_session(&bob);
    lost.ask("POST /mfa/recovery/verify", body).refused(400, "malformed");
    lost.ask("POST /mfa/recovery/verify", json!({ "code": bob.recovery_codes[0] })).expect(200);
    trusted.ask("POST /login", bob.credentials()).expect(202);
}
