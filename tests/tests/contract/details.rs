//! What the tables of the contract leave open, one by one.
use crate::Stage;
use countersign_tests::{NONE, PASSWORD, Site};
use serde_json::{Value, json};
use std::{io::Read, net::TcpStream, time::Duration};

#[test]
fn logging_in_beside_a_session_ends_the_older_one() {
    let stage = Stage::new();
    let (mut browser, user) = stage.somebody();
    let mut older = browser.clone();
    browser.ask("POST /login", user.credentials()).expect(200);
    older.ask("GET /me", NONE).refused(401, "session-required");
    let mut mine = browser.clone();
    let body = json!({ "email": stage.new_address(), "password": PASSWORD });
    browser.ask("POST /register", body).expect(201);
    mine.ask("GET /me", NONE).refused(401, "session-required");
}

/// The attempt that uses a budget up is answered like those before it; and a factor's lock never shows at the login.
#[test]
fn the_lock_shows_from_the_next_attempt_on_and_not_at_the_login() {
    let stage = Stage::new();
    let (mut browser, user) = stage.pending();
    for left in (0..5).rev() {
        browser.ask("POST /mfa/totp/verify", stage.wrong(&user)).refused(401, "invalid-code");
        let status = browser.ask("GET /mfa/challenge/status", NONE).expect(200);
        assert_eq!(status["attempts_left"], left);
    }
    browser.ask("POST /mfa/totp/verify", stage.right(&user)).refused(429, "locked");
    stage.mfa_pending_session(&user);
}

#[test]
fn a_pending_session_lives_as_long_as_its_challenge() {
    let stage = Stage::new();
    let (mut browser, user) = stage.pending();
    let until = browser.ask("GET /session", NONE).expect(200)["session"]["expires_at"].clone();
    assert_eq!(browser.ask("GET /mfa/challenge/status", NONE).expect(200)["expires_at"], until);
    let code = stage.right(&user);
    stage.later(260);
    browser.ask("GET /session", NONE).expect(200);
    stage.later(12);
    browser.ask("GET /session", NONE).refused(401, "session-required");
    browser.ask("POST /mfa/totp/verify", code).refused(401, "session-required");
}

/// Idle for half an hour, or half a day old: over. Activity is recorded at most once a minute, and moves the end on.
#[test]
fn sessions_end_when_idle_and_when_old() {
    let stage = Stage::new();
    let (mut idle, user) = stage.somebody();
    let seen = |browser: &mut countersign_tests::Client| {
        browser.ask("GET /sessions", NONE).expect(200)["sessions"][0]["last_seen_at"].clone()
    };
    let first = seen(&mut idle);
    stage.later(58);
    idle.ask("GET /me", NONE).expect(200);
    assert_eq!(seen(&mut idle), first, "not within the minute");
    stage.later(5);
    idle.ask("GET /me", NONE).expect(200);
    assert_ne!(seen(&mut idle), first);
    stage.later(1_795);
    idle.ask("GET /me", NONE).expect(200);
    stage.later(1_801);
    idle.ask("GET /me", NONE).refused(401, "session-required");

    let mut old = stage.signed_in(&user);
    for _ in 0..24 {
        stage.later(1_790);
        old.ask("GET /me", NONE).expect(200);
    }
    stage.later(12 * 3_600 - 24 * 1_790 + 1);
    old.ask("GET /me", NONE).refused(401, "session-required");
}

#[test]
fn a_user_has_fifty_sessions_and_ten_trusted_browsers() {
    let stage = Stage::new();
    let (mut first, user) = stage.somebody();
    stage.later(1);
    let mut second = stage.signed_in(&user);
    for _ in 2..50 {
        stage.later(1);
        stage.signed_in(&user);
    }
    assert_eq!(second.ask("GET /sessions", NONE).expect(200)["sessions"].as_array().map(Vec::len), Some(50));
    first.ask("GET /me", NONE).expect(200);
    stage.signed_in(&user);
    first.ask("GET /me", NONE).refused(401, "session-required");
    second.ask("GET /me", NONE).expect(200);

    let (_, user) = stage.enrolled();
    let mut first = stage.trust_browser(&user);
    let mut last = first.clone();
    for _ in 1..11 {
        last = stage.trust_browser(&user);
    }
    let listed = last.ask("GET /mfa/trusted-browsers", NONE).expect(200);
    assert_eq!(listed["trusted_browsers"].as_array().map(Vec::len), Some(10));
    first.ask("POST /login", user.credentials()).expect(202);
}

