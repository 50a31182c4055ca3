//! One budget for an account, whatever is guessed and wherever (R22): five wrong guesses anywhere lock everywhere.
use crate::Stage;
use countersign_test_kit::totp;
use countersign_tests::{Client, PASSWORD, Reply, User};
use serde_json::{Value, json};

/// Everything that checks a second factor, ready to be asked with an answer that is right.
struct Doors {
    user: User,
    stepping: Client,
    enrolment: Value,
    enrolment_key: String,
    waiting: Client,
    mailed: String,
}

const DOORS: [&str; 6] = [
    "a login with an app",
    "a login with a recovery code",
    "a login with a code by mail",
    "a step-up with an app",
    "a step-up with a recovery code",
    "an activation",
];

impl Doors {
    fn new(stage: &Stage) -> Self {
        let (mut stepping, user) = stage.enrolled();
        let begun = stepping.ask("POST /mfa/totp/enroll", json!({})).expect(201);
        let mut waiting = stage.mfa_pending_session(&user);
        waiting.ask("POST /mfa/otp/send", json!({})).expect(202);
        let mailed = stage.mailed_code(&user.email);
        let enrolment_key = begun["secret"].as_str().expect("a key").to_owned();
        Self { user, stepping, enrolment: begun["enrollment"].clone(), enrolment_key, waiting, mailed }
    }

    fn knock(&mut self, stage: &Stage, door: &str, right: bool) -> Reply {
        let wrong_app = stage.generate_wrong_code(&self.user);
        let app = if right { stage.generate_totp_code(&self.user) } else { wrong_app.clone() };
        let recovery = if right { &self.user.recovery_codes[0] } else { "0000-0000-0000-0000" };
        // One code has five tries of its own, and a challenge too: neither is what locks here.
        let mailed = if right { self.mailed.clone() } else { other(&self.mailed) };
        let activation = if right {
            totp::code(&self.enrolment_key, stage.site().clock().now()).expect("a code")
        } else {
            wrong_app
        };
        match door {
            "a login with an app" => self.waiting.ask("POST /mfa/totp/verify", json!({ "code": app })),
            "a login with a recovery code" => {
                self.waiting.ask("POST /mfa/recovery/verify", json!({ "code": recovery }))
            }
            "a login with a code by mail" => {
                self.waiting.ask("POST /mfa/otp/verify", json!({ "code": mailed }))
            }
            "a step-up with an app" => self.stepping.ask("POST /mfa/totp/verify", json!({ "code": app })),
            "a step-up with a recovery code" => {
                self.stepping.ask("POST /mfa/recovery/verify", json!({ "code": recovery }))
            }
            _ => {
                let body = json!({ "code": activation, "enrollment": self.enrolment });
                self.stepping.ask("POST /mfa/totp/verify", body)
            }
        }
    }
}

fn other(code: &str) -> String {
    if code == "000000" { "000001".into() } else { "000000".into() }
}

#[test]
fn five_wrong_guesses_anywhere_lock_everywhere() {
    let stage = Stage::new();
    for guessed in DOORS {
        let mut doors = Doors::new(&stage);
        for _ in 0..5 {
            doors.knock(&stage, guessed, false).refused(401, "invalid-code");
        }
        let mut bodies = Vec::new();
        for door in DOORS {
            for right in [true, false] {
                let reply = doors.knock(&stage, door, right);
                assert_eq!(reply.status, 429, "{guessed}, then {door}: {}", reply.text());
                reply.refused(429, "locked");
                let mut body = reply.json();
                // It counts down while the clock is moved from code to code.
                body["retry_after"] = 0.into();
                bodies.push(body);
            }
        }
        assert!(bodies.windows(2).all(|two| two[0] == two[1]), "right and wrong are answered alike");
        // A new challenge is no new budget, and the lock does not show before the second factor.
        let mut fresh = stage.mfa_pending_session(&doors.user);
        fresh.ask("POST /mfa/totp/verify", stage.right(&doors.user)).refused(429, "locked");
        fresh.ask("POST /mfa/otp/send", json!({})).refused(429, "locked");
    }
}

