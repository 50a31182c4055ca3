//! Figures that count: of so many tries none passes.
use super::{
    kernel::{ANN, Kernel, post},
    phone::{Phone, verify},
};
use crate::config::{EmailOtp, Lockout, Mfa};
use countersign_plugin_api::{SessionMode, Verdict};
use serde_json::json;
use std::time::Duration;

/// Without a lock in the way, so that what is tried is judged by itself.
fn kernel(challenge_ttl: Duration) -> (Kernel, Phone) {
    let mut kernel = Kernel::new(Mfa {
        challenge_ttl,
        lockout: Lockout { threshold: 100, ..Lockout::default() },
        email_otp: EmailOtp { sends: 10, ..EmailOtp::default() },
        ..Mfa::default()
    });
    let (_, phone, _) = kernel.enrolled();
    (kernel, phone)
}

/// A login that forgives the guesses before it, later than what was sent and opened before.
fn forgive(kernel: &mut Kernel, phone: &Phone) {
    kernel.pass(601);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
}

/// R11: the sixth try with the right code, and the right code at second 301.
#[test]
fn of_a_hundred_codes_by_mail_none_is_good_at_the_sixth_try_and_none_late() {
    // A challenge that outlives its code.
    let (mut kernel, phone) = kernel(Duration::from_mins(8));
    for _ in 0..100 {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let code = kernel.mail(&session);
        let wrong = if code == "000000" { "111111" } else { "000000" };
        for _ in 0..5 {
            assert_eq!(kernel.send(&post("/otp/verify", verify(wrong)).by(&session)).problem, "invalid-code");
        }
        assert_eq!(kernel.send(&post("/otp/verify", verify(&code)).by(&session)).status, 429);

        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let code = kernel.mail(&session);
        kernel.pass(301);
        assert_eq!(kernel.send(&post("/otp/verify", verify(&code)).by(&session)).problem, "invalid-code");
        forgive(&mut kernel, &phone);
    }
}

/// R26: a challenge that has succeeded, and one that is over.
#[test]
fn of_a_hundred_challenges_none_is_good_twice_and_none_late() {
    let (mut kernel, phone) = kernel(Duration::from_mins(5));
    for _ in 0..100 {
        let (used, _) = kernel.challenged(SessionMode::Bearer);
        let (late, _) = kernel.challenged(SessionMode::Bearer);
        let proof =
            |token: &str, code: String| post("/totp/verify", json!({ "code": code, "challenge": token }));
        let right = proof(&used, phone.code(kernel.wall));
        assert_eq!(kernel.send(&right).status, 200);
        kernel.pass(60);
        let again = proof(&used, phone.code(kernel.wall));
        assert_eq!(kernel.send(&again).problem, "challenge-invalid");
        kernel.pass(241);
        let expired = proof(&late, phone.code(kernel.wall));
        assert_eq!(kernel.send(&expired).problem, "challenge-invalid");
    }
}

/// R41: the trust cookie of one account at the login of another.
#[test]
fn of_a_hundred_logins_none_is_shortened_by_somebody_elses_trust() {
    let (mut kernel, phone) = kernel(Duration::from_mins(5));
    kernel.add_subject("user-bob", "bob@example.org", "user");
    let bob = kernel.sign_in("user-bob");
    kernel.enrol(&bob);
    let (_, session) = kernel.log_in_from("Laptop", ANN, SessionMode::Cookie, &["pwd"]);
    let body = json!({ "code": phone.code(kernel.wall), "trust_browser": true });
    assert_eq!(kernel.send(&post("/totp/verify", body).by(&session).in_browser("Laptop")).status, 200);
    for _ in 0..100 {
        let (verdict, _) = kernel.log_in_from("Laptop", "user-bob", SessionMode::Cookie, &["pwd"]);
        assert!(matches!(verdict, Verdict::Challenge { .. }), "{verdict:?}");
    }
    assert_eq!(kernel.log_in_from("Laptop", ANN, SessionMode::Cookie, &["pwd"]).0, Verdict::Proceed);
}
