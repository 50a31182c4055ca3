//! What the owner of an account is told.
use super::{
    kernel::{ANN, Kernel, post},
    phone::verify,
};
use crate::config::Mfa;
use countersign_plugin_api::SessionMode;
use serde_json::{Value, json};
use std::time::Duration;

/// The notices since the last time this was asked, all of them to Ann.
fn told(kernel: &mut Kernel) -> Vec<(String, Value)> {
    let now = kernel.now;
    let told = kernel.messages.drain(..).map(|message| {
        assert!(message.notice && message.to == ANN, "{message:?}");
        assert_eq!(message.expires_at, now + Duration::from_hours(24));
        (message.template, json!(message.fields))
    });
    told.collect()
}

fn one(template: &str, fields: Value) -> Vec<(String, Value)> {
    vec![(template.into(), fields)]
}

#[test]
fn of_every_change_of_a_credential() {
    let mut kernel = Kernel::new(Mfa::default());
    let session = kernel.sign_in(ANN);
    let reply = kernel.send(&post("/totp/enroll", json!({"label": "Blue phone"})).by(&session));
    assert_eq!(told(&mut kernel), [], "nothing has changed yet");
    let phone = super::phone::Phone::scan(&reply.text("otpauth_uri"));
    let code = phone.code(kernel.wall);
    let reply = kernel.activate(&session, &reply.text("enrollment"), &code);
    assert_eq!(told(&mut kernel), one("totp-added", json!({"label": "Blue phone"})));

    let first = reply.body["recovery_codes"][0].as_str().unwrap().to_owned();
    kernel.send(&post("/recovery/generate", json!({})).by(&session));
    assert_eq!(told(&mut kernel), one("recovery-generated", json!({})));
    kernel.send(&post("/recovery/verify", verify(&first)).by(&session));
    assert_eq!(told(&mut kernel), [], "a code of the old set is a wrong code");

    kernel.send(&post("/totp/disable", json!({})).by(&session));
    assert_eq!(told(&mut kernel), one("totp-removed", json!({"label": "Blue phone"})));
}

#[test]
fn of_a_recovery_code_that_was_used() {
    let mut kernel = Kernel::new(Mfa::default());
    let (_, _, codes) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    kernel.send(&post("/recovery/verify", verify(&codes[0])).by(&session));
    assert_eq!(told(&mut kernel), one("recovery-used", json!({"remaining": "7"})));
}

#[test]
fn of_wrong_codes_after_a_right_password_and_of_a_lock() {
    let mut kernel = Kernel::new(Mfa::default());
    let (standard, phone, _) = kernel.enrolled();
    let guess = |kernel: &mut Kernel, session: &str| {
        kernel.send(&post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(session));
        told(kernel)
    };
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(guess(&mut kernel, &session), []);
    assert_eq!(guess(&mut kernel, &session), []);
    assert_eq!(guess(&mut kernel, &standard), [], "somebody who is signed in already");
    assert_eq!(guess(&mut kernel, &session), one("guesses", json!({"failures": "4"})));
    let until = (kernel.now + Duration::from_mins(15)).to_string();
    assert_eq!(guess(&mut kernel, &session), one("locked", json!({ "until": until })));
    assert_eq!(guess(&mut kernel, &session), [], "refused, not guessed");
}

#[test]
fn after_a_link_wrong_codes_tell_nothing_about_the_password() {
    let mut kernel = Kernel::new(Mfa::default());
    let (_, phone, _) = kernel.enrolled();
    let (_, session) = kernel.log_in_from("", ANN, SessionMode::Cookie, &["email"]);
    for _ in 0..4 {
        kernel.send(&post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session));
    }
    assert_eq!(told(&mut kernel), []);
}
