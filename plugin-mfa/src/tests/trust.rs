//! Trusted browsers: what trust spares, how it ends, and what it is never given for.
use super::{
    kernel::{ANN, Ask, Kernel, Reply, delete, get, post},
    phone::{Phone, verify},
};
use crate::config::{Mfa, Require};
use countersign_plugin_api::{SessionKind, SessionMode, Time, Verdict};
use serde_json::json;
use std::time::Duration;

const LAPTOP: &str = "Laptop";
const DAY: u64 = 86_400;

fn kernel() -> Kernel {
    Kernel::new(Mfa::default())
}

/// A login from a browser that asks to be trusted.
fn trust(kernel: &mut Kernel, phone: &Phone, browser: &'static str) -> String {
    let (_, session) = kernel.log_in_from(browser, ANN, SessionMode::Cookie, &["pwd"]);
    let body = json!({"code": phone.code(kernel.wall), "trust_browser": true});
    let reply = kernel.send(&post("/totp/verify", body).by(&session).in_browser(browser));
    assert_eq!(reply.status, 200, "{reply:?}");
    kernel.pass(30);
    session
}

fn proceeds(kernel: &mut Kernel, browser: &'static str) -> bool {
    kernel.log_in_from(browser, ANN, SessionMode::Cookie, &["pwd"]).0 == Verdict::Proceed
}

fn cookie(kernel: &Kernel, browser: &str) -> Option<(String, Time)> {
    kernel.cookies.get(&(browser.to_owned(), "trust".to_owned())).cloned()
}

#[test]
fn the_next_login_by_password_meets_no_challenge() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let first = trust(&mut kernel, &phone, LAPTOP);
    let event = kernel.audit.last().unwrap();
    let browser = kernel.state(ANN).trusted[0].clone();
    assert_eq!(
        (event.name.as_str(), &event.fields["trusted_browser"]),
        ("totp.verified", &browser.id.to_string())
    );
    let message = kernel.messages.last().unwrap();
    assert_eq!((message.template.as_str(), message.fields["label"].as_str()), ("browser-trusted", LAPTOP));

    let (verdict, session) = kernel.log_in_from(LAPTOP, ANN, SessionMode::Cookie, &["pwd"]);
    assert_eq!(verdict, Verdict::Proceed);
    assert_eq!(kernel.audit.last().unwrap().name, "trust.used");
    assert!(!proceeds(&mut kernel, "Phone"), "another browser");
    // It is no second factor: nothing is changed by it.
    let standing = kernel.standing(&session).unwrap();
    assert!(standing.enrolled && !standing.stepped_up);
    assert_eq!(kernel.caller(&session).unwrap().session.mfa_verified_at, None);
    for path in ["/totp/enroll", "/totp/disable", "/recovery/generate"] {
        assert_eq!(kernel.send(&post(path, json!({})).by(&session)).problem, "step-up-required", "{path}");
    }
    assert_eq!(kernel.caller(&first).unwrap().session.kind, SessionKind::Standard);
}

#[test]
fn a_cookie_is_good_once_and_its_record_holds_no_secret() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    trust(&mut kernel, &phone, LAPTOP);
    let old = cookie(&kernel, LAPTOP).unwrap();
    assert_eq!(old.0.len(), 52, "256 bits");
    assert!(proceeds(&mut kernel, LAPTOP));
    let new = cookie(&kernel, LAPTOP).unwrap();
    assert_ne!(old.0, new.0);
    assert_eq!(kernel.state(ANN).trusted.len(), 1);
    kernel.cookies.insert(("Thief".into(), "trust".into()), old);
    assert!(!proceeds(&mut kernel, "Thief"));
    assert!(proceeds(&mut kernel, LAPTOP));
    for (_, value, _) in kernel.records.values() {
        assert!(!value.windows(new.0.len()).any(|bytes| bytes == new.0.as_bytes()));
    }
}