/// Three mails of a kind in ten minutes, and no kind uses up another's.
#[test]
fn each_kind_of_mail_has_a_quota_of_its_own() {
    let stage = Stage::new();
    let (_, user) = stage.enrolled();
    let spelled = [user.email.clone(), user.email.to_uppercase(), format!("  {} ", user.email)];
    let mailed = |count: usize, subject: &str| {
        let is_meant = |mail: &countersign_tests::Mail| {
            mail.to == user.email && mail.subject.to_lowercase().contains(subject)
        };
        stage.site().mailbox().wait_for(count, is_meant);
    };
    for row in ["POST /mfa/magic-link/send", "POST /password/reset"] {
        for n in 0..6 {
            let body = json!({ "email": spelled[n % 3] });
            stage.browser().ask(row, body).expect(202);
        }
    }
    let mut waiting = stage.mfa_pending_session(&user);
    for _ in 0..3 {
        waiting.ask("POST /mfa/otp/send", json!({})).expect(202);
    }
    let refused = waiting.ask("POST /mfa/otp/send", json!({}));
    refused.refused(429, "rate-limited");
    assert!(refused.json()["retry_after"].as_u64().is_some_and(|wait| (590..=600).contains(&wait)));
    mailed(3, "password");
    mailed(3, "sign-in link");
    mailed(3, "code");
    stage.later(601);
    stage.browser().ask("POST /mfa/magic-link/send", json!({ "email": user.email })).expect(202);
    mailed(4, "sign-in link");
}

/// Without a way to send mail every address is answered alike, before it is looked up.
#[test]
fn mail_that_cannot_be_sent_is_refused_for_every_address() {
    let stage = Stage::on(Site::with_store("memory").with_clock());
    let (_, user) = stage.enrolled();
    for email in [&*user.email, "nobody@example.org"] {
        for row in ["POST /password/reset", "POST /mfa/magic-link/send"] {
            stage.browser().ask(row, json!({ "email": email })).refused(503, "delivery-unavailable");
        }
    }
    let mut waiting = stage.mfa_pending_session(&user);
    let status = waiting.ask("GET /mfa/challenge/status", NONE).expect(200);
    assert_eq!(status["methods"], json!(["totp", "recovery"]), "what cannot be sent is not offered");
    waiting.ask("POST /mfa/otp/send", json!({})).refused(503, "delivery-unavailable");
}

#[test]
fn mails_have_one_code_or_one_link_and_notices_neither() {
    let stage = Stage::new();
    let (mut browser, user) = stage.pending();
    browser.ask("POST /mfa/otp/send", json!({})).expect(202);
    stage.magic_link(&mut stage.browser(), &user);
    stage.reset_link(&user);
    stage.complete_mfa(&mut browser, &user);
    browser.ask("POST /mfa/recovery/generate", json!({})).expect(200);
    let new = json!({ "current_password": PASSWORD, "new_password": "staple battery horse correct" });
    browser.ask("POST /password/change", new).expect(204);
    browser.ask("POST /mfa/totp/disable", json!({})).expect(204);
    // Sent with the changes above, so they come: a factor added, a sign-in from a new browser, codes made, a password
    // changed, a factor removed.
    let is_notice = |mail: &countersign_tests::Mail| !mail.text.contains("token=") && !holds_code(&mail.text);
    let notices = stage.site().mailbox().wait_for(5, |mail| mail.to == user.email && is_notice(mail));
    assert!(notices.iter().all(|mail| !mail.raw.contains(user.secret())));
    let code = stage.site().mailbox().take_where(&user.email, |mail| holds_code(&mail.text));
    assert_eq!(code.code().len(), 6);
    assert!(!code.text.contains("token=") && !code.text.contains("http"), "{}", code.text);
}

fn holds_code(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|number| number.len() == 6)
}