#[test]
fn guesses_of_different_kinds_add_up() {
    let stage = Stage::new();
    let mut doors = Doors::new(&stage);
    for door in [
        "a login with an app",
        "a step-up with a recovery code",
        "an activation",
        "a login with a code by mail",
    ] {
        doors.knock(&stage, door, false).refused(401, "invalid-code");
    }
    // A password, right or wrong, is another class and changes nothing about this one.
    stage.mfa_pending_session(&doors.user);
    doors.stepping.ask("POST /reauthenticate", json!({ "password": PASSWORD })).expect(200);
    doors.knock(&stage, "a step-up with an app", false).refused(401, "invalid-code");
    doors.knock(&stage, "a step-up with an app", true).refused(429, "locked");
}

/// Tries during a lock neither help nor extend it; each lock is twice as long as the one before (R16, R20).
#[test]
fn a_lock_ends_when_it_said_and_the_next_is_twice_as_long() {
    let stage = Stage::new();
    let (_, user) = stage.enrolled();
    for minutes in [15, 30] {
        let refused = stage.simulate_lockout(&user);
        let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
        assert!((minutes * 60 - 5..=minutes * 60).contains(&wait), "{wait} of {minutes} minutes");
        let mut hammering = stage.mfa_pending_session(&user);
        let (right, wrong) = (json!({ "code": stage.shown_code(&user) }), stage.wrong(&user));
        for n in 0..50 {
            let guess = if n % 2 == 0 { &right } else { &wrong };
            hammering.ask("POST /mfa/totp/verify", guess).refused(429, "locked");
        }
        stage.later(wait - 5);
        let mut early = stage.mfa_pending_session(&user);
        let code = json!({ "code": stage.shown_code(&user) });
        early.ask("POST /mfa/totp/verify", code).refused(429, "locked");
        stage.later(6);
    }
    // The owner is told (R23).
    stage.mail(&user.email, "locked");
    stage.signed_in(&user);
    // A success forgives: the first lock is the short one again.
    let wait = stage.simulate_lockout(&user).json()["retry_after"].as_u64().expect("seconds");
    assert!(wait <= 900, "{wait}");
}

/// The password's class: five wrong ones anywhere in a browser lock wherever it is asked for one.
#[test]
fn five_wrong_passwords_anywhere_lock_every_password() {
    let stage = Stage::new();
    let knock = |client: &mut Client, user: &User, door: &str, password: &str| match door {
        "POST /login" => client.ask(door, json!({ "email": user.email, "password": password })),
        "POST /reauthenticate" => client.ask(door, json!({ "password": password })),
        _ => client.ask(
            "POST /password/change",
            json!({ "current_password": password, "new_password": "staple battery horse correct" }),
        ),
    };
    let doors = ["POST /login", "POST /reauthenticate", "POST /password/change"];
    for guessed in doors {
        let (mut client, user) = stage.somebody();
        for _ in 0..5 {
            knock(&mut client, &user, guessed, "wrong").refused(401, "invalid-credentials");
        }
        for door in doors {
            for password in [PASSWORD, "wrong"] {
                knock(&mut client, &user, door, password).refused(429, "locked");
            }
        }
        stage.later(901);
        knock(&mut client, &user, "POST /login", PASSWORD).expect(200);
    }
}

/// Names that nobody has are counted together, and each by itself: else a stranger would lock what is counted together, and whoever
/// is not locked then would be somebody (R44).
#[test]
fn a_lock_of_names_that_nobody_has_locks_no_other_name() {
    let stage = Stage::new();
    let (_, user) = stage.somebody();
    let mut client = stage.browser();
    let mut knock = |email: &str| client.ask("POST /login", json!({ "email": email, "password": "wrong" }));
    // Of 4096 places 100 hold a lock: of 200 names five stand in such a one.
    for n in 0..100 {
        let name = format!("locked-{n}@example.org");
        for _ in 0..5 {
            knock(&name).refused(401, "invalid-credentials");
        }
        knock(&name).refused(429, "locked");
    }
    for n in 0..200 {
        knock(&format!("fresh-{n}@example.org")).refused(401, "invalid-credentials");
    }
    knock(&user.email).refused(401, "invalid-credentials");
}
