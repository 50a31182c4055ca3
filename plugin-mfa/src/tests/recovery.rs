//! Recovery codes: once each, in any spelling, and a found one is not worth eight more.
use super::{
    kernel::{ANN, Kernel, Reply, get, post},
    phone::verify,
};
use crate::config::{Mfa, Recovery};
use countersign_plugin_api::SessionMode;
use serde_json::json;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

fn recover(kernel: &mut Kernel, code: &str) -> Reply {
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    kernel.send(&post("/recovery/verify", verify(code)).by(&session))
}

#[test]
fn each_code_is_good_once_and_the_rest_are_counted() {
    let mut kernel = kernel();
    let (_, _, codes) = kernel.enrolled();
    for (used, code) in codes.iter().enumerate() {
        let before = kernel.hashed.get();
        let reply = recover(&mut kernel, code);
        assert_eq!(reply.body, json!({"status": "authenticated", "recovery_codes_remaining": 7 - used}));
        assert_eq!(kernel.hashed.get(), before + 1, "one hash an attempt");
        assert_eq!(recover(&mut kernel, code).problem, "invalid-code");
    }
    let (verdict, _) = kernel.log_in(ANN, SessionMode::Cookie);
    assert!(format!("{verdict:?}").contains(r#"methods: ["totp", "email_otp"]"#), "{verdict:?}");
}

#[test]
fn a_code_is_read_as_people_write_it() {
    let mut kernel = kernel();
    let (_, _, codes) = kernel.enrolled();
    let spellings: [fn(&str) -> String; 4] = [
        str::to_lowercase,
        |code| code.replace('-', " "),
        |code| format!("  {}\n", code.replace('-', "")),
        |code| code.replace('0', "o").replace('1', "l"),
    ];
    for (code, spelling) in codes.iter().zip(spellings) {
        assert_eq!(recover(&mut kernel, &spelling(code)).status, 200, "{}", spelling(code));
    }
}

#[test]
fn in_bearer_mode_with_the_challenge_alone() {
    let mut kernel = kernel();
    let (_, _, codes) = kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Bearer);
    let body = json!({"code": codes[0], "challenge": token});
    assert_eq!(kernel.send(&post("/recovery/verify", body)).status, 200);
    assert_eq!(kernel.caller(&session).unwrap().session.amr, ["pwd", "recovery"]);
    assert_eq!(kernel.audit.last().unwrap().name, "recovery.verified");
}

#[test]
fn of_a_hundred_at_once_one_succeeds() {
    let mut kernel = kernel();
    let (_, _, codes) = kernel.enrolled();
    let sessions: Vec<String> = (0..5).map(|_| kernel.challenged(SessionMode::Cookie).1).collect();
    let asks: Vec<_> =
        (0..100).map(|n| post("/recovery/verify", verify(&codes[0])).by(&sessions[n % 5])).collect();
    let tried: Vec<_> = asks.iter().map(|ask| kernel.consider(ask)).collect();
    let mut granted = 0;
    for (ask, tried) in asks.iter().zip(&tried) {
        let reply = kernel.carry_out(tried);
        let reply = reply.unwrap_or_else(|| kernel.send(ask));
        granted += u32::from(reply.status == 200);
    }
    assert_eq!(granted, 1);
    assert_eq!(kernel.state(ANN).recovery_codes(), 7);
}

#[test]
fn whatever_is_wrong_with_a_code_the_answer_is_one() {
    let mut kernel = kernel();
    let (_, _, codes) = kernel.enrolled();
    assert_eq!(recover(&mut kernel, &codes[0]).status, 200);
    let spent = recover(&mut kernel, &codes[0]);
    assert_eq!((spent.status, spent.problem), (401, "invalid-code"));
    for wrong in ["0000-0000-0000-0000", "UUUU-UUUU-UUUU-UUUU", "short", ""] {
        assert_eq!(recover(&mut kernel, wrong), spent, "{wrong:?}");
    }
    assert_eq!(recover(&mut kernel, &codes[1]).problem, "locked", "five wrong ones, of whatever form");
}

#[test]
fn a_new_set_replaces_the_old_one() {
    let mut kernel = kernel();
    let (session, _, old) = kernel.enrolled();
    let reply = kernel.send(&post("/recovery/generate", json!({})).by(&session));
    assert_eq!(reply.status, 200, "{reply:?}");
    let new: Vec<String> = serde_json::from_value(reply.body["recovery_codes"].clone()).unwrap();
    assert_eq!(new.len(), 8);
    assert_eq!(kernel.audit.last().unwrap().name, "recovery.generated");
    assert!(kernel.caller(&session).is_some());
    for code in &old[..4] {
        assert_eq!(recover(&mut kernel, code).problem, "invalid-code");
    }
    for code in &new {
        assert_eq!(recover(&mut kernel, code).status, 200);
    }
}

#[test]
fn a_new_set_wants_a_fresh_proof_by_app() {
    let mut kernel = kernel();
    let (session, phone, codes) = kernel.enrolled();
    let generate = |session: &str| post("/recovery/generate", json!({})).by(session);
    kernel.pass(3_600);
    assert_eq!(kernel.send(&generate(&session)).problem, "step-up-required", "stale");
    kernel.send(&post("/recovery/verify", verify(&codes[0])).by(&session));
    assert_eq!(kernel.send(&generate(&session)).problem, "step-up-required", "by a recovery code");
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&post("/totp/verify", verify(&code)).by(&session)).status, 200);
    assert_eq!(kernel.send(&generate(&session)).status, 200);

    let (_, recovered) = kernel.challenged(SessionMode::Cookie);
    let left = kernel.state(ANN).recovery_codes();
    let new = kernel.send(&generate(&session)).body["recovery_codes"][0].as_str().unwrap().to_owned();
    assert_eq!(kernel.send(&post("/recovery/verify", verify(&new)).by(&recovered)).status, 200);
    assert_eq!(kernel.send(&generate(&recovered)).problem, "step-up-required", "a recovered login");
    assert_eq!(kernel.state(ANN).recovery_codes(), left - 1);

    let (_, pending) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(kernel.send(&generate(&pending)).problem, "mfa-required");
    assert_eq!(kernel.state(ANN).recovered.len(), 1);
    kernel.pass(300);
    kernel.challenged(SessionMode::Cookie);
    assert!(kernel.state(ANN).recovered.is_empty(), "kept no longer than it matters");
    assert_eq!(kernel.send(&post("/recovery/generate", json!({"n": 9})).by(&session)).problem, "malformed");
}

#[test]
fn without_a_factor_there_is_nothing_to_recover() {
    let mut kernel = kernel();
    let session = kernel.sign_in(ANN);
    let reply = kernel.send(&post("/recovery/generate", json!({})).by(&session));
    assert_eq!((reply.status, reply.problem), (409, "conflict"));
    let reply = kernel.send(&post("/recovery/verify", verify("0000-0000-0000-0000")).by(&session));
    assert_eq!(reply.problem, "invalid-code");
    assert_eq!(kernel.hashed.get(), 0);
}

#[test]
fn the_size_of_a_set_is_configured() {
    for count in [1, 16] {
        let mut kernel = Kernel::new(Mfa { recovery: Recovery { count }, ..Mfa::default() });
        let (session, _, codes) = kernel.enrolled();
        assert_eq!(codes.len(), count);
        let status = kernel.send(&get("/status").by(&session)).body;
        assert_eq!(status["recovery_codes_remaining"], count);
        assert_eq!(status["recovery_codes_low"], count == 1);
    }
}