/// Whoever came by the mailbox and has no factor must show the password before setting one up.
#[test]
fn enrolling_after_a_link_takes_the_password() {
    let site = Site::with_store("memory").with_clock().with_mail().with("mfa.require", "all");
    let stage = Stage::on(site);
    let user = stage.user_fixture("ann@example.org");
    let mut browser = stage.browser();
    let token = stage.magic_link(&mut browser, &user);
    let entered = browser.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(200);
    assert_eq!(
        (&entered["session"]["type"], &entered["session"]["enrollment_required"]),
        (&json!("standard"), &json!(true))
    );
    browser.ask("GET /me", NONE).refused(403, "enrollment-required");
    browser.ask("POST /mfa/totp/enroll", json!({})).refused(403, "step-up-required");
    browser.ask("POST /reauthenticate", json!({ "password": PASSWORD })).expect(200);
    browser.ask("POST /mfa/totp/enroll", json!({})).expect(201);
}

/// The 257th connection from one address finds no answer, and the first place that is free is given away again.
#[test]
fn one_address_has_256_connections() {
    let stage = Stage::new();
    let connect = || TcpStream::connect(stage.address().to_string()).expect("a connection");
    let open: Vec<TcpStream> = (0..256).map(|_| connect()).collect();
    let mut refused = connect();
    refused.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = Vec::new();
    // Closed, with a word or without one.
    let _ = refused.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    drop(open);
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    while stage.program().get("/readyz").map_or(0, |reply| reply.status) != 200 {
        assert!(std::time::Instant::now() < give_up, "no place came free");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn policies_are_evaluated_on_every_request() {
    let stage = Stage::on(
        Site::with_store("memory").with_clock().with("mfa.grace_period", "1h").with("mfa.require", "all"),
    );
    let (mut browser, _) = stage.somebody();
    let status = browser.ask("GET /mfa/status", NONE).expect(200);
    assert!(status["grace_until"].is_string(), "{status}");
    browser.ask("GET /me", NONE).expect(200);
    stage.later(1_790);
    browser.ask("GET /me", NONE).expect(200);
    stage.later(1_780);
    browser.ask("GET /me", NONE).expect(200);
    stage.later(40);
    browser.ask("GET /me", NONE).refused(403, "enrollment-required");
    let status = browser.ask("GET /mfa/status", NONE).expect(200);
    assert_eq!(status["grace_until"], Value::Null);
}

/// Ways in, roles, and what policy makes of them: nobody whom it binds gets further than enrolment (R48).
#[test]
fn policy_by_role_over_every_way_in() {
    let roles = toml_edit::Value::from(toml_edit::InlineTable::from_iter([(
        "roles",
        toml_edit::Value::from_iter(["admin", "editor"]),
    )]));
    let site = Site::with_store("memory").with_clock().with_mail().with("mfa.require", roles);
    let stage = Stage::on(site);
    for (role, bound) in [("user", false), ("editor", true), ("admin", true)] {
        let mut user = stage.user_with_role(&stage.new_address(), role);
        let mut link = stage.browser();
        let token = stage.magic_link(&mut link, &user);
        link.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(200);
        let mut program = stage.program();
        let mut credentials = user.credentials();
        credentials["session"] = "bearer".into();
        program.ask("POST /login", credentials).expect(200);
        for client in [&mut stage.signed_in(&user), &mut link, &mut program] {
            let session = client.ask("GET /session", NONE).expect(200)["session"].clone();
            assert_eq!(
                (&session["type"], &session["enrollment_required"]),
                (&json!("standard"), &json!(bound))
            );
            for row in ["GET /me", "GET /verify", "GET /mfa/trusted-browsers"] {
                let reply = client.ask(row, NONE);
                if bound {
                    reply.refused(403, "enrollment-required");
                } else {
                    reply.expect(200);
                }
            }
            client.ask("GET /mfa/status", NONE).expect(200);
        }
        let mut browser = stage.setup_totp(&mut user);
        browser.ask("GET /me", NONE).expect(200);
        // With a factor everybody is asked for it, by each way in.
        stage.browser().ask("POST /login", user.credentials()).expect(202);
        let mut link = stage.browser();
        let token = stage.magic_link(&mut link, &user);
        link.ask("POST /mfa/magic-link/verify", json!({ "token": token })).expect(202);
        let disabled = browser.ask("POST /mfa/totp/disable", json!({}));
        if bound { disabled.refused(403, "enrollment-required") } else { assert_eq!(disabled.status, 204) }
    }
    // A role that is given later counts at the next request.
    let user = stage.user_fixture(&stage.new_address());
    let mut browser = stage.signed_in(&user);
    browser.ask("GET /me", NONE).expect(200);
    stage.site().json(&["user", "set-role", &user.email, "editor"], "");
    browser.ask("GET /me", NONE).refused(403, "enrollment-required");
}
