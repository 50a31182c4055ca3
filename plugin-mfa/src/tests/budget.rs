//! The budget over HTTP: one counter for everything that checks a secret, and nothing is evaluated in a lock.
use super::{
    kernel::{ANN, Ask, Kernel, get, post},
    phone::{Phone, verify},
};
use crate::config::{Lockout, Mfa};
use countersign_plugin_api::SessionMode;
use serde_json::json;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

/// A way to guess: what is asked, with a wrong code.
type Guess = fn(&mut Kernel, &Phone, &str) -> Ask;

const GUESSES: [(&str, Guess); 6] = [
    ("login by app", |kernel, phone, _| {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session)
    }),
    ("login by recovery code", |kernel, _, _| {
        let (token, _) = kernel.challenged(SessionMode::Bearer);
        post("/recovery/verify", json!({"code": "0000-0000-0000-0000", "challenge": token}))
    }),
    ("login by mail", |kernel, _, _| {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        post("/otp/verify", verify("000000")).by(&session)
    }),
    ("step-up by app", |kernel, phone, session| {
        post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(session)
    }),
    ("step-up by recovery code", |_, _, session| {
        post("/recovery/verify", verify("0000-0000-0000-0000")).by(session)
    }),
    ("activation", |kernel, phone, session| {
        let (_, id) = kernel.begin(session);
        post("/totp/verify", json!({"code": phone.wrong(kernel.wall), "enrollment": id})).by(session)
    }),
];

#[test]
fn five_wrong_guesses_anywhere_lock_everywhere() {
    for (name, guess) in GUESSES {
        let mut kernel = kernel();
        let (session, phone, codes) = kernel.enrolled();
        for _ in 0..5 {
            let ask = guess(&mut kernel, &phone, &session);
            assert_eq!(kernel.send(&ask).problem, "invalid-code", "{name}");
        }
        let event = kernel.audit.last().unwrap();
        assert!(!event.success && event.fields["locked_until"] == "2025-11-22T08:42:40Z", "{event:?}");

        let right = phone.code(kernel.wall);
        let (token, pending) = kernel.challenged(SessionMode::Cookie);
        let (begun, id) = kernel.begin(&session);
        for ask in [
            post("/totp/verify", verify(&right)).by(&pending),
            post("/totp/verify", verify(&right)).by(&session),
            post("/totp/verify", json!({"code": right, "challenge": token})).by(&pending),
            post("/recovery/verify", verify(&codes[0])).by(&pending),
            post("/otp/send", json!({})).by(&pending),
            post("/otp/verify", verify("123456")).by(&pending),
            post("/totp/verify", json!({"code": begun.code(kernel.wall), "enrollment": id})).by(&session),
        ] {
            let reply = kernel.send(&ask);
            assert_eq!((reply.status, reply.retry_after), (429, Some(900)), "after {name}: {}", ask.path);
        }
    }
}

#[test]
fn guesses_of_all_kinds_add_up() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    for (name, guess) in &GUESSES[1..] {
        let ask = guess(&mut kernel, &phone, &session);
        assert_eq!(kernel.send(&ask).problem, "invalid-code", "{name}");
    }
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");
}

fn lock(kernel: &mut Kernel, phone: &Phone) {
    for _ in 0..5 {
        assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
    }
}

#[test]
fn in_a_lock_right_and_wrong_are_alike_and_the_lock_neither_grows_nor_ends_early() {
    let mut kernel = kernel();
    let (_, phone, codes) = kernel.enrolled();
    lock(&mut kernel, &phone);
    let (hashed, before) = (kernel.hashed.get(), kernel.state(ANN));
    for second in 0..899 {
        kernel.pass(1);
        let right = kernel.log_in_with(&phone.code(kernel.wall));
        assert_eq!(right, kernel.log_in_with(&phone.wrong(kernel.wall)));
        assert_eq!((right.problem, right.retry_after), ("locked", Some(899 - second)));
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let reply = kernel.send(&post("/recovery/verify", verify(&codes[0])).by(&session));
        assert_eq!(reply, right);
    }
    assert_eq!(kernel.hashed.get(), hashed);
    assert_eq!(kernel.state(ANN).factors[0].last_step, before.factors[0].last_step);
    assert_eq!(kernel.state(ANN).recovery_codes(), 8);
    let refusals = kernel.audit.iter().filter(|event| event.fields.get("reason") == Some(&"locked".into()));
    assert_eq!(refusals.count(), 15, "one a minute");
    kernel.pass(1);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
}

