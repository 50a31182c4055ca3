//! The gate: who is challenged, who must enrol, and that what cannot be read lets nobody pass.
use super::{
    kernel::{ANN, Kernel, get, post},
    phone::verify,
};
use crate::{
    config::{Mfa, Require},
    gate::MfaGate,
    records::STATE,
};
use countersign_plugin_api::{Gate, Secret, SessionMode, Standing, Verdict};
use serde_json::json;
use std::{sync::Arc, time::Duration};

#[test]
fn without_a_factor_a_login_proceeds_and_nothing_is_written() {
    let mut kernel = Kernel::new(Mfa::default());
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);
    assert!(kernel.records.is_empty());
    // Nor does an enrolment that was never finished gate anything.
    let session = kernel.sign_in(ANN);
    kernel.begin(&session);
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);
}

#[test]
fn with_one_it_is_challenged_for_as_long_as_configured() {
    let config = Mfa { challenge_ttl: Duration::from_secs(42), ..Mfa::default() };
    let mut kernel = Kernel::new(config);
    kernel.enrolled();
    let (verdict, session) = kernel.log_in(ANN, SessionMode::Cookie);
    let Verdict::Challenge { expires_at, methods, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(expires_at, kernel.now + Duration::from_secs(42));
    assert_eq!(methods, ["totp", "recovery", "email_otp"]);
    let standing = kernel.standing(&session).unwrap();
    assert_eq!(standing, Standing { enrolled: true, enrollment_required: false, stepped_up: false });
}

#[test]
fn a_lock_does_not_show_at_login() {
    let mut kernel = Kernel::new(Mfa::default());
    let (_, phone, _) = kernel.enrolled();
    for _ in 0..5 {
        kernel.log_in_with(&phone.wrong(kernel.wall));
    }
    let (verdict, session) = kernel.log_in(ANN, SessionMode::Cookie);
    assert!(
        matches!(&verdict, Verdict::Challenge { methods, .. } if methods == &["totp", "recovery", "email_otp"])
    );
    assert_eq!(kernel.send(&get("/challenge/status").by(&session)).text("status"), "locked");
}

#[test]
fn policy_lets_the_unenrolled_do_nothing_but_enrol() {
    let config = Mfa { require: Require::All, grace_period: Duration::from_hours(1), ..Mfa::default() };
    let mut kernel = Kernel::new(config);
    let session = kernel.sign_in(ANN);
    let standing =
        |enrolled, enrollment_required, stepped_up| Standing { enrolled, enrollment_required, stepped_up };
    assert_eq!(kernel.standing(&session).unwrap(), standing(false, false, true));
    let status = kernel.send(&get("/status").by(&session)).body;
    assert_eq!((&status["required"], &status["grace_until"]), (&json!(true), &json!("2025-11-22T09:26:40Z")));
    kernel.pass(3_600);
    assert_eq!(kernel.standing(&session).unwrap(), standing(false, true, false));
    assert_eq!(kernel.send(&get("/status").by(&session)).body.get("grace_until"), None);
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);

    let session = kernel.sign_in(ANN);
    kernel.enrol(&session);
    assert_eq!(kernel.standing(&session).unwrap(), standing(true, false, true));
}

#[test]
fn a_record_of_another_release_lets_nobody_pass_and_is_left_alone() {
    let mut kernel = Kernel::new(Mfa::default());
    let (session, phone, codes) = kernel.enrolled();
    let (token, pending) = kernel.challenged(SessionMode::Cookie);
    let (bearer, _) = kernel.challenged(SessionMode::Bearer);
    let name = (ANN.to_owned(), STATE.as_bytes().to_vec());
    let record = kernel.records[&name].1.clone();
    let damaged: [Vec<u8>; 5] = [
        [&[2], &record[1..]].concat(),
        [&[255], &record[1..]].concat(),
        record[..record.len() - 1].to_vec(),
        [&record[..], &[0]].concat(),
        Vec::new(),
    ];
    for damaged in damaged {
        kernel.records.get_mut(&name).unwrap().1.clone_from(&damaged);
        assert!(kernel.standing(&session).is_err());
        let code = phone.code(kernel.wall);
        for ask in [
            post("/totp/verify", verify(&code)).by(&pending),
            post("/totp/verify", json!({"code": code, "challenge": bearer})),
            post("/totp/verify", verify(&code)).by(&session),
            post("/totp/verify", json!({"code": code, "enrollment": "x"})).by(&session),
            post("/recovery/verify", verify(&codes[0])).by(&pending),
            post("/recovery/generate", json!({})).by(&session),
            post("/totp/enroll", json!({})).by(&session),
            post("/totp/disable", json!({})).by(&session),
            post("/challenge/cancel", json!({})).by(&pending),
            get("/challenge/status").about(&token).by(&pending),
            get("/status").by(&session),
        ] {
            let reply = kernel.send(&ask);
            assert_eq!((reply.status, reply.problem), (503, "plugin-fault"), "{} {damaged:?}", ask.path);
        }
        assert_eq!(kernel.records[&name].1, damaged);
    }
}

#[test]
#[should_panic(expected = "format version 2")]
fn a_login_over_a_newer_record_is_refused() {
    let mut kernel = Kernel::new(Mfa::default());
    kernel.enrolled();
    let record = kernel.records.values_mut().next().unwrap();
    record.1[0] = 2;
    kernel.log_in(ANN, SessionMode::Cookie);
}

#[test]
fn passwords_are_judged_with_the_words_of_the_account_and_the_issuer() {
    let gate = MfaGate::new(Arc::new(Mfa::default()));
    for (password, violations) in [
        ("correct horse battery", &[][..]),
        ("short", &["too-short"]),
        ("annabel's own password", &["context-word"]),
        ("my countersign password", &["context-word"]),
    ] {
        let found = gate.password_violations(&Secret::new(password), &["annabel@example.org"]).unwrap();
        assert_eq!(found, violations, "{password}");
    }
}
