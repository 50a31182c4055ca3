//! An application with users and sessions of its own that has embedded the kernel: `examples/embed-axum`, built, run
//! and used as its users do.
use countersign_test_kit::{Client, NONE, PASSWORD, Reply, Site, project, server::Server, totp};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Duration,
};

const ANN: &str = "ann@example.org";
const SESSION: &str = "app-session";
const DEVICE: &str = "countersign-device";

fn command(site: &Site) -> Command {
    let mut command = project::command(env!("CARGO_BIN_EXE_embed-axum"));
    command.arg(site.config()).arg(site.address().to_string()).stdin(Stdio::null());
    site.clock().preload(&mut command);
    let log = File::options().create(true).append(true).open(site.path("app.log")).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command
}

/// A running application.
struct App {
    site: Site,
    _server: Server,
}

/// Somebody with an app that shows codes.
struct Enrolled {
    browser: Client,
    secret: String,
    recovery_codes: Vec<String>,
}

impl App {
    fn start() -> Self {
        Self::on(Site::new().with_clock().with_mail())
    }
    fn on(site: Site) -> Self {
        let started = Server::start(&mut command(&site), site.address());
        let server = started.unwrap_or_else(|error| panic!("{error:#}\n{}", log(&site)));
        Self { site, _server: server }
    }
    fn browser(&self) -> Client {
        Client::browser(self.site.address())
    }
    /// The code that the app shows, of a step that no code was used of: the clock moves on to it.
    fn code(&self, secret: &str) -> String {
        self.site.clock().advance(Duration::from_secs(totp::STEP));
        totp::code(secret, self.site.clock().now()).expect("a code")
    }
    fn register(&self, email: &str) {
        let body = json!({ "email": email, "password": PASSWORD });
        assert_eq!(post(&mut self.browser(), "/register", &body).status, 201);
    }
    fn sign_in(&self, email: &str) -> (Client, Reply) {
        let mut browser = self.browser();
        let reply = post(&mut browser, "/sign-in", &json!({ "email": email, "password": PASSWORD }));
        (browser, reply)
    }
    /// Signs up, in, and enrols.
    fn enrolled(&self, email: &str) -> Enrolled {
        self.register(email);
        let (mut browser, reply) = self.sign_in(email);
        assert_eq!(reply.expect(200)["status"], "authenticated");
        let begun = browser.ask("POST /mfa/totp/enroll", json!({ "label": "phone" })).expect(201);
        let secret = begun["secret"].as_str().expect("a secret").to_owned();
        let body = json!({ "enrollment": begun["enrollment"], "code": self.code(&secret) });
        let activated = browser.ask("POST /mfa/totp/verify", body).expect(200);
        let codes = activated["recovery_codes"].as_array().expect("codes").iter();
        let recovery_codes = codes.filter_map(|code| code.as_str().map(Into::into)).collect();
        Enrolled { browser, secret, recovery_codes }
    }
}

fn log(site: &Site) -> String {
    fs::read_to_string(site.path("app.log")).unwrap_or_default()
}

#[track_caller]
fn post(browser: &mut Client, path: &str, body: &Value) -> Reply {
    browser.post(path, body).expect("an answer")
}

#[track_caller]
fn is_signed_in(browser: &mut Client) -> bool {
    match browser.get("/me").expect("an answer").status {
        200 => true,
        401 => false,
        status => panic!("/me answers {status}"),
    }
}

fn wrong(code: &str) -> String {
    let first = if code.starts_with('0') { '1' } else { '0' };
    format!("{first}{}", &code[1..])
}

#[test]
fn the_applications_login_meets_the_challenge_and_a_code_opens_the_door() {
    let app = App::start();
    let Enrolled { mut browser, secret, .. } = app.enrolled(ANN);
    assert!(is_signed_in(&mut browser), "the session that enrolled goes on");
    assert_eq!(post(&mut browser, "/sign-out", &json!({})).status, 204);
    assert!(!is_signed_in(&mut browser));

    let (mut browser, reply) = app.sign_in(ANN);
    let challenged = reply.expect(202);
    assert_eq!(challenged["status"], "mfa_required");
    assert_eq!(challenged["methods"], json!(["totp", "recovery", "email_otp"]));
    assert!(challenged.get("token").is_none() && challenged.get("user").is_none(), "{challenged}");
    assert!(!is_signed_in(&mut browser), "a login that waits is nobody's");
    browser.ask("GET /mfa/status", NONE).refused(403, "mfa-required");
    assert_eq!(browser.ask("GET /mfa/challenge/status", NONE).expect(200)["status"], "pending");
    // The challenge alone is worth nothing in another browser.
    let code = app.code(&secret);
    let with = json!({ "code": code, "challenge": challenged["challenge"] });
    app.browser().ask("POST /mfa/totp/verify", &with).refused(401, "challenge-invalid");

    let mut before = browser.clone();
    browser.ask("POST /mfa/totp/verify", json!({ "code": wrong(&code) })).refused(401, "invalid-code");
    let done = browser.ask("POST /mfa/totp/verify", json!({ "code": code })).expect(200);
    assert_eq!(done["status"], "authenticated");
    assert_eq!((&done["user"]["email"], &done["session"]["type"]), (&json!(ANN), &json!("standard")));
    assert_eq!(done["session"]["amr"], json!(["pwd", "otp"]));
    assert!(is_signed_in(&mut browser));
    assert_ne!(browser.cookie(SESSION), before.cookie(SESSION), "a new token");
    // The old one is dead, for the application and for the kernel.
    assert!(!is_signed_in(&mut before));
    let next = app.code(&secret);
    assert_eq!(before.ask("POST /mfa/totp/verify", json!({ "code": next })).status, 401);
    // And a challenge is good once.
    browser.ask("POST /mfa/totp/verify", &with).refused(401, "challenge-invalid");
    assert!(!log(&app.site).contains(&code), "a code is in the log");
}

