//! Codes by mail: for one challenge, the newest only, five guesses, and never more than the mailbox is worth.
use super::{
    kernel::{ANN, Kernel, Reply, get, post},
    phone::verify,
};
use crate::config::{EmailOtp, Lockout, Mfa};
use countersign_plugin_api::SessionMode;
use serde_json::json;
use std::time::Duration;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

/// Without a lock in the way, so that a code's own end shows.
fn patient() -> Kernel {
    Kernel::new(Mfa { lockout: Lockout { threshold: 100, ..Lockout::default() }, ..Mfa::default() })
}

/// Six digits that are not these.
fn another(code: &str) -> String {
    (if code == "000000" { "111111" } else { "000000" }).into()
}

fn try_code(kernel: &mut Kernel, session: &str, code: &str) -> Reply {
    kernel.send(&post("/otp/verify", verify(code)).by(session))
}

#[test]
fn a_login_by_password_and_mail() {
    let mut kernel = kernel();
    kernel.enrolled();
    for mode in [SessionMode::Cookie, SessionMode::Bearer] {
        let (token, session) = kernel.challenged(mode);
        let ask = |path, body| {
            let ask = post(path, body);
            if mode == SessionMode::Cookie { ask.by(&session) } else { ask }
        };
        let sent = kernel.send(&ask("/otp/send", json!({ "challenge": token })));
        let expires_at = kernel.now + Duration::from_mins(5);
        assert_eq!(sent.status, 202);
        assert_eq!(sent.body, json!({"expires_at": expires_at.to_string(), "resend_after": 0}));
        assert_eq!(kernel.audit.last().unwrap().name, "email-otp.sent");
        let message = kernel.messages.last().unwrap().clone();
        assert_eq!((message.to.as_str(), message.notice, message.expires_at), (ANN, false, expires_at));
        assert_eq!(message.fields["minutes"], "5");
        let code = &message.fields["code"];
        assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");

        let body = json!({"code": format!("{} {}", &code[..3], &code[3..]), "challenge": token});
        let reply = kernel.send(&ask("/otp/verify", body.clone()));
        assert_eq!((reply.status, reply.body), (200, json!({"status": "authenticated"})));
        let caller = kernel.caller(&session).unwrap();
        assert_eq!(caller.session.amr, ["pwd", "email"]);
        assert_eq!(kernel.audit.last().unwrap().name, "email-otp.verified");
        assert!(kernel.state(ANN).mailed.is_none(), "spent");
        assert_eq!(kernel.send(&ask("/otp/verify", body)).problem, "challenge-invalid");
    }
}

#[test]
fn the_code_is_in_the_message_and_nowhere_else() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    for (_, value, _) in kernel.records.values() {
        assert!(!value.windows(6).any(|bytes| bytes == code.as_bytes()));
    }
    assert!(!format!("{:?}", kernel.audit).contains(&code));
}

#[test]
fn only_for_the_challenge_it_was_sent_for() {
    let email_otp = EmailOtp { tries: 1, ..EmailOtp::default() };
    let mut kernel = Kernel::new(Mfa { email_otp, ..Mfa::default() });
    kernel.enrolled();
    let (_, first) = kernel.challenged(SessionMode::Cookie);
    let (_, second) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&first);
    assert_eq!(try_code(&mut kernel, &second, &code).problem, "invalid-code");
    assert_eq!(
        try_code(&mut kernel, &first, &code).status,
        200,
        "a guess at another challenge does not end it"
    );
}

#[test]
fn the_newest_only_whichever_challenge_it_is_for() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (_, first) = kernel.challenged(SessionMode::Cookie);
    let (_, second) = kernel.challenged(SessionMode::Cookie);
    let old = kernel.mail(&first);
    let new = kernel.mail(&first);
    assert_ne!(old, new);
    assert_eq!(try_code(&mut kernel, &first, &old).problem, "invalid-code");
    let others = kernel.mail(&second);
    assert_eq!(try_code(&mut kernel, &first, &new).problem, "invalid-code");
    assert_eq!(try_code(&mut kernel, &second, &others).status, 200);
}

