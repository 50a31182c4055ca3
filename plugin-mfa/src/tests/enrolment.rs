//! Enrolment: it takes a fresh proof, disarms nothing, and the first factor brings the recovery codes.
use super::{
    kernel::{ANN, Kernel, get, post},
    phone::Phone,
};
use crate::{config::Mfa, records};
use countersign_plugin_api::SessionMode;
use serde_json::json;
use std::collections::BTreeSet;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

#[test]
fn what_an_app_is_given() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let reply = kernel.send(&post("/totp/enroll", json!({"label": " Work phone "})).by(&session));
    assert_eq!(reply.status, 201);
    let secret = reply.text("secret");
    assert_eq!(secret.len(), 32, "160 bits");
    assert_eq!(
        reply.text("otpauth_uri"),
        format!(
            "otpauth://totp/Countersign:ann%40example.org?secret={secret}&issuer=Countersign&digits=6&period=30"
        )
    );
    let svg = reply.text("qr_svg");
    assert!(svg.starts_with("<svg ") && svg.contains("viewBox=") && svg.ends_with("</svg>"), "{svg}");
    assert_eq!(reply.text("expires_at"), "2025-11-22T08:36:40Z");

    let phone = Phone::scan(&reply.text("otpauth_uri"));
    let reply = kernel.activate(&session, &reply.text("enrollment"), &phone.code(kernel.wall));
    assert_eq!((reply.status, reply.text("status").as_str()), (200, "activated"));
    let factor = &reply.body["factor"];
    assert_eq!((factor["kind"].as_str(), factor["label"].as_str()), (Some("totp"), Some("Work phone")));
    assert!(factor["last_used_at"].is_null());
    assert_eq!(factor["created_at"], "2025-11-22T08:26:40Z");
    let codes: BTreeSet<&str> =
        reply.body["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(codes.len(), 8);
    assert_eq!(kernel.hashed.get(), 1, "all of a set in one");
}

#[test]
fn the_first_factor_proves_itself_and_ends_other_sessions() {
    let mut kernel = kernel();
    let (other, session) = (kernel.sign_in(ANN), kernel.sign_in(ANN));
    kernel.enrol(&session);
    assert!(kernel.caller(&other).is_none());
    let caller = kernel.caller(&session).unwrap();
    assert!(caller.session.mfa_verified_at.is_some());
    assert_eq!(caller.session.amr, ["pwd", "otp"]);
}

#[test]
fn a_later_factor_neither_extends_the_proof_nor_brings_codes_nor_forgives_guesses() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    let proven = kernel.caller(&session).unwrap().session.mfa_verified_at;
    for _ in 0..4 {
        assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
    }
    let other = kernel.sign_in(ANN);
    let (_, reply) = kernel.enrol(&session);
    assert_eq!(reply.body.get("recovery_codes"), None);
    assert_eq!(kernel.caller(&session).unwrap().session.mfa_verified_at, proven);
    assert!(kernel.caller(&other).is_none());
    assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");
}

#[test]
fn an_enrolment_in_progress_touches_no_active_factor() {
    let mut kernel = kernel();
    let (session, phone, codes) = kernel.enrolled();
    let before = kernel.state(ANN);
    let (abandoned, id) = kernel.begin(&session);
    for code in ["000000", "999999"] {
        assert_eq!(kernel.activate(&session, &id, code).problem, "invalid-code");
    }
    assert_eq!(kernel.log_in_with(&abandoned.code(kernel.wall)).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
    kernel.pass(601);
    assert_eq!(kernel.activate(&session, &id, &abandoned.code(kernel.wall)).problem, "invalid-code");
    let after = kernel.state(ANN);
    assert_eq!(after.factors.len(), 1);
    assert_eq!(after.factors[0].key.expose(), before.factors[0].key.expose());
    assert_eq!(after.recovery_codes(), codes.len());
}

#[test]
fn superseded_foreign_and_expired_enrolments_are_wrong_codes() {
    let mut kernel = kernel();
    kernel.add_subject("user-bob", "bob@example.org", "user");
    let (ann, bob) = (kernel.sign_in(ANN), kernel.sign_in("user-bob"));
    let other = kernel.sign_in(ANN);
    let (superseded, superseded_id) = kernel.begin(&ann);
    let (phone, id) = kernel.begin(&ann);
    let wrong = kernel.activate(&ann, &id, &phone.wrong(kernel.wall));
    for (session, id, code) in [
        (&ann, superseded_id.as_str(), superseded.code(kernel.wall)),
        (&bob, id.as_str(), phone.code(kernel.wall)),
        (&other, id.as_str(), phone.code(kernel.wall)),
        (&ann, "", phone.code(kernel.wall)),
    ] {
        assert_eq!(kernel.activate(session, id, &code), wrong, "{id:?}");
    }
    assert_eq!((wrong.status, wrong.problem), (401, "invalid-code"));
    kernel.pass(599);
    assert_eq!(kernel.activate(&ann, &id, &phone.code(kernel.wall)).status, 200);
    // An activated one is not there to be activated again.
    kernel.pass(30);
    assert_eq!(kernel.activate(&ann, &id, &phone.code(kernel.wall)).problem, "invalid-code");
}

#[test]
fn an_enrolment_is_over_after_ten_minutes() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let (phone, id) = kernel.begin(&session);
    kernel.pass(600);
    assert_eq!(kernel.activate(&session, &id, &phone.code(kernel.wall)).problem, "invalid-code");
}