#[test]
fn it_ends_after_thirty_days_however_often_it_is_used() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    trust(&mut kernel, &phone, LAPTOP);
    let until = kernel.now + Duration::from_secs(30 * DAY - 30);
    assert_eq!(cookie(&kernel, LAPTOP).unwrap().1, until);
    for _ in 0..29 {
        kernel.pass(DAY);
        assert!(proceeds(&mut kernel, LAPTOP));
        assert_eq!(cookie(&kernel, LAPTOP).unwrap().1, until);
    }
    kernel.pass(DAY - 31);
    assert!(proceeds(&mut kernel, LAPTOP), "its last second");
    let (value, _) = cookie(&kernel, LAPTOP).unwrap();
    kernel.pass(1);
    assert!(!proceeds(&mut kernel, LAPTOP));
    // A browser that keeps its cookies longer is not believed.
    kernel.cookies.insert((LAPTOP.into(), "trust".into()), (value, Time::NEVER));
    kernel.pass(1);
    assert!(!proceeds(&mut kernel, LAPTOP));
}

#[test]
fn somebody_elses_cookie_and_a_changed_one() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    trust(&mut kernel, &phone, LAPTOP);
    kernel.add_subject("user-bob", "bob@example.org", "user");
    let bob = kernel.sign_in("user-bob");
    kernel.enrol(&bob);
    let (verdict, _) = kernel.log_in_from(LAPTOP, "user-bob", SessionMode::Cookie, &["pwd"]);
    assert!(matches!(verdict, Verdict::Challenge { .. }), "A's on B");

    let (value, until) = cookie(&kernel, LAPTOP).unwrap();
    let flipped: String = value
        .char_indices()
        .map(|(at, c)| if at == 9 { if c == '0' { '1' } else { '0' } } else { c })
        .collect();
    for wrong in [flipped, value[1..].into(), value.to_lowercase(), format!("{value}0"), String::new()] {
        kernel.cookies.insert((LAPTOP.into(), "trust".into()), (wrong.clone(), until));
        assert!(!proceeds(&mut kernel, LAPTOP), "{wrong}");
    }
    kernel.cookies.insert((LAPTOP.into(), "trust".into()), (value, until));
    assert!(proceeds(&mut kernel, LAPTOP));
}

#[test]
fn it_counts_after_a_password_only_and_in_a_browser_only() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    trust(&mut kernel, &phone, LAPTOP);
    let before = cookie(&kernel, LAPTOP);
    for (mode, amr) in [
        (SessionMode::Cookie, &["email"][..]),
        (SessionMode::Cookie, &["pwd", "email"]),
        (SessionMode::Cookie, &["fed"]),
        (SessionMode::Bearer, &["pwd"]),
    ] {
        let (verdict, _) = kernel.log_in_from(LAPTOP, ANN, mode, amr);
        assert!(matches!(verdict, Verdict::Challenge { .. }), "{amr:?}");
    }
    assert_eq!(cookie(&kernel, LAPTOP), before);
    assert!(proceeds(&mut kernel, LAPTOP));
}