#[test]
fn a_late_guess_cannot_clear_a_lock_and_a_late_success_cannot_pass_it() {
    let mut kernel = kernel();
    let (standard, phone, _) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let wrong = post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session);
    let right = post("/totp/verify", verify(&phone.code(kernel.wall))).by(&session);
    let late = [&wrong, &right].map(|ask| (ask, kernel.consider(ask)));
    for _ in 0..5 {
        let wrong = verify(&phone.wrong(kernel.wall));
        assert_eq!(kernel.send(&post("/totp/verify", wrong).by(&standard)).problem, "invalid-code");
    }
    for (ask, tried) in &late {
        assert_eq!(kernel.carry_out(tried), None, "a conflict");
        assert_eq!(kernel.send(ask).problem, "locked");
    }
}

#[test]
fn many_wrong_guesses_at_once_are_each_counted() {
    let mut kernel = kernel();
    let (session, phone, _) = kernel.enrolled();
    let ask = post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session);
    let tried: Vec<_> = (0..64).map(|_| kernel.consider(&ask)).collect();
    let mut evaluated = 0;
    for tried in &tried {
        let reply = kernel.carry_out(tried);
        evaluated += u32::from(reply.unwrap_or_else(|| kernel.send(&ask)).problem == "invalid-code");
    }
    assert_eq!(evaluated, 5);
}

#[test]
fn only_a_second_factor_forgives() {
    let mut kernel = kernel();
    let (session, phone, codes) = kernel.enrolled();
    let four_wrong = |kernel: &mut Kernel| {
        for _ in 0..4 {
            assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
        }
    };
    four_wrong(&mut kernel);
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&post("/totp/verify", verify(&code)).by(&session)).status, 200);
    four_wrong(&mut kernel);
    assert_eq!(kernel.send(&post("/recovery/verify", verify(&codes[0])).by(&session)).status, 200);
    four_wrong(&mut kernel);
    // A right password, a cancelled challenge and a new enrolment forgive nothing.
    let (_, pending) = kernel.challenged(SessionMode::Cookie);
    assert_eq!(kernel.send(&post("/challenge/cancel", json!({})).by(&pending)).status, 204);
    kernel.begin(&session);
    assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
    kernel.pass(30);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");
}

#[test]
fn after_a_hundred_only_a_recovery_code_helps() {
    let mut kernel = kernel();
    let (_, phone, codes) = kernel.enrolled();
    let mut evaluated = 0;
    for _ in 0..20 {
        lock(&mut kernel, &phone);
        evaluated += 5;
        kernel.pass(86_400);
    }
    assert_eq!(evaluated, 100);
    let reply = kernel.log_in_with(&phone.code(kernel.wall));
    assert_eq!((reply.problem, reply.retry_after), ("locked", Some(86_400)));
    kernel.pass(400 * 86_400);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");

    // It is no oracle without bounds: wrong recovery codes lock again, for a day.
    let recover = |kernel: &mut Kernel, code: &str| {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let status = kernel.send(&get("/challenge/status").by(&session));
        (kernel.send(&post("/recovery/verify", verify(code)).by(&session)), status.text("status"))
    };
    for _ in 0..5 {
        let (reply, status) = recover(&mut kernel, "0000-0000-0000-0000");
        assert_eq!((reply.problem, status.as_str()), ("invalid-code", "pending"));
    }
    let (reply, status) = recover(&mut kernel, &codes[0]);
    assert_eq!((reply.retry_after, status.as_str()), (Some(86_400), "locked"));
    kernel.pass(86_400);
    assert_eq!(recover(&mut kernel, &codes[0]).0.status, 200);
    kernel.pass(30);
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
}

#[test]
fn the_threshold_and_the_times_are_configured() {
    let lockout = Lockout {
        threshold: 2,
        duration: std::time::Duration::from_secs(10),
        max_duration: std::time::Duration::from_secs(15),
    };
    let mut kernel = Kernel::new(Mfa { lockout, ..Mfa::default() });
    let (_, phone, _) = kernel.enrolled();
    for seconds in [10, 15, 15] {
        for _ in 0..2 {
            assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
        }
        assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).retry_after, Some(seconds));
        kernel.pass(seconds);
    }
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
}
