//! People: accounts, their authenticators, and every state that a test may want them in.
use crate::{Client, Host, Mail, Reply, totp};
use serde_json::{Value, json};
use std::time::Duration;

/// The password of every [`user_fixture`](Host::user_fixture).
pub const PASSWORD: &str = "correct horse battery staple";

/// An account, and what its owner knows and has.
#[derive(Debug, Clone, Default)]
pub struct User {
    /// The account's id.
    pub id: String,
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The key in the authenticator app (base32), once there is one.
    pub secret: Option<String>,
    /// The recovery codes that were shown last.
    pub recovery_codes: Vec<String>,
}

impl User {
    /// The body of `POST /login`.
    pub fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": self.password })
    }
    /// The key in the authenticator app.
    ///
    /// # Panics
    /// Before [`Host::setup_totp`].
    #[track_caller]
    pub fn secret(&self) -> &str {
        self.secret.as_deref().expect("a user with an authenticator")
    }
}

impl Host {
    /// An account with the role `user` and no second factor, whose address counts as its owner's. It is made on the command line, so `registration`
    /// may be whatever it is.
    #[track_caller]
    pub fn user_fixture(&self, email: &str) -> User {
        self.user_with_role(email, "user")
    }
    /// An account with that role and no second factor.
    #[track_caller]
    pub fn user_with_role(&self, email: &str, role: &str) -> User {
        let words = ["user", "add", email, "--role", role, "--password-stdin"];
        let made = self.site().json(&words, PASSWORD);
        User {
            id: made["id"].as_str().expect("an id").to_owned(),
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            ..User::default()
        }
    }

    /// Signs up, as a stranger does, where `registration` is open. Nobody has proven the address. Answers the
    /// browser too, which is signed in by it.
    #[track_caller]
    pub fn registered(&self, email: &str) -> (Client, User) {
        let mut browser = self.browser();
        let user = User { email: email.into(), password: PASSWORD.into(), ..User::default() };
        let made = browser.ask("POST /register", user.credentials()).expect(201);
        let id = made["user"]["id"].as_str().expect("an id").to_owned();
        (browser, User { id, ..user })
    }

    /// Signs in, in a new browser, with every factor there is.
    #[track_caller]
    pub fn signed_in(&self, user: &User) -> Client {
        let mut browser = self.browser();
        if browser.ask("POST /login", user.credentials()).status == 202 {
            self.complete_mfa(&mut browser, user);
        }
        assert_eq!(browser.ask("GET /session", Value::Null).status, 200, "{} can sign in", user.email);
        browser
    }
    /// Gives an account without a second factor one, with recovery codes. Answers the browser that did it, whose
    /// second factor counts as proven just now.
    #[track_caller]
    pub fn setup_totp(&self, user: &mut User) -> Client {
        let mut browser = self.signed_in(user);
        self.setup_totp_in(&mut browser, user);
        browser
    }
    /// The same in a browser that is signed in already.
    #[track_caller]
    pub fn setup_totp_in(&self, browser: &mut Client, user: &mut User) {
        let begun = browser.ask("POST /mfa/totp/enroll", json!({ "label": "phone" })).expect(201);
        user.secret = begun["secret"].as_str().map(str::to_owned);
        let code = self.generate_totp_code(user);
        let proof = json!({ "code": code, "enrollment": begun["enrollment"] });
        let activated = browser.ask("POST /mfa/totp/verify", proof).expect(200);
        user.recovery_codes = texts(&activated["recovery_codes"]);
    }
    /// What the user's app shows. The clock moves on by thirty seconds first, since no code is good twice.
    #[track_caller]
    pub fn generate_totp_code(&self, user: &User) -> String {
        self.site().clock().advance(Duration::from_secs(totp::STEP));
        self.shown_code(user)
    }
    /// What the user's app shows at this moment.
    #[track_caller]
    pub fn shown_code(&self, user: &User) -> String {
        totp::code(user.secret(), self.site().clock().now()).expect("a key in base32")
    }
    /// Six digits that the user's app shows neither now nor in the minutes around it.
    #[track_caller]
    pub fn generate_wrong_code(&self, user: &User) -> String {
        let now = self.site().clock().now();
        let near = (0..=8).map(|step| now - 4 * totp::STEP + step * totp::STEP);
        let shown: Vec<String> =
            near.map(|at| totp::code(user.secret(), at).expect("a key in base32")).collect();
        let mut codes = (0..1_000_000).map(|code| format!("{code:06}"));
        codes.find(|code| !shown.contains(code)).expect("a million codes")
    }
    /// Replaces the recovery codes; answers the new ones.
    #[track_caller]
    pub fn create_recovery_codes(&self, user: &mut User) -> Vec<String> {
        let mut browser = self.signed_in(user);
        let made = browser.ask("POST /mfa/recovery/generate", json!({})).expect(200);
        user.recovery_codes = texts(&made["recovery_codes"]);
        user.recovery_codes.clone()
    }

    /// A browser that has shown the password, and waits for the second factor.
    #[track_caller]
    pub fn mfa_pending_session(&self, user: &User) -> Client {
        let mut browser = self.browser();
        browser.ask("POST /login", user.credentials()).expect(202);
        browser
    }
    /// The challenge of a program that has shown the password: the second factor is verified with it.
    #[track_caller]
    pub fn mfa_pending_challenge(&self, user: &User) -> String {
        let mut credentials = user.credentials();
        credentials["session"] = "bearer".into();
        let answer = self.program().ask("POST /login", credentials).expect(202);
        answer["challenge"].as_str().expect("a challenge").to_owned()
    }
    /// Shows the second factor to a browser that waits for it. In one that is signed in it is a step-up.
    #[track_caller]
    pub fn complete_mfa(&self, browser: &mut Client, user: &User) -> Value {
        let proof = json!({ "code": self.generate_totp_code(user) });
        browser.ask("POST /mfa/totp/verify", proof).expect(200)
    }
    /// Signs in, in a new browser, and has it trusted.
    #[track_caller]
    pub fn trust_browser(&self, user: &User) -> Client {
        let mut browser = self.mfa_pending_session(user);
        let proof = json!({ "code": self.generate_totp_code(user), "trust_browser": true });
        browser.ask("POST /mfa/totp/verify", proof).expect(200);
        browser
    }
    /// Guesses wrong until the account's second factor is locked; answers the refusal that says until when.
    #[track_caller]
    pub fn simulate_lockout(&self, user: &User) -> Reply {
        let mut guesser = self.mfa_pending_session(user);
        let wrong = json!({ "code": self.generate_wrong_code(user) });
        for _ in 0..100 {
            let reply = guesser.ask("POST /mfa/totp/verify", wrong.clone());
            if reply.status == 429 {
                return reply;
            }
            reply.refused(401, "invalid-code");
        }
        panic!("a hundred wrong guesses, and no lock");
    }

    /// Takes the oldest mail to a user, and waits for one if there is none yet.
    #[track_caller]
    pub fn captured_mail(&self, user: &User) -> Mail {
        self.site().mailbox().take(&user.email)
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
