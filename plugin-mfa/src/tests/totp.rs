//! Verification: both modes, replay, races, the window.
use super::{
    kernel::{ANN, Kernel, get, post},
    phone::verify,
};
use crate::config::{Lockout, Mfa, Totp};
use countersign_plugin_api::{SessionKind, SessionMode, Time};
use serde_json::json;
use std::time::Duration;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

#[test]
fn a_login_in_cookie_mode() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(kernel.send(&get("/status").by(&session)).problem, "mfa-required");

    let body = json!({"code": phone.code(kernel.wall), "challenge": token});
    let reply = kernel.send(&post("/totp/verify", body).by(&session));
    assert_eq!((reply.status, reply.text("status").as_str()), (200, "authenticated"));
    let caller = kernel.caller(&session).unwrap();
    assert_eq!(caller.session.kind, SessionKind::Standard);
    assert_eq!(caller.session.amr, ["pwd", "otp"]);
    assert_eq!(caller.session.mfa_verified_at, Some(kernel.now));
    let event = kernel.audit.last().unwrap();
    assert_eq!((event.name.as_str(), event.success, event.subject.as_str()), ("totp.verified", true, ANN));
    assert_eq!(event.fields["purpose"], "login");
    assert_eq!(event.fields["factor"], kernel.state(ANN).factors[0].id.to_string());
}

#[test]
fn a_login_in_bearer_mode() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Bearer);
    let body = json!({"code": phone.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body.clone())).status, 200);
    assert_eq!(kernel.caller(&session).unwrap().session.kind, SessionKind::Standard);
    assert_eq!(kernel.send(&post("/totp/verify", body)).problem, "challenge-invalid");
}

#[test]
fn a_code_is_good_once_whatever_challenge_it_comes_with() {
    // Without a lock in the way: what is looked at here is the code.
    let lockout = Lockout { threshold: 100, ..Lockout::default() };
    let mut kernel = Kernel::new(Mfa { lockout, ..Mfa::default() });
    let (session, phone, _) = kernel.enrolled();
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.log_in_with(&code).status, 200);
    for second in (5..=120).step_by(5) {
        kernel.pass(5);
        assert_eq!(kernel.log_in_with(&code).problem, "invalid-code", "after {second} s");
    }
    assert_eq!(kernel.send(&post("/totp/verify", verify(&code)).by(&session)).problem, "invalid-code");
}

#[test]
fn the_code_that_activated_a_factor_is_spent() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let (phone, id) = kernel.begin(&session);
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.activate(&session, &id, &code).status, 200);
    assert_eq!(kernel.log_in_with(&code).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&phone.code_off(kernel.wall, 1)).status, 200);
}

#[test]
fn of_a_hundred_at_once_one_succeeds() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let sessions: Vec<String> = (0..4).map(|_| kernel.challenged(SessionMode::Cookie).1).collect();
    let code = phone.code(kernel.wall);
    let asks: Vec<_> =
        (0..100).map(|n| post("/totp/verify", verify(&code)).by(&sessions[n % sessions.len()])).collect();
    // All read the same state before any of them writes.
    let tried: Vec<_> = asks.iter().map(|ask| kernel.consider(ask)).collect();
    let mut granted = 0;
    for (ask, tried) in asks.iter().zip(&tried) {
        let reply = match kernel.carry_out(tried) {
            Some(reply) => reply,
            None => kernel.send(ask),
        };
        granted += u32::from(reply.status == 200);
        let refused = ["invalid-code", "locked", "challenge-invalid"].contains(&reply.problem);
        // The winner's session is a standard one by now, and asks for a step-up with a spent code.
        assert!(reply.status == 200 || refused, "{reply:?}");
    }
    assert_eq!(granted, 1);
}

#[test]
fn the_window_over_http() {
    for (skew_steps, offset, status) in [
        (1, -2, 401),
        (1, -1, 200),
        (1, 0, 200),
        (1, 1, 200),
        (1, 2, 401),
        (0, -1, 401),
        (0, 0, 200),
        (0, 1, 401),
    ] {
        let mut kernel = Kernel::new(Mfa { totp: Totp { skew_steps }, ..Mfa::default() });
        let (_, phone, _) = kernel.enrolled();
        kernel.pass(60);
        let code = phone.code_off(kernel.wall, offset);
        assert_eq!(kernel.log_in_with(&code).status, status, "skew {skew_steps}, {offset} steps off");
    }
}

#[test]
fn the_wall_clock_tells_the_step_and_a_clock_set_back_revives_nothing() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    // The kernel's time runs ahead of the wall: codes follow the wall.
    kernel.now = kernel.now + Duration::from_hours(1);
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.log_in_with(&code).status, 200);
    let later = kernel.wall;
    kernel.wall = Time::from_secs(later.secs() - 30);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&code).problem, "invalid-code");
}

#[test]
fn a_step_up_refreshes_the_proof_and_spends_the_code() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    kernel.pass(3_600);
    assert_eq!(kernel.send(&post("/totp/enroll", json!({})).by(&session)).problem, "step-up-required");
    let code = phone.code(kernel.wall);
    let reply = kernel.send(&post("/totp/verify", verify(&code)).by(&session));
    assert_eq!((reply.status, reply.text("status").as_str()), (200, "authenticated"));
    assert_eq!(kernel.caller(&session).unwrap().session.mfa_verified_at, Some(kernel.now));
    assert_eq!(kernel.audit.last().unwrap().fields["purpose"], "step-up");
    assert_eq!(kernel.send(&post("/totp/enroll", json!({})).by(&session)).status, 201);
    assert_eq!(kernel.log_in_with(&code).problem, "invalid-code");
}

#[test]
fn any_factor_will_do_and_each_is_spent_on_its_own() {
    let mut kernel = kernel();
    let (session, first, _) = kernel.enrolled();
    let (second, _) = kernel.enrol(&session);
    assert_eq!(kernel.log_in_with(&second.code(kernel.wall)).status, 200);
    assert_eq!(kernel.log_in_with(&first.code(kernel.wall)).status, 200);
    let state = kernel.state(ANN);
    assert!(state.factors.iter().all(|factor| factor.last_used_at == Some(kernel.now)));
}

#[test]
fn what_is_no_code_is_malformed_and_costs_nothing() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    for body in [
        json!({}),
        json!({"code": ""}),
        json!({"code": "12345"}),
        json!({"code": "1234567"}),
        json!({"code": "12345x"}),
        json!({"code": 123_456}),
        json!({"code": null}),
        json!({"code": "123456", "trust": true}),
        json!({"code": "123456", "enrollment": "a", "challenge": "b"}),
        json!({"code": "123456", "factor": "x"}),
        json!([]),
    ] {
        let reply = kernel.send(&post("/totp/verify", body.clone()).by(&session));
        assert_eq!(reply.problem, "malformed", "{body}");
        assert!(!reply.body.as_str().unwrap().contains("12345"), "{reply:?}");
    }
    assert_eq!(kernel.state(ANN).budget, crate::budget::Budget::default());
    let spaced = phone.code(kernel.wall);
    let spaced = format!(" {} {} ", &spaced[..3], &spaced[3..]);
    assert_eq!(kernel.send(&post("/totp/verify", verify(&spaced)).by(&session)).status, 200);
}

#[test]
fn without_session_and_challenge_there_is_nobody_to_verify() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&post("/totp/verify", verify(&code))).problem, "session-required");
    assert_eq!(kernel.send(&post("/recovery/verify", verify(&code))).problem, "session-required");
}
