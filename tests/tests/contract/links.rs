//! Rows of mailed links: to sign in, and to set a password.
use crate::{Case, Stage, provoke};
use countersign_tests::{Client, NONE, PASSWORD, Site};
use serde_json::{Value, json};

const NEW_PASSWORD: &str = "staple battery horse correct";
const MAGIC: &str = "POST /mfa/magic-link/verify";
const CONFIRM: &str = "POST /password/reset/confirm";

const MAGIC_LINK: &[Case] = &[
    ("POST /mfa/magic-link/send", "202", |stage| {
        let (_, user) = stage.somebody();
        let body = |email: &str| json!({ "email": email });
        let known = stage.browser().ask("POST /mfa/magic-link/send", body(&user.email));
        let unknown = stage.browser().ask("POST /mfa/magic-link/send", body(&stage.new_address()));
        assert_eq!((known.status, known.text()), (unknown.status, unknown.text()));
        let names = |headers: &[(String, String)]| headers.iter().map(|h| h.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&known.headers), names(&unknown.headers));
        stage.link(&user.email);
        known
    }),
    ("POST /mfa/magic-link/send", "400 malformed", |stage| {
        stage.browser().ask("POST /mfa/magic-link/send", json!({}))
    }),
    ("GET /mfa/magic-link/verify", "200", |stage| {
        let (_, user) = stage.somebody();
        let mut browser = stage.browser();
        let token = stage.magic_link(&mut browser, &user);
        let row = format!("GET /mfa/magic-link/verify?token={token}");
        // Scanners follow links, twice and with HEAD; the link is as good as before.
        stage.browser().ask(&row.replace("GET", "HEAD"), NONE).expect(200);
        stage.browser().ask(&row, NONE).expect(200);
        let page = browser.ask(&row, NONE);
        assert!(page.text().contains(&user.email), "the page names the account");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("default-src 'none'")));
        browser.ask(MAGIC, json!({ "token": token })).expect(200);
        page
    }),
    ("GET /mfa/magic-link/verify", "401", |stage| {
        let page = stage.browser().ask("GET /mfa/magic-link/verify?token=v1.x.y.z", NONE);
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        page
    }),
    (MAGIC, "200", |stage| {
        let (_, user) = stage.somebody();
        let mut browser = stage.browser();
        let token = stage.magic_link(&mut browser, &user);
        let reply = browser.ask(MAGIC, json!({ "token": token }));
        let answer = reply.json();
        assert_eq!(
            (&answer["session"]["amr"], &answer["user"]["email_verified"]),
            (&json!(["email"]), &json!(true))
        );
        reply
    }),
    (MAGIC, "200", |stage| {
        let (_, user) = stage.somebody();
        let mut program = stage.program();
        let token = stage.magic_link(&mut program, &user);
        let reply = program.ask(MAGIC, json!({ "token": token, "session": "bearer" }));
        assert!(reply.json()["token"].is_string());
        program.ask("GET /me", NONE).expect(200);
        reply
    }),
    (MAGIC, "202", |stage| {
        // An account whose address is its owner's: what was set up stays, and is asked for.
        let mut user = stage.user_fixture(&stage.new_address());
        stage.setup_totp(&mut user);
        let mut browser = stage.browser();
        let token = stage.magic_link(&mut browser, &user);
        let reply = browser.ask(MAGIC, json!({ "token": token }));
        assert_eq!(reply.json()["methods"], json!(["totp", "recovery"]), "the mailbox is one factor");
        browser.ask("POST /mfa/otp/send", json!({})).refused(403, "forbidden");
        browser.ask("POST /mfa/otp/verify", json!({ "code": "123456" })).refused(403, "forbidden");
        browser.ask("GET /me", NONE).refused(403, "mfa-required");
        // Nor is such a login worth trust.
        let body = json!({ "code": stage.generate_totp_code(&user), "trust_browser": true });
        browser.ask("POST /mfa/totp/verify", body).expect(200);
        assert_eq!(browser.cookie("countersign-mfa-trust"), None);
        reply
    }),
    (MAGIC, "401 link-invalid", |stage| {
        let (_, user) = stage.somebody();
        let mut browser = stage.browser();
        let old = stage.magic_link(&mut browser, &user);
        let new = stage.magic_link(&mut browser, &user);
        // Newest only; once; not a link for something else; not after ten minutes.
        browser.ask(MAGIC, json!({ "token": old })).refused(401, "link-invalid");
        browser.ask(MAGIC, json!({ "token": new })).expect(200);
        browser.ask(MAGIC, json!({ "token": new })).refused(401, "link-invalid");
        let reset = stage.reset_link(&user);
        browser.ask(MAGIC, json!({ "token": reset })).refused(401, "link-invalid");
        let late = stage.magic_link(&mut browser, &user);
        stage.later(601);
        browser.ask(MAGIC, json!({ "token": late }))
    }),
];