#[test]
fn what_it_is_given_for() {
    let ask = |path, code: &str| post(path, json!({"code": code, "trust_browser": true})).in_browser(LAPTOP);
    // A code by mail after a password.
    let mut kernel = kernel();
    kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    assert_eq!(kernel.send(&ask("/otp/verify", &code).by(&session)).status, 200);
    assert!(proceeds(&mut kernel, LAPTOP));

    // The same where policy asks for an app.
    let mut kernel = Kernel::new(Mfa { require: Require::All, ..Mfa::default() });
    let (_, phone, _) = kernel.enrolled();
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let code = kernel.mail(&session);
    assert_eq!(kernel.send(&ask("/otp/verify", &code).by(&session)).status, 200);
    assert!(cookie(&kernel, LAPTOP).is_none() && kernel.state(ANN).trusted.is_empty(), "below policy");
    trust(&mut kernel, &phone, LAPTOP);
    assert!(proceeds(&mut kernel, LAPTOP));

    // Not: a step-up, a login by link, one in bearer mode, a wrong code.
    let mut kernel = Kernel::new(Mfa::default());
    let refused = |kernel: &Kernel| cookie(kernel, LAPTOP).is_none() && kernel.state(ANN).trusted.is_empty();
    let (standard, phone, codes) = kernel.enrolled();
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&ask("/totp/verify", &code).by(&standard)).status, 200);
    assert!(refused(&kernel), "step-up");
    kernel.pass(30);
    let (_, session) = kernel.log_in_from(LAPTOP, ANN, SessionMode::Cookie, &["email"]);
    let code = phone.code(kernel.wall);
    assert_eq!(kernel.send(&ask("/totp/verify", &code).by(&session)).status, 200);
    assert!(refused(&kernel), "link");
    kernel.pass(30);
    let (token, _) = kernel.challenged(SessionMode::Bearer);
    let body = json!({"code": phone.code(kernel.wall), "challenge": token, "trust_browser": true});
    assert_eq!(kernel.send(&post("/totp/verify", body).in_browser(LAPTOP)).status, 200);
    assert!(refused(&kernel), "bearer");
    let (_, session) = kernel.challenged(SessionMode::Cookie);
    let wrong = phone.wrong(kernel.wall);
    assert_eq!(kernel.send(&ask("/totp/verify", &wrong).by(&session)).status, 401);
    assert!(refused(&kernel), "wrong code");
    assert_eq!(kernel.send(&ask("/recovery/verify", &codes[0]).by(&session)).problem, "malformed");
}

#[test]
fn a_recovery_login_and_every_credential_event_end_it() {
    type End = fn(&mut Kernel, &str, &Phone, &[String]);
    let ends: [(&str, End); 4] = [
        ("recovery login", |kernel, _, _, codes| {
            let (_, session) = kernel.challenged(SessionMode::Cookie);
            kernel.send(&post("/recovery/verify", verify(&codes[0])).by(&session));
        }),
        ("a factor more", |kernel, session, _, _| {
            kernel.enrol(session);
        }),
        ("a factor less", |kernel, session, phone, _| {
            let (_, id) = kernel.begin(session);
            let added = kernel.state(ANN).enrolment.unwrap().id.to_string();
            assert_eq!(id, added);
            let code = verify(&phone.code(kernel.wall));
            kernel.send(&post("/totp/verify", code).by(session));
            let factor = kernel.state(ANN).factors[0].id.to_string();
            assert_eq!(
                kernel.send(&post("/totp/disable", json!({ "factor": factor })).by(session)).status,
                204
            );
            // Enrolled anew, or nothing would be asked for at all.
            kernel.enrol(session);
        }),
        ("a new password", |kernel, _, _, _| kernel.subjects.get_mut(ANN).unwrap().epoch += 1),
    ];
    for (name, end) in ends {
        let mut kernel = kernel();
        let (session, phone, codes) = kernel.enrolled();
        trust(&mut kernel, &phone, LAPTOP);
        assert!(proceeds(&mut kernel, LAPTOP));
        let held = cookie(&kernel, LAPTOP).unwrap();
        end(&mut kernel, &session, &phone, &codes);
        assert_eq!(cookie(&kernel, LAPTOP), Some(held), "the browser still has it");
        assert!(!proceeds(&mut kernel, LAPTOP), "{name}");
        assert!(kernel.state(ANN).trusted.is_empty(), "{name}: forgotten");
    }
}

#[test]
fn it_forgives_no_guess_and_passes_no_lock_of_the_factor() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    trust(&mut kernel, &phone, LAPTOP);
    for _ in 0..4 {
        kernel.log_in_with(&phone.wrong(kernel.wall));
    }
    assert!(proceeds(&mut kernel, LAPTOP));
    assert_eq!(kernel.log_in_with(&phone.wrong(kernel.wall)).problem, "invalid-code");
    assert_eq!(kernel.log_in_with(&phone.code(kernel.wall)).problem, "locked");
    let (_, session) = kernel.log_in_from(LAPTOP, ANN, SessionMode::Cookie, &["pwd"]);
    let code = verify(&phone.code(kernel.wall));
    assert_eq!(kernel.send(&post("/totp/verify", code).by(&session)).problem, "locked");
}

