//! What administrators do to accounts.
use super::{
    kernel::{ANN, Kernel, get, post},
    phone::{Phone, verify},
};
use crate::config::{Lockout, Mfa, Require};
use countersign_plugin_api::{SessionMode, Verdict};
use serde_json::{Value, json};

const URI: &str = "otpauth://totp/Acme:ann@example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme\
                   &algorithm=SHA1&digits=6&period=30";

fn ann() -> Value {
    json!({ "subject": ANN })
}

fn import(kernel: &mut Kernel, uri: &str) -> super::kernel::Reply {
    kernel.operate("import", &json!({"subject": ANN, "uri": uri}))
}

#[test]
fn status_of_an_account_shows_all_but_the_secrets() {
    let mut kernel = Kernel::new(Mfa { require: Require::All, ..Mfa::default() });
    assert_eq!(
        kernel.operate("status", &ann()).body,
        json!({
            "enabled": false, "required": true, "factors": [], "recovery_codes_remaining": 0,
            "recovery_codes_low": false, "failures": 0, "locked_until": null, "stopped": false,
            "trusted_browsers": [],
        })
    );
    let (session, phone, codes) = kernel.enrolled();
    let (_, pending) = kernel.log_in_from("Laptop", ANN, SessionMode::Cookie, &["pwd"]);
    let body = json!({"code": phone.code(kernel.wall), "trust_browser": true});
    kernel.send(&post("/totp/verify", body).by(&pending).in_browser("Laptop"));
    for _ in 0..5 {
        kernel.log_in_with(&phone.wrong(kernel.wall));
    }
    let status = kernel.operate("status", &ann()).body;
    assert_eq!((&status["failures"], &status["stopped"]), (&json!(5), &json!(false)));
    let until = kernel.now + std::time::Duration::from_mins(15);
    assert_eq!(status["locked_until"], until.to_string());
    assert_eq!(status["trusted_browsers"][0]["label"], "Laptop");
    let own = kernel.send(&get("/status").by(&session)).body;
    for (key, value) in own.as_object().unwrap() {
        assert_eq!(&status[key], value, "{key}");
    }
    assert!(!codes.iter().any(|code| status.to_string().contains(code)));
    kernel.pass(900);
    assert_eq!(kernel.operate("status", &ann()).body["locked_until"], Value::Null);
    assert!(kernel.records.len() == 1 && kernel.audit.iter().all(|event| event.name != "status"));
}

#[test]
fn of_nobody_nothing_is_known() {
    let mut kernel = Kernel::new(Mfa::default());
    for name in ["status", "reset", "unlock", "password.reset-by-mail"] {
        let reply = kernel.operate(name, &json!({"subject": "nobody"}));
        assert_eq!((reply.status, reply.problem), (404, "not-found"), "{name}");
    }
    let body = json!({"subject": "nobody", "uri": URI});
    assert_eq!(kernel.operate("import", &body).problem, "not-found");
    assert_eq!(kernel.operate("reset", &json!({"subject": ANN, "all": true})).problem, "malformed");
}

#[test]
fn a_reset_removes_all_and_ends_all() {
    let mut kernel = Kernel::new(Mfa::default());
    let (session, _, _) = kernel.enrolled();
    let factor = kernel.state(ANN).factors[0].id.to_string();
    let (token, pending) = kernel.challenged(SessionMode::Bearer);
    assert_eq!(kernel.operate("reset", &ann()).status, 204);
    assert!(kernel.records.is_empty());
    assert!(kernel.caller(&session).is_none() && kernel.caller(&pending).is_none());
    let event = kernel.audit.last().unwrap();
    assert_eq!((event.name.as_str(), &event.fields["factors"]), ("reset", &factor));
    let told = kernel.messages.last().unwrap();
    assert_eq!((told.template.as_str(), told.to.as_str(), told.notice), ("mfa-reset", ANN, true));
    let ask = get("/challenge/status").about(&token);
    assert_eq!(kernel.send(&ask).text("status"), "expired");
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);
    assert_eq!(kernel.operate("reset", &ann()).status, 204, "nothing is left, and it is done all the same");
}