const RESET: &[Case] = &[
    ("POST /password/reset", "202", |stage| {
        let (_, user) = stage.somebody();
        let unknown = stage.browser().ask("POST /password/reset", json!({ "email": stage.new_address() }));
        let known = stage.browser().ask("POST /password/reset", json!({ "email": user.email }));
        assert_eq!(known.text(), unknown.text());
        stage.link(&user.email);
        known
    }),
    (CONFIRM, "204", |stage| {
        let (mut session, mut user) = stage.enrolled();
        let token = stage.reset_link(&user);
        let mut browser = stage.browser();
        let reply = browser.ask(CONFIRM, json!({ "token": token, "new_password": NEW_PASSWORD }));
        assert_eq!(reply.header("set-cookie"), None, "it signs nobody in");
        session.ask("GET /me", NONE).refused(401, "session-required");
        // The mailbox opened this door, so it is not the second factor behind it, until another was shown.
        user.password = NEW_PASSWORD.into();
        let mut waiting = stage.mfa_pending_session(&user);
        waiting.ask("POST /mfa/otp/send", json!({})).refused(403, "forbidden");
        let methods =
            || stage.browser().ask("POST /login", user.credentials()).expect(202)["methods"].clone();
        assert_eq!(methods(), json!(["totp", "recovery"]));
        stage.complete_mfa(&mut waiting, &user);
        assert_eq!(methods(), json!(["totp", "recovery", "email_otp"]));
        reply
    }),
    (CONFIRM, "401 link-invalid", |stage| {
        let (_, user) = stage.somebody();
        let token = stage.reset_link(&user);
        let body = json!({ "token": token, "new_password": NEW_PASSWORD });
        stage.browser().ask(CONFIRM, &body).expect(204);
        stage.browser().ask(CONFIRM, &body)
    }),
    (CONFIRM, "422 password-policy", |stage| {
        let (_, user) = stage.somebody();
        let token = stage.reset_link(&user);
        let refused = stage.browser().ask(CONFIRM, json!({ "token": token, "new_password": "short" }));
        // What was refused has used nothing up.
        stage.browser().ask(CONFIRM, json!({ "token": token, "new_password": NEW_PASSWORD })).expect(204);
        refused
    }),
];

#[test]
fn links_to_sign_in_to_set_a_password_and_to_prove_an_address() {
    let stage = Stage::new();
    for cases in [MAGIC_LINK, RESET, PROOF] {
        provoke(&stage, cases);
    }
}

/// What a page of a browser says of where it is.
const BROWSER: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The browser in which somebody signed up just now, and the token that was mailed.
fn signed_up(stage: &Stage) -> (Client, String) {
    let (mut browser, email) = (stage.browser(), stage.new_address());
    browser.ask("POST /register", json!({ "email": email, "password": PASSWORD })).expect(202);
    (browser, stage.link(&email))
}