#[test]
fn five_wrong_guesses_end_a_code() {
    for tries in [1, 5] {
        let email_otp = EmailOtp { tries, ..EmailOtp::default() };
        let mut kernel = Kernel::new(Mfa { email_otp, ..patient_config() });
        kernel.enrolled();
        // Four guesses at this challenge, the fifth would end it anyway.
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let code = kernel.mail(&session);
        for _ in 0..tries.min(4) {
            assert_eq!(try_code(&mut kernel, &session, &another(&code)).problem, "invalid-code");
        }
        let right = try_code(&mut kernel, &session, &code);
        assert_eq!(right.status, if tries == 5 { 200 } else { 401 }, "{tries}");
    }
    let mut kernel = patient();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    for _ in 0..5 {
        assert_eq!(try_code(&mut kernel, &session, &another(&code)).problem, "invalid-code");
    }
    assert!(kernel.state(ANN).mailed.is_none());
    assert_eq!(try_code(&mut kernel, &session, &code).problem, "locked", "and the challenge with it");
}

fn patient_config() -> Mfa {
    Mfa { lockout: Lockout { threshold: 100, ..Lockout::default() }, ..Mfa::default() }
}

#[test]
fn a_code_lives_as_long_as_configured_and_no_longer_than_its_challenge() {
    let config = || Mfa {
        challenge_ttl: Duration::from_mins(8),
        email_otp: EmailOtp { sends: 10, ..EmailOtp::default() },
        ..patient_config()
    };
    for (seconds, status) in [(299, 200), (300, 401), (301, 401)] {
        let mut kernel = Kernel::new(config());
        kernel.enrolled();
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let code = kernel.mail(&session);
        kernel.pass(seconds);
        assert_eq!(try_code(&mut kernel, &session, &code).status, status, "after {seconds} s");
    }
    let mut kernel = Kernel::new(config());
    kernel.enrolled();
    let (token, session) = kernel.challenged(SessionMode::Cookie);
    kernel.pass(420);
    let sent = kernel.send(&post("/otp/send", json!({})).by(&session));
    assert_eq!(sent.text("expires_at"), (kernel.now + Duration::from_mins(1)).to_string());
    assert_eq!(kernel.messages.last().unwrap().fields["minutes"], "1");
    kernel.pass(60);
    let ask = post("/otp/send", json!({ "challenge": token }));
    assert_eq!(kernel.send(&ask).problem, "challenge-invalid");
}

#[test]
fn of_a_hundred_at_once_one_succeeds() {
    let mut kernel = patient();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    let ask = post("/otp/verify", verify(&code)).by(&session);
    let tried: Vec<_> = (0..100).map(|_| kernel.consider(&ask)).collect();
    let granted =
        tried.iter().filter(|tried| kernel.carry_out(tried).is_some_and(|reply| reply.status == 200));
    assert_eq!(granted.count(), 1);
    assert_eq!(kernel.send(&ask).problem, "forbidden", "the session is a standard one by now");
}

#[test]
fn three_in_ten_minutes_over_all_challenges() {
    let mut kernel = kernel();
    kernel.enrolled();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let sent = kernel.send(&post("/otp/send", json!({})).by(&session));
        answers.push(sent.body["resend_after"].as_u64().unwrap());
        kernel.pass(10);
    }
    assert_eq!(answers, [0, 0, 580]);
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let ask = post("/otp/send", json!({})).by(&session);
    let refused = kernel.send(&ask);
    assert_eq!((refused.status, refused.problem, refused.retry_after), (429, "rate-limited", Some(570)));
    assert_eq!(kernel.messages.len(), 3);
    kernel.pass(570);
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    kernel.mail(&session);
}

#[test]
fn at_once_no_more_are_sent_than_one_after_the_other() {
    let mut kernel = kernel();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let ask = post("/otp/send", json!({})).by(&session);
    let tried: Vec<_> = (0..20).map(|_| kernel.consider(&ask)).collect();
    for tried in &tried {
        if kernel.carry_out(tried).is_none() {
            kernel.send(&ask);
        }
    }
    assert_eq!(kernel.messages.len(), 3);
}