#[test]
fn a_ticket_that_was_seen_before_the_code_is_worth_nothing_afterwards() {
    let app = App::start();
    let Enrolled { secret, recovery_codes, .. } = app.enrolled(ANN);
    let (mut browser, _) = app.sign_in(ANN);
    let mut twin = browser.clone();
    // Two at once: one of them is let in.
    let body = json!({ "code": app.code(&secret) });
    let statuses = [&mut browser, &mut twin].map(|client| client.ask("POST /mfa/totp/verify", &body).status);
    assert_eq!(statuses, [200, 401]);

    let (mut browser, _) = app.sign_in(ANN);
    let body = json!({ "code": recovery_codes[0] });
    let left =
        browser.ask("POST /mfa/recovery/verify", &body).expect(200)["recovery_codes_remaining"].clone();
    assert_eq!(left, recovery_codes.len() - 1);
    let (mut browser, _) = app.sign_in(ANN);
    browser.ask("POST /mfa/recovery/verify", &body).refused(401, "invalid-code");
}

#[test]
fn five_wrong_codes_lock_and_so_do_five_wrong_passwords() {
    let app = App::start();
    let Enrolled { browser: mut home, secret, .. } = app.enrolled(ANN);
    let code = app.code(&secret);
    let (mut browser, _) = app.sign_in(ANN);
    for _ in 0..5 {
        browser.ask("POST /mfa/totp/verify", json!({ "code": wrong(&code) })).refused(401, "invalid-code");
    }
    browser.ask("POST /mfa/totp/verify", json!({ "code": code })).refused(429, "locked");
    assert!(!is_signed_in(&mut browser));
    // The lock is the second factor's: the password still is what it was.
    assert_eq!(app.sign_in(ANN).1.status, 202);

    // As strangers know it: the browser that set the factor up has tries of its own, also after that credential event.
    for email in [ANN, "nobody@example.org"] {
        let mut browser = app.browser();
        for _ in 0..5 {
            let body = json!({ "email": email, "password": "not the password" });
            post(&mut browser, "/sign-in", &body).refused(401, "invalid-credentials");
        }
        app.sign_in(email).1.refused(429, "locked");
    }
    let right = json!({ "email": ANN, "password": PASSWORD });
    post(&mut home, "/sign-in", &right).expect(202);
    let mut other = home.clone();
    for _ in 0..5 {
        let wrong = json!({ "email": ANN, "password": "not the password" });
        post(&mut other, "/sign-in", &wrong).refused(401, "invalid-credentials");
    }
    post(&mut home, "/sign-in", &right).refused(429, "locked");
}

#[test]
fn a_credential_event_ends_the_other_sessions_and_takes_a_fresh_proof() {
    let app = App::start();
    app.register(ANN);
    let (mut other, _) = app.sign_in(ANN);
    assert!(is_signed_in(&mut other));
    let (mut browser, _) = app.sign_in(ANN);
    let begun = browser.ask("POST /mfa/totp/enroll", json!({})).expect(201);
    let secret = begun["secret"].as_str().expect("a secret").to_owned();
    let body = json!({ "enrollment": begun["enrollment"], "code": app.code(&secret) });
    browser.ask("POST /mfa/totp/verify", body).expect(200);
    assert!(is_signed_in(&mut browser) && !is_signed_in(&mut other));

    // A stolen session cannot change the password once the proof is old.
    app.site.clock().advance(Duration::from_mins(6));
    let new = json!({ "new_password": "another correct horse battery" });
    post(&mut browser, "/password", &new).refused(403, "step-up-required");
    browser.ask("POST /mfa/totp/verify", json!({ "code": app.code(&secret) })).expect(200);
    let (mut waiting, reply) = app.sign_in(ANN);
    assert_eq!(reply.status, 202);
    let before = browser.cookie(DEVICE).expect("a device cookie").to_owned();
    assert_eq!(post(&mut browser, "/password", &new).status, 204);
    assert!(is_signed_in(&mut browser));
    assert!(browser.cookie(DEVICE).is_some_and(|now| now != before), "it stays known, by another cookie");
    let late = waiting.ask("POST /mfa/totp/verify", json!({ "code": app.code(&secret) }));
    assert_eq!(late.status, 401, "a login that waited has ended with it: {}", late.text());
    app.site.mailbox().take_where(ANN, |mail| mail.subject.contains("password"));
}