/// An account is made when the address is proven; until then nothing shows whether there is one.
const VERIFIED: &[Case] = &[
    ("POST /register", "202", |stage| {
        let known = stage.user_fixture(&stage.new_address());
        let body = |email: &str| json!({ "email": email, "password": PASSWORD });
        let known = stage.browser().ask("POST /register", body(&known.email));
        let unknown = stage.browser().ask("POST /register", body(&stage.new_address()));
        let names = |headers: &[(String, String)]| headers.iter().map(|h| h.0.clone()).collect::<Vec<_>>();
        assert_eq!((known.text(), names(&known.headers)), (unknown.text(), names(&unknown.headers)));
        // A browser is known again by its cookie, which opens nothing; a program has none.
        assert!(known.header("set-cookie").is_some_and(|set| set.starts_with("countersign-registration=")));
        let mut body = body(&stage.new_address());
        body["session"] = json!("bearer");
        assert_eq!(stage.program().ask("POST /register", body).header("set-cookie"), None);
        known
    }),
    ("POST /register", "422 password-policy", |stage| {
        stage.browser().ask("POST /register", json!({ "email": stage.new_address(), "password": "short" }))
    }),
    ("POST /email/verify", "204", |stage| {
        let body = json!({ "email": stage.new_address(), "password": PASSWORD });
        stage.browser().ask("POST /register", &body).expect(202);
        stage.browser().ask("POST /login", &body).refused(401, "invalid-credentials");
        let token = stage.link(body["email"].as_str().expect("an address"));
        let mut browser = stage.browser();
        let reply = browser.ask("POST /email/verify", json!({ "token": token }));
        browser.ask("GET /me", NONE).refused(401, "session-required");
        browser.ask("POST /login", &body).expect(200);
        reply
    }),
    ("POST /email/verify", "401 invalid-credentials", |stage| {
        let (_, token) = signed_up(stage);
        stage.browser().ask_with("POST /email/verify", &[BROWSER], json!({ "token": token }))
    }),
    ("POST /email/verify", "401 invalid-credentials", |stage| {
        let (_, token) = signed_up(stage);
        let body = json!({ "token": token, "password": NEW_PASSWORD });
        stage.browser().ask("POST /email/verify", body)
    }),
    ("POST /email/verify", "429 locked", |stage| {
        let (_, token) = signed_up(stage);
        let body = json!({ "token": token, "password": NEW_PASSWORD });
        for _ in 0..5 {
            stage.browser().ask("POST /email/verify", &body).refused(401, "invalid-credentials");
        }
        stage.browser().ask("POST /email/verify", body)
    }),
    ("POST /email/verify", "422 password-policy", |stage| {
        let (_, token) = signed_up(stage);
        stage.browser().ask("POST /email/verify", json!({ "token": token, "new_password": "short" }))
    }),
    ("POST /email/verify", "204", |stage| {
        let (mut browser, token) = signed_up(stage);
        browser.ask_with("POST /email/verify", &[BROWSER], json!({ "token": token }))
    }),
    ("POST /email/verify", "204", |stage| {
        let (_, token) = signed_up(stage);
        let body = json!({ "token": token, "password": PASSWORD });
        stage.browser().ask_with("POST /email/verify", &[BROWSER], body)
    }),
    ("POST /email/verify", "204", |stage| {
        let (_, token) = signed_up(stage);
        let body = json!({ "token": token, "new_password": NEW_PASSWORD });
        stage.browser().ask_with("POST /email/verify", &[BROWSER], body)
    }),
    ("GET /email/verify", "200", |stage| {
        let (mut browser, token) = signed_up(stage);
        let row = format!("GET /email/verify?token={token}");
        // Scanners follow links; the link is as good as before.
        let elsewhere = stage.browser().ask(&row, NONE).expect(200);
        let here = browser.ask(&row, NONE);
        let asks = |told: &Value| (told["purpose"].clone(), told["password_required"].clone());
        assert_eq!(asks(&elsewhere), (json!("registration"), json!(true)));
        assert_eq!(asks(&here.json()), (json!("registration"), json!(false)));
        browser.ask_with("POST /email/verify", &[BROWSER], json!({ "token": token })).expect(204);
        here
    }),
    ("GET /email/verify", "401 link-invalid", |stage| {
        let (_, token) = signed_up(stage);
        let row = format!("GET /email/verify?token={token}");
        stage.browser().ask("POST /email/verify", json!({ "token": token })).expect(204);
        stage.browser().ask("GET /email/verify", NONE).refused(401, "link-invalid");
        stage.browser().ask(&row, NONE)
    }),
    ("POST /email/verify", "401 link-invalid", |stage| {
        stage.browser().ask("POST /email/verify", json!({ "token": "v1.x.y.z" }))
    }),
];

const PROOF: &[Case] = &[
    ("POST /email/verify/send", "202", |stage| {
        let (mut browser, user) = stage.somebody();
        let reply = browser.ask("POST /email/verify/send", json!({}));
        let token = stage.link(&user.email);
        let told = stage.browser().ask(&format!("GET /email/verify?token={token}"), NONE).expect(200);
        assert_eq!((&told["purpose"], &told["password_required"]), (&json!("email"), &json!(false)));
        let body = json!({ "token": token, "password": PASSWORD });
        browser.ask("POST /email/verify", body).refused(400, "malformed");
        // The first proof takes away what somebody else may have prepared.
        browser.ask_with("POST /email/verify", &[BROWSER], json!({ "token": token })).expect(204);
        browser.ask("GET /me", NONE).refused(401, "session-required");
        reply
    }),
    ("POST /email/verify/send", "409 conflict", |stage| {
        let user = stage.user_fixture(&stage.new_address());
        let mut browser = stage.browser();
        let token = stage.magic_link(&mut browser, &user);
        browser.ask(MAGIC, json!({ "token": token })).expect(200);
        browser.ask("POST /email/verify/send", json!({}))
    }),
    ("POST /email/verify/send", "429 rate-limited", |stage| {
        let (mut browser, _) = stage.somebody();
        for _ in 0..3 {
            browser.ask("POST /email/verify/send", json!({})).expect(202);
        }
        browser.ask("POST /email/verify/send", json!({}))
    }),
    ("POST /email/verify/send", "403 mfa-required", |stage| {
        stage.pending().0.ask("POST /email/verify/send", json!({}))
    }),
];

#[test]
fn addresses_that_are_proven() {
    let site = Site::with_store("memory").with_clock().with_mail().with("registration", "verified");
    provoke(&Stage::on(site), VERIFIED);
}

#[test]
fn links_that_are_turned_off_are_not_there() {
    let stage = Stage::on(Site::with_store("memory").with_mail().with("mfa.magic_link.enabled", false));
    stage.browser().ask("POST /mfa/magic-link/send", json!({ "email": "a@b" })).refused(404, "not-found");
    stage.browser().ask("GET /mfa/magic-link/verify?token=x", NONE).refused(404, "not-found");
    stage.browser().ask(MAGIC, json!({ "token": "x" })).refused(404, "not-found");
    stage
        .registered("ann@example.org")
        .0
        .ask("POST /reauthenticate", json!({ "password": PASSWORD }))
        .expect(200);
}