#[test]
fn the_mailbox_is_one_factor() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    // In by a link: the app is what is asked for.
    let (verdict, session) = kernel.log_in_from("", ANN, SessionMode::Cookie, &["email"]);
    assert!(format!("{verdict:?}").contains(r#"methods: ["totp", "recovery"]"#), "{verdict:?}");
    assert_eq!(
        kernel.send(&get("/challenge/status").by(&session)).body["methods"],
        json!(["totp", "recovery"])
    );
    for ask in [post("/otp/send", json!({})), post("/otp/verify", verify("123456"))] {
        let reply = kernel.send(&ask.by(&session));
        assert_eq!((reply.status, reply.problem), (403, "forbidden"));
    }
    // Not with a code that was sent for a login by password either.
    let (_, by_password) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&by_password);
    assert_eq!(try_code(&mut kernel, &session, &code).problem, "forbidden");
    assert_eq!(kernel.state(ANN).budget.failures(), 0, "none of it was a guess");
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
    assert_eq!(kernel.caller(&session).unwrap().session.amr, ["email", "otp"]);
}

#[test]
fn a_code_by_mail_is_no_step_up() {
    let mut kernel = kernel();
    let (standard, phone, _) = kernel.enrolled();
    for ask in [post("/otp/send", json!({})), post("/otp/verify", verify("123456"))] {
        assert_eq!(kernel.send(&ask.by(&standard)).problem, "forbidden");
    }
    // Nor does a login that was completed by one change a credential.
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    assert_eq!(try_code(&mut kernel, &session, &code).status, 200);
    assert!(!kernel.standing(&session).unwrap().stepped_up);
    for path in ["/totp/enroll", "/totp/disable", "/recovery/generate"] {
        assert_eq!(kernel.send(&post(path, json!({})).by(&session)).problem, "step-up-required", "{path}");
    }
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
    assert!(kernel.standing(&session).unwrap().stepped_up);
}

#[test]
fn without_a_delivery_it_is_not_offered() {
    let mut kernel = kernel();
    kernel.enrolled();
    kernel.sends_mail = false;
    let (verdict, session) = kernel.log_in(ANN, SessionMode::Cookie);
    assert!(format!("{verdict:?}").contains(r#"methods: ["totp", "recovery"]"#), "{verdict:?}");
    let status = kernel.send(&get("/challenge/status").by(&session));
    assert_eq!(status.body["methods"], json!(["totp", "recovery"]));
}

#[test]
fn without_a_session_or_a_factor_nothing_is_sent() {
    let mut kernel = kernel();
    assert_eq!(kernel.send(&post("/otp/send", json!({}))).problem, "session-required");
    let session = kernel.sign_in(ANN);
    assert_eq!(kernel.send(&post("/otp/send", json!({})).by(&session)).problem, "forbidden");
    assert_eq!(kernel.send(&post("/otp/verify", verify("12345")).by(&session)).problem, "malformed");
    assert!(kernel.messages.is_empty());
}

#[test]
fn who_reads_the_mailbox_does_not_get_to_guess_at_the_app_without_end() {
    let mut kernel =
        Kernel::new(Mfa { email_otp: EmailOtp { sends: 10, ..EmailOtp::default() }, ..Mfa::default() });
    let (_, phone, _) = kernel.enrolled();
    let mut guesses = 0;
    loop {
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        let wrong = post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session);
        if kernel.send(&wrong).problem == "locked" {
            break;
        }
        guesses += 1;
        let sent = kernel.send(&post("/otp/send", json!({})).by(&session));
        if sent.status == 202 {
            let code = kernel.messages.last().unwrap().fields["code"].clone();
            assert_eq!(try_code(&mut kernel, &session, &code).status, 200);
        }
    }
    assert_eq!(guesses, 5);
}

/// An application may have had a one-time password proven elsewhere, and say so in our words.
#[test]
fn a_code_by_mail_borrows_no_name_from_the_first_factor() {
    for (first, barred) in [("hwk", false), ("otp", true), ("recovery", true)] {
        let mut kernel = Kernel::new(Mfa::default());
        kernel.enrolled();
        let (_, session) = kernel.log_in_from("", ANN, SessionMode::Cookie, &["pwd", first]);
        let sent = kernel.send(&post("/otp/send", json!({})).by(&session));
        assert_eq!(sent.problem == "forbidden", barred, "{first}: {sent:?}");
    }
}