fn list(kernel: &mut Kernel, session: &str, browser: &'static str) -> Reply {
    kernel.send(&get("/trusted-browsers").by(session).in_browser(browser))
}

#[test]
fn they_are_listed_and_revoked_one_by_one() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let session = trust(&mut kernel, &phone, LAPTOP);
    trust(&mut kernel, &phone, "Tablet");
    let created = kernel.state(ANN).trusted[0].created_at;
    assert!(proceeds(&mut kernel, LAPTOP));
    let listed = list(&mut kernel, &session, LAPTOP);
    let browsers = listed.body["trusted_browsers"].as_array().unwrap().clone();
    assert_eq!(browsers.len(), 2);
    let id = browsers[0]["id"].as_str().unwrap();
    assert_eq!(
        browsers[0],
        json!({
            "id": id,
            "label": LAPTOP,
            "created_at": created.to_string(),
            "last_used_at": kernel.now.to_string(),
            "expires_at": (created + Duration::from_secs(30 * DAY)).to_string(),
            "current": true,
        })
    );
    assert_eq!((&browsers[1]["label"], &browsers[1]["current"]), (&json!("Tablet"), &json!(false)));

    let revoke =
        |id: &str, session: &str| delete(&format!("/trusted-browsers/{id}")).by(session).in_browser(LAPTOP);
    assert_eq!(kernel.send(&revoke("0123", &session)).problem, "not-found");
    let tablet = browsers[1]["id"].as_str().unwrap();
    assert_eq!(kernel.send(&revoke(tablet, &session)).status, 204);
    assert_eq!(kernel.audit.last().unwrap().name, "trust.revoked");
    assert_eq!(kernel.send(&revoke(tablet, &session)).problem, "not-found");
    assert!(!proceeds(&mut kernel, "Tablet"));
    assert!(proceeds(&mut kernel, LAPTOP), "the other one stays");
    assert_eq!(kernel.send(&revoke(id, &session)).status, 204);
    assert_eq!(cookie(&kernel, LAPTOP), Some((String::new(), kernel.now)), "its own cookie is taken away");
    assert!(!proceeds(&mut kernel, LAPTOP));
}

#[test]
fn all_at_once_and_only_ones_own() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let session = trust(&mut kernel, &phone, LAPTOP);
    trust(&mut kernel, &phone, "Tablet");
    kernel.add_subject("user-bob", "bob@example.org", "user");
    let bob = kernel.sign_in("user-bob");
    let anns = kernel.state(ANN).trusted[0].id;
    assert_eq!(kernel.send(&delete(&format!("/trusted-browsers/{anns}")).by(&bob)).problem, "not-found");
    assert_eq!(list(&mut kernel, &bob, LAPTOP).body, json!({"trusted_browsers": []}));
    assert_eq!(kernel.send(&delete("/trusted-browsers").by(&bob)).status, 204);
    assert_eq!(kernel.state(ANN).trusted.len(), 2);
    assert_eq!(kernel.send(&delete("/trusted-browsers").by(&session)).status, 204);
    assert!(!proceeds(&mut kernel, LAPTOP) && !proceeds(&mut kernel, "Tablet"));

    let (_, pending) = kernel.challenged(SessionMode::Cookie);
    let asks: [fn() -> Ask; 3] =
        [|| get("/trusted-browsers"), || delete("/trusted-browsers"), || delete("/trusted-browsers/x")];
    for ask in asks {
        assert_eq!(kernel.send(&ask().by(&pending)).problem, "mfa-required");
        assert_eq!(kernel.send(&ask()).problem, "session-required");
    }
}

#[test]
fn the_eleventh_ends_the_oldest() {
    let mut kernel = kernel();
    let (_, phone, _) = kernel.enrolled();
    let browsers = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    for browser in browsers {
        trust(&mut kernel, &phone, browser);
    }
    let kept: Vec<bool> = browsers.iter().map(|browser| proceeds(&mut kernel, browser)).collect();
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 10);
    assert!(!kept[0]);
}
