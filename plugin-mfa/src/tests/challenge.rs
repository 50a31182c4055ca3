//! Challenges: whose they are, how they end, and what is said of them.
use super::{
    kernel::{ANN, Kernel, Reply, get, post},
    phone::verify,
};
use crate::config::{Lockout, Mfa};
use countersign_plugin_api::SessionMode;
use serde_json::json;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

fn status(reply: &Reply) -> String {
    if reply.problem.is_empty() { reply.text("status") } else { reply.problem.into() }
}

#[test]
fn a_handle_is_worth_nothing_beside_another_session() {
    let mut kernel = kernel();
    let (standard, phone, codes) = kernel.enrolled();
    let (cookie, own) = kernel.challenged(SessionMode::Cookie);
    let (bearer, bearers) = kernel.challenged(SessionMode::Bearer);
    let (_, other) = kernel.challenged(SessionMode::Cookie);
    let code = phone.code(kernel.wall);
    for (token, session) in [
        (&cookie, None),
        (&cookie, Some(&other)),
        (&cookie, Some(&standard)),
        (&cookie, Some(&bearers)),
        (&bearer, Some(&other)),
        (&bearer, Some(&standard)),
        (&bearer, Some(&own)),
    ] {
        for (path, code) in [("/totp/verify", &code), ("/recovery/verify", &codes[0])] {
            let mut ask = post(path, json!({"code": code, "challenge": token}));
            ask.session = session.cloned();
            assert_eq!(kernel.send(&ask).problem, "challenge-invalid", "{path} {token} {session:?}");
        }
        let mut cancel = post("/challenge/cancel", json!({"challenge": token}));
        cancel.session = session.cloned();
        assert_eq!(kernel.send(&cancel).problem, "challenge-invalid");
        let mut ask = get("/challenge/status").about(token);
        ask.session = session.cloned();
        assert_eq!(kernel.send(&ask).problem, "challenge-invalid");
    }
    assert_eq!(kernel.state(ANN).budget, crate::budget::Budget::default(), "none of it was a guess");
    for (token, session) in [(&cookie, Some(&own)), (&bearer, None)] {
        let mut ask = get("/challenge/status").about(token);
        ask.session = session.cloned();
        assert_eq!(status(&kernel.send(&ask)), "pending");
    }
}

#[test]
fn somebody_elses_challenge_does_not_complete_mine() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    kernel.add_subject("user-bob", "bob@example.org", "user");
    let bob = kernel.sign_in("user-bob");
    let (bobs, _) = kernel.enrol(&bob);
    let (token, session) = kernel.challenged(SessionMode::Cookie);
    let body = json!({"code": bobs.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body).by(&bob)).problem, "challenge-invalid");
    let bobs_code = verify(&bobs.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", bobs_code).by(&session)).problem, "invalid-code");
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
}

#[test]
fn a_token_that_was_changed_or_never_issued() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Cookie);
    let forged = token.replace(ANN, "user-bob");
    for token in ["", "x", "v1.k.p.m", &forged, &token[..token.len() - 1]] {
        let ask = get("/challenge/status").about(token).by(&session);
        assert_eq!(kernel.send(&ask).problem, "challenge-invalid", "{token}");
    }
    assert_eq!(kernel.send(&get("/challenge/status")).problem, "session-required");
}

#[test]
fn what_is_said_of_a_challenge() {
    let mut kernel = kernel();
    let (standard, phone, _) = kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Cookie);
    let by_token = get("/challenge/status").about(&token).by(&session);
    let by_session = get("/challenge/status").by(&session);
    let pending = kernel.send(&by_token);
    let expires_at = (kernel.now + std::time::Duration::from_mins(5)).to_string();
    assert_eq!(
        pending.body,
        json!({"status": "pending", "methods": ["totp", "recovery", "email_otp"], "expires_at": expires_at, "attempts_left": 5})
    );
    assert_eq!(kernel.send(&by_session), pending);

    let wrong = post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session);
    assert_eq!(kernel.send(&wrong).problem, "invalid-code");
    assert_eq!(kernel.send(&by_session).body["attempts_left"], 4);

    let right = post("/totp/verify", verify(&phone.code(kernel.wall))).by(&session);
    assert_eq!(kernel.send(&right).status, 200);
    for ask in [&by_token, &by_session] {
        let completed = kernel.send(ask);
        assert_eq!((status(&completed).as_str(), &completed.body["attempts_left"]), ("completed", &json!(0)));
    }
    // A credential event does not undo that.
    let code = verify(&phone.code_off(kernel.wall, 1));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
    kernel.enrol(&session);
    assert_eq!(status(&kernel.send(&by_token)), "completed");
    kernel.pass(300);
    let expired = kernel.send(&by_token);
    assert_eq!((status(&expired), expired.text("expires_at")), ("expired".into(), expires_at));
    assert_eq!(kernel.send(&by_session).problem, "challenge-invalid", "forgotten, and a session like any");
    assert_eq!(kernel.send(&get("/challenge/status").by(&standard)).problem, "session-required");
}