#[test]
fn two_activations_at_once_give_one_set_of_codes() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let (phone, id) = kernel.begin(&session);
    let body = json!({"code": phone.code(kernel.wall), "enrollment": id});
    let ask = post("/totp/verify", body).by(&session);
    let (one, two) = (kernel.consider(&ask), kernel.consider(&ask));
    assert_eq!(kernel.carry_out(&one).unwrap().status, 200);
    assert_eq!(kernel.carry_out(&two), None, "a conflict");
    assert_eq!(kernel.send(&ask).problem, "invalid-code");
}

#[test]
fn it_takes_a_fresh_proof() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let ask = post("/totp/enroll", json!({})).by(&session);
    kernel.pass(299);
    assert_eq!(kernel.send(&ask).status, 201);
    kernel.pass(1);
    assert_eq!(kernel.send(&ask).problem, "step-up-required");
    assert_eq!(kernel.send(&post("/totp/enroll", json!({}))).problem, "session-required");

    // With an active factor the password is not enough.
    kernel.enrolled();
    let session = kernel.sign_in(ANN);
    assert_eq!(kernel.send(&post("/totp/enroll", json!({})).by(&session)).problem, "step-up-required");
}

#[test]
fn a_pending_session_can_neither_enrol_nor_activate() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(kernel.send(&post("/totp/enroll", json!({})).by(&session)).problem, "mfa-required");
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.activate(&session, "any", &code).problem, "mfa-required");
}

#[test]
fn the_eleventh_factor_is_a_conflict() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    for _ in 1..10 {
        let code = phone.code(kernel.wall);
        assert_eq!(kernel.send(&post("/totp/verify", json!({"code": code})).by(&session)).status, 200);
        kernel.enrol(&session);
    }
    assert_eq!(kernel.send(&get("/status").by(&session)).body["factors"].as_array().unwrap().len(), 10);
    let reply = kernel.send(&post("/totp/enroll", json!({})).by(&session));
    assert_eq!((reply.status, reply.problem), (409, "conflict"));
    let record = records::encode(records::STATE, &kernel.state(ANN), 0).unwrap();
    assert!(record.expose().len() < 4 << 10, "{} bytes", record.expose().len());
}

#[test]
fn labels_can_be_shown() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let longest = "é".repeat(64);
    for (label, status) in [
        (json!("<b>phone</b> & \"friends\""), 201),
        (json!(longest), 201),
        (json!(null), 201),
        (json!(longest + "é"), 400),
        (json!("   "), 400),
        (json!("two\nlines"), 400),
        (json!("\u{1b}[31mred"), 400),
        (json!(7), 400),
    ] {
        let reply = kernel.send(&post("/totp/enroll", json!({"label": label})).by(&session));
        assert_eq!(reply.status, status, "{label}");
    }
    assert_eq!(kernel.send(&post("/totp/enroll", json!({"lable": "x"})).by(&session)).status, 400);
}

#[test]
fn no_two_keys_are_alike() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let ask = post("/totp/enroll", json!({})).by(&session);
    let keys: BTreeSet<String> = (0..200).map(|_| kernel.send(&ask).text("secret")).collect();
    assert_eq!(keys.len(), 200);
}

#[test]
fn where_nothing_was_begun_there_is_nothing_to_guess() {
    let mut kernel = Kernel::new(Mfa::default());
    let (own, other) = (kernel.sign_in(ANN), kernel.sign_in(ANN));
    let guess = |kernel: &mut Kernel, session: &str, id: &str| {
        let body = json!({"code": "123456", "enrollment": id});
        kernel.send(&post("/totp/verify", body).by(session)).problem
    };
    for _ in 0..20 {
        assert_eq!(guess(&mut kernel, &own, "AAAAAAAAAAAAAAAA"), "invalid-code");
    }
    let (_, id) = kernel.begin(&own);
    for _ in 0..20 {
        assert_eq!(guess(&mut kernel, &other, &id), "invalid-code");
    }
    for _ in 0..5 {
        assert_eq!(guess(&mut kernel, &own, "AAAAAAAAAAAAAAAA"), "invalid-code", "as good as a wrong code");
    }
    assert_eq!(guess(&mut kernel, &own, &id), "locked");
}
