//! What an account sees and removes: status, disabling, and the password policy.
use super::kernel::{ANN, Kernel, get, post};
use crate::config::{Mfa, Require};
use countersign_plugin_api::{SessionMode, Verdict};
use serde_json::json;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

#[test]
fn status_of_an_account() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let status = get("/status").by(&session);
    let nothing = json!({
        "enabled": false, "required": false, "factors": [],
        "recovery_codes_remaining": 0, "recovery_codes_low": false
    });
    assert_eq!(kernel.send(&status).body, nothing);
    kernel.begin(&session);
    assert_eq!(kernel.send(&status).body, nothing, "an enrolment in progress is no factor");

    let (phone, _) = kernel.enrol(&session);
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&post("/totp/verify", json!({"code": code})).by(&session)).status, 200);
    let id = kernel.state(ANN).factors[0].id.to_string();
    assert_eq!(
        kernel.send(&status).body,
        json!({
            "enabled": true, "required": false,
            "factors": [{
                "id": id, "kind": "totp", "label": "Authenticator app",
                "created_at": "2025-11-22T08:26:40Z", "last_used_at": "2025-11-22T08:27:40Z"
            }],
            "recovery_codes_remaining": 8, "recovery_codes_low": false
        })
    );
    assert_eq!(kernel.send(&get("/status")).problem, "session-required");
}

#[test]
fn removing_one_of_two_and_then_the_last() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    let (second, _) = kernel.enrol(&session);
    let other = kernel.sign_in(ANN);
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    let id = kernel.state(ANN).factors[0].id.to_string();

    let missing = post("/totp/disable", json!({"factor": "0000"})).by(&session);
    assert_eq!(kernel.send(&missing).problem, "not-found");
    assert_eq!(kernel.send(&post("/totp/disable", json!({"factor": id})).by(&session)).status, 204);
    let event = kernel.audit.last().unwrap();
    assert_eq!((event.name.as_str(), &event.fields["factors"]), ("totp.disabled", &id));
    assert!(kernel.caller(&other).is_none() && kernel.caller(&session).is_some());
    let body = json!({"code": second.code(kernel.wall), "challenge": token});
    assert_eq!(kernel.send(&post("/totp/verify", body)).problem, "challenge-invalid");
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&second.code(kernel.wall)).status, 200);
    assert_eq!(kernel.state(ANN).recovery_codes(), 8);

    assert_eq!(kernel.send(&post("/totp/disable", json!({})).by(&session)).status, 204);
    assert_eq!(kernel.state(ANN).recovery_codes(), 0);
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);
    kernel.pass(300);
    assert!(kernel.records.values().all(|record| record.2 <= kernel.now), "nothing is kept for good");
    let session = kernel.sign_in(ANN);
    assert_eq!(kernel.send(&post("/totp/disable", json!({})).by(&session)).problem, "not-found");
}

#[test]
fn an_account_without_anything_has_no_record() {
    let mut kernel = kernel();
    let (session, _, _) = kernel.enrolled();
    assert_eq!(kernel.send(&post("/totp/disable", json!({})).by(&session)).status, 204);
    assert!(kernel.records.is_empty());
}

#[test]
fn removing_takes_a_fresh_second_factor() {
    let mut kernel = kernel();
    let (session, _, _) = kernel.enrolled();
    let password_only = kernel.sign_in(ANN);
    let disable = |session: &str| post("/totp/disable", json!({})).by(session);
    assert_eq!(kernel.send(&disable(&password_only)).problem, "step-up-required");
    kernel.pass(240);
    assert_eq!(kernel.send(&disable(&session)).problem, "step-up-required");
    let (_, pending) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(kernel.send(&disable(&pending)).problem, "mfa-required");
    assert!(kernel.state(ANN).enrolled());
}

#[test]
fn policy_keeps_the_last_factor() {
    let config = || Mfa { require: Require::Roles(vec!["admin".into()]), ..Mfa::default() };
    for (role, last) in [("admin", "enrollment-required"), ("user", "")] {
        let mut kernel = Kernel::new(config());
        kernel.subjects.get_mut(ANN).unwrap().role = role.into();
        let (session, _, _) = kernel.enrolled();
        kernel.enrol(&session);
        let id = kernel.state(ANN).factors[0].id.to_string();
        let all = post("/totp/disable", json!({})).by(&session);
        if role == "admin" {
            assert_eq!(kernel.send(&all).problem, last);
            assert_eq!(kernel.state(ANN).factors.len(), 2);
        }
        assert_eq!(kernel.send(&post("/totp/disable", json!({"factor": id})).by(&session)).status, 204);
        assert_eq!(kernel.send(&all).problem, last, "{role}");
    }
}

#[test]
fn the_password_policy_as_a_form_asks_it() {
    let mut kernel = kernel();
    let validate = |password: &str| post("/password/validate", json!({"password": password}));
    let reply = kernel.send(&validate("correct horse battery"));
    assert_eq!(reply.body, json!({"valid": true, "violations": []}));
    let reply = kernel.send(&validate("aaa"));
    assert_eq!(reply.body, json!({"valid": false, "violations": ["too-short", "repeated-character"]}));
    assert_eq!(kernel.send(&validate("I am ann@example.org")).body["valid"], true);
    let session = kernel.sign_in(ANN);
    let reply = kernel.send(&validate("I am ann@example.org").by(&session));
    assert_eq!(reply.body["violations"], json!(["context-word"]));
    assert_eq!(kernel.send(&post("/password/validate", json!({}))).problem, "malformed");
    assert!(kernel.audit.is_empty());
}