#[test]
fn a_challenge_lives_five_minutes() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    let (in_time, _) = kernel.challenged(SessionMode::Bearer);
    kernel.pass(299);
    let body = json!({"code": phone.code(kernel.wall), "challenge": in_time});
    assert_eq!(kernel.send(&post("/totp/verify", body)).status, 200);
    kernel.pass(31);
    let body = json!({"code": phone.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body)).problem, "challenge-invalid");
    assert_eq!(status(&kernel.send(&get("/challenge/status").about(&token))), "expired");
}

#[test]
fn a_credential_event_ends_the_others() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    kernel.enrol(&session);
    let body = json!({"code": phone.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body.clone())).problem, "challenge-invalid");
    assert_eq!(status(&kernel.send(&get("/challenge/status").about(&token))), "expired");

    // One that this plugin does not see, such as a new password: the epoch alone.
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    kernel.subjects.get_mut(ANN).unwrap().epoch += 1;
    let body = json!({"code": phone.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body)).problem, "challenge-invalid");
    assert_eq!(status(&kernel.send(&get("/challenge/status").about(&token))), "expired");
}

#[test]
fn an_account_that_is_gone_has_no_challenges() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    kernel.subjects.remove(ANN);
    assert_eq!(kernel.send(&get("/challenge/status").about(&token)).problem, "challenge-invalid");
}

#[test]
fn five_wrong_guesses_kill_a_challenge_though_the_account_has_more() {
    let lockout = Lockout { threshold: 8, ..Lockout::default() };
    let mut kernel = Kernel::new(Mfa { lockout, ..Mfa::default() });
    let (_, phone, _) = kernel.enrolled();
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    let guess = |code: String| post("/totp/verify", json!({"code": code, "challenge": token}));
    for _ in 0..5 {
        let wrong = guess(phone.wrong(kernel.wall));
        assert_eq!(kernel.send(&wrong).problem, "invalid-code");
    }
    let right = guess(phone.code(kernel.wall));
    let reply = kernel.send(&right);
    assert_eq!((reply.problem, reply.retry_after), ("locked", Some(300)));
    let said = kernel.send(&get("/challenge/status").about(&token));
    assert_eq!((status(&said).as_str(), &said.body["attempts_left"]), ("locked", &json!(0)));
    let (fresh, _) = kernel.challenged(SessionMode::Bearer);
    let said = kernel.send(&get("/challenge/status").about(&fresh));
    assert_eq!((status(&said).as_str(), &said.body["attempts_left"]), ("pending", &json!(3)));
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
}

#[test]
fn the_sixth_login_ends_the_oldest() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let logins: Vec<_> = (0..6).map(|_| kernel.challenged(SessionMode::Cookie)).collect();
    assert!(kernel.caller(&logins[0].1).is_none(), "its pending session with it");
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code.clone()).by(&logins[1].1)).status, 200);
    assert!(kernel.caller(&logins[5].1).is_some());
}

#[test]
fn cancelling_ends_the_pending_login() {
    let mut kernel = kernel();
    let (standard, phone, _) = kernel.enrolled();
    for mode in [SessionMode::Cookie, SessionMode::Bearer] {
        let (token, session) = kernel.challenged(mode);
        let cookie = mode == SessionMode::Cookie;
        let cancel = if cookie {
            post("/challenge/cancel", json!({})).by(&session)
        } else {
            post("/challenge/cancel", json!({"challenge": token}))
        };
        assert_eq!(kernel.send(&cancel).status, 204);
        assert_eq!(kernel.audit.last().unwrap().name, "challenge.cancelled");
        assert!(kernel.caller(&session).is_none());
        let body = json!({"code": phone.code(kernel.wall), "challenge": token});
        assert_eq!(kernel.send(&post("/totp/verify", body)).problem, "challenge-invalid");
        let again = kernel.send(&cancel).problem;
        assert_eq!(again, if cookie { "session-required" } else { "challenge-invalid" });
    }
    let standard = post("/challenge/cancel", json!({})).by(&standard);
    assert_eq!(kernel.send(&standard).problem, "challenge-invalid", "it ends no session that is signed in");
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
    assert_eq!(kernel.send(&post("/challenge/cancel", json!({})).by(&session)).problem, "challenge-invalid");
    assert!(kernel.caller(&session).is_some());
}

#[test]
fn a_pending_session_whose_challenge_is_gone_can_still_be_cancelled() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    kernel.records.clear();
    assert_eq!(status(&kernel.send(&get("/challenge/status").by(&session))), "expired");
    assert_eq!(
        kernel.send(&post("/totp/verify", verify("123456")).by(&session)).problem,
        "challenge-invalid"
    );
    assert_eq!(kernel.send(&post("/challenge/cancel", json!({})).by(&session)).status, 204);
    assert!(kernel.caller(&session).is_none());
}