#[test]
fn unlocking_lifts_locks_and_the_hard_stop() {
    let lockout = Lockout { threshold: 100, ..Lockout::default() };
    for config in [Mfa::default(), Mfa { lockout, ..Mfa::default() }] {
        let guesses = config.lockout.threshold;
        let mut kernel = Kernel::new(config);
        let (session, phone, _) = kernel.enrolled();
        assert_eq!(kernel.operate("unlock", &ann()).status, 204);
        assert_ne!(kernel.audit.last().unwrap().name, "unlocked", "nothing was locked");
        for _ in 0..guesses {
            kernel.send(&post("/totp/verify", verify(&phone.wrong(kernel.wall))).by(&session));
        }
        let stopped = kernel.operate("status", &ann()).body["stopped"].clone();
        assert_eq!(stopped, guesses == 100);
        assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");
        assert_eq!(kernel.operate("unlock", &ann()).status, 204);
        assert_eq!(kernel.audit.last().unwrap().name, "unlocked");
        assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200);
        assert!(kernel.caller(&session).is_some(), "no session ends");
    }
}

#[test]
fn what_is_forgotten_is_gone_even_when_the_account_is() {
    let mut kernel = Kernel::new(Mfa::default());
    kernel.enrolled();
    kernel.send(&post("/magic-link/send", json!({"email": "ann@example.org"})));
    assert_eq!(kernel.records.len(), 2);
    let account = kernel.subjects.remove(ANN).unwrap();
    assert_eq!(kernel.operate("forget", &ann()).status, 204);
    assert!(kernel.records.is_empty());
    assert_eq!(kernel.audit.last().unwrap().name, "forgotten");
    assert_eq!(kernel.operate("forget", &ann()).status, 204);
    kernel.subjects.insert(ANN.into(), account);
    assert_eq!(kernel.log_in(ANN, SessionMode::Cookie).0, Verdict::Proceed);
}

#[test]
fn after_a_reset_by_mail_no_code_is_sent_until_a_factor_was_proven() {
    type Prove = fn(&mut Kernel, &str, &Phone, &str);
    let proofs: [Prove; 2] = [
        |kernel, session, phone, _| {
            let code = verify(&phone.code(kernel.wall));
            assert_eq!(kernel.send(&post("/totp/verify", code).by(session)).status, 200);
        },
        |kernel, session, _, recovery| {
            assert_eq!(kernel.send(&post("/recovery/verify", verify(recovery)).by(session)).status, 200);
        },
    ];
    for prove in proofs {
        let mut kernel = Kernel::new(Mfa::default());
        let (_, phone, codes) = kernel.enrolled();
        let (_, before) = kernel.challenged(SessionMode::Cookie);
        let code = kernel.mail(&before);
        assert_eq!(kernel.operate("password.reset-by-mail", &ann()).status, 204);
        // Also where the host has not ended that login: the code is as much of the mailbox as the password.
        assert_eq!(kernel.send(&post("/otp/verify", verify(&code)).by(&before)).problem, "forbidden");

        let (verdict, session) = kernel.log_in(ANN, SessionMode::Cookie);
        assert!(format!("{verdict:?}").contains(r#"methods: ["totp", "recovery"]"#), "{verdict:?}");
        for ask in [post("/otp/send", json!({})), post("/otp/verify", verify("123456"))] {
            assert_eq!(kernel.send(&ask.by(&session)).problem, "forbidden");
        }
        let wrong = verify(&phone.wrong(kernel.wall));
        kernel.send(&post("/totp/verify", wrong).by(&session));
        assert!(kernel.state(ANN).reset_by_mail);
        prove(&mut kernel, &session, &phone, &codes[0]);
        let late = post("/otp/verify", verify(&code)).by(&before);
        assert_eq!(kernel.send(&late).problem, "invalid-code", "nor is an old code good again then");
        let (_, session) = kernel.challenged(SessionMode::Cookie);
        kernel.mail(&session);
    }
}

/// Whoever reads the mailbox has set a password. The owner, who does not know that it is another, comes in by a link and the app.
#[test]
fn a_factor_shown_after_a_link_vouches_for_no_password() {
    let mut kernel = Kernel::new(Mfa::default());
    let (_, phone, codes) = kernel.enrolled();
    assert_eq!(kernel.operate("password.reset-by-mail", &ann()).status, 204);
    let proofs = [("/totp/verify", phone.code(kernel.wall)), ("/recovery/verify", codes[0].clone())];
    for (path, code) in proofs {
        let (_, session) = kernel.log_in_from("", ANN, SessionMode::Cookie, &["email"]);
        assert_eq!(kernel.send(&post(path, verify(&code)).by(&session)).status, 200, "{path}");
        assert!(kernel.state(ANN).reset_by_mail, "{path}");
        // Nor does a step-up of that session.
        kernel.pass(60);
        let again = post("/totp/verify", verify(&phone.code(kernel.wall)));
        assert_eq!(kernel.send(&again.by(&session)).status, 200);
        assert!(kernel.state(ANN).reset_by_mail, "{path}");
        kernel.pass(60);
    }
    let (_, session) = kernel.log_in(ANN, SessionMode::Cookie);
    assert_eq!(kernel.send(&post("/otp/send", json!({})).by(&session)).problem, "forbidden");
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).status, 200);
    assert!(!kernel.state(ANN).reset_by_mail, "password and app");
}