#[test]
fn links_and_codes_come_by_mail() {
    let app = App::start();
    let Enrolled { .. } = app.enrolled(ANN);
    let link = |browser: &mut Client| {
        browser.ask("POST /mfa/magic-link/send", json!({ "email": ANN })).expect(202);
        let mail = app.site.mailbox().take_where(ANN, |mail| mail.text.contains("token="));
        mail.token().to_owned()
    };
    let (mut browser, _) = app.sign_in(ANN);
    browser.ask("POST /mfa/otp/send", json!({})).expect(202);
    let mail = app.site.mailbox().take_where(ANN, |mail| mail.subject.contains("code"));
    browser.ask("POST /mfa/otp/verify", json!({ "code": mail.code() })).expect(200);
    assert!(is_signed_in(&mut browser));

    // The first proof of the mailbox: whoever made the account before may have been somebody else, so its
    // factors, its password and its sessions are gone.
    let mut owner = app.browser();
    let token = link(&mut owner);
    let page = owner.ask(&format!("GET /mfa/magic-link/verify?token={token}"), NONE);
    // It has its style in it: the application serves none of the host's files.
    let html = page.text();
    assert!(page.status == 200 && html.contains("<style>") && !html.contains("/assets/"), "{html}");
    assert!(html.contains(ANN) && html.contains(&token), "{html}");
    let entered = owner.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(200);
    assert_eq!(entered["status"], "authenticated");
    assert!(is_signed_in(&mut owner) && !is_signed_in(&mut browser));
    owner.ask("POST /mfa/magic-link/verify", json!({ "token": token })).refused(401, "link-invalid");
    app.sign_in(ANN).1.refused(401, "invalid-credentials");
    assert_eq!(owner.ask("GET /mfa/status", NONE).expect(200)["enabled"], false);
}

#[test]
fn the_mounted_routes_are_guarded_as_the_hosts_own() {
    let app = App::start();
    let (mut browser, host) = (app.browser(), app.site.address().to_string());
    let json = ("content-type", "application/json");
    let send = |browser: &mut Client, headers: &[(&str, &str)]| {
        let body = json!({ "email": ANN }).to_string();
        browser
            .send("POST", "/api/auth/mfa/magic-link/send", headers, Some(body.as_bytes()))
            .expect("an answer")
    };
    assert_eq!(send(&mut browser, &[json]).status, 202);
    send(&mut browser, &[json, ("host", "evil.example")]).refused(421, "host-not-allowed");
    send(&mut browser, &[json, ("sec-fetch-site", "cross-site")]).refused(403, "cross-site");
    send(&mut browser, &[json, ("origin", "https://evil.example")]).refused(403, "cross-site");
    send(&mut browser, &[("content-type", "text/plain")]).refused(403, "cross-site");
    assert_eq!(send(&mut browser, &[json, ("origin", &format!("http://{host}"))]).status, 202);
    browser.ask("GET /mfa/no-such", NONE).refused(404, "not-found");
    browser.ask("GET /mfa/totp/verify", NONE).refused(405, "method-not-allowed");
    let large = json!({ "email": "a".repeat(17 << 10) });
    browser.ask("POST /mfa/magic-link/send", large).refused(413, "too-large");
}

#[test]
fn it_does_not_start_without_the_plugin_and_says_all_that_is_wrong() {
    let refuses = |site: &Site| {
        let before = log(site).len();
        let status = command(site).status().expect("it starts");
        assert!(!status.success());
        log(site).split_off(before)
    };
    let site = Site::new().with_clock();
    let others = |name: &str| !name.contains("mfa");
    site.edit(|config| {
        let plugins = config["plugin"].as_array_of_tables_mut().expect("[[plugin]]");
        plugins.retain(|plugin| plugin["file"].as_str().is_some_and(others));
        config.remove("mfa");
    });
    let said = refuses(&site);
    assert!(said.contains("no plugin gates logins"), "{said}");

    let site = Site::new().with_clock();
    site.set("public_url", "not a url");
    site.set("session.idle_ttl", "5 weeks");
    site.set("plugin_dir", "nowhere");
    let said = refuses(&site);
    for expected in ["public_url", "idle_ttl", "nowhere"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