#[test]
fn a_reset_by_mail_is_remembered_for_a_factor_that_comes_later() {
    type Come = fn(&mut Kernel);
    let ways: [Come; 2] = [
        |_| {},
        |kernel| {
            kernel.enrolled();
            kernel.operate("password.reset-by-mail", &ann());
            assert_eq!(kernel.operate("reset", &ann()).status, 204);
        },
    ];
    for before in ways {
        let mut kernel = Kernel::new(Mfa::default());
        kernel.sign_in(ANN);
        before(&mut kernel);
        assert_eq!(kernel.operate("password.reset-by-mail", &ann()).status, 204);
        kernel.pass(400 * 24 * 3600);
        assert_eq!(import(&mut kernel, URI).status, 201);
        let (verdict, session) = kernel.log_in(ANN, SessionMode::Cookie);
        assert!(format!("{verdict:?}").contains(r#"methods: ["totp"]"#), "{verdict:?}");
        assert_eq!(kernel.send(&post("/otp/send", json!({})).by(&session)).problem, "forbidden");
    }
}

#[test]
fn an_imported_factor_is_as_good_as_any_and_what_it_showed_before_is_spent() {
    for skew_steps in [0, 1] {
        let mut kernel = Kernel::new(Mfa { totp: crate::config::Totp { skew_steps }, ..Mfa::default() });
        let session = kernel.sign_in(ANN);
        let reply = import(&mut kernel, URI);
        assert_eq!((reply.status, &reply.body["factor"]["label"]), (201, &json!("Acme")));
        assert!(kernel.caller(&session).is_none(), "a credential event");
        let event = kernel.audit.last().unwrap();
        assert_eq!((event.name.as_str(), event.subject.as_str()), ("totp.imported", ANN));
        assert_eq!(event.fields["factor"], reply.body["factor"]["id"]);
        let told = kernel.messages.last().unwrap();
        assert_eq!((told.template.as_str(), told.fields["label"].as_str()), ("totp-added", "Acme"));

        let phone = Phone::scan(URI);
        for offset in -1..=i64::try_from(skew_steps).unwrap() {
            assert_eq!(
                kernel.log_in_with(&phone.code_off(kernel.wall, offset)).problem,
                "invalid-code",
                "{offset}"
            );
        }
        kernel.pass(30 * (skew_steps + 1));
        assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).status, 200, "{skew_steps}");
    }
}

#[test]
fn what_cannot_be_imported_changes_nothing() {
    let mut kernel = Kernel::new(Mfa::default());
    let refused = import(&mut kernel, &URI.replace("digits=6", "digits=8"));
    assert_eq!((refused.status, refused.problem), (400, "malformed"));
    assert!(refused.body.as_str().unwrap().contains("6 digits"), "{refused:?}");
    let body = json!({"subject": ANN, "uri": URI, "label": "two\nlines"});
    assert_eq!(kernel.operate("import", &body).problem, "malformed");
    assert!(kernel.records.is_empty() && kernel.audit.is_empty() && kernel.messages.is_empty());

    let body = json!({"subject": ANN, "uri": URI, "label": "Old phone", "quiet": true});
    assert_eq!(kernel.operate("import", &body).body["factor"]["label"], "Old phone");
    assert!(kernel.messages.is_empty(), "quietly");
    let before = (kernel.audit.len(), kernel.state(ANN).factors[0].created_at);
    let twice = import(&mut kernel, URI);
    assert_eq!((twice.status, &twice.body["added"]), (200, &json!(false)), "whoever imports a file again");
    assert_eq!((kernel.audit.len(), kernel.state(ANN).factors[0].created_at), before);

    for letter in "BCDEFHIJKLM".chars() {
        import(&mut kernel, &URI.replace("=GEZ", &format!("={letter}EZ")));
    }
    assert_eq!(kernel.state(ANN).factors.len(), 10);
    assert_eq!(import(&mut kernel, &URI.replace("=GEZ", "=NEZ")).problem, "conflict");
}
