//! An authenticator app, and the steps that most tests begin with.
use super::kernel::{ANN, Kernel, Reply, post};
use countersign_plugin_api::{SessionMode, Time};
use serde_json::{Value, json};

/// An app that has scanned one URI; it shares no code with the plugin.
pub(super) struct Phone(totp_rs::Totp);

impl Phone {
    pub(super) fn scan(uri: &str) -> Self {
        Self(totp_rs::Totp::from_url(uri).unwrap())
    }
    /// What it shows at that time.
    pub(super) fn code(&self, wall: Time) -> String {
        self.0.generate(wall.secs()).to_string()
    }
    /// What it showed, or will show, some steps off.
    pub(super) fn code_off(&self, wall: Time, steps: i64) -> String {
        self.0.generate(wall.secs().checked_add_signed(steps * 30).unwrap()).to_string()
    }
    /// Six digits that are not those of any step near that time.
    pub(super) fn wrong(&self, wall: Time) -> String {
        let near: Vec<String> = (-3..=3).map(|steps| self.code_off(wall, steps)).collect();
        let other = |code: &String| !near.contains(code);
        (0..10).map(|digit| digit.to_string().repeat(6)).find(other).unwrap()
    }
}

pub(super) fn verify(code: &str) -> Value {
    json!({ "code": code })
}

impl Kernel {
    /// Begins an enrolment; the app that scanned it, and its id.
    pub(super) fn begin(&mut self, session: &str) -> (Phone, String) {
        let reply = self.send(&post("/totp/enroll", json!({})).by(session));
        assert_eq!(reply.status, 201, "{reply:?}");
        (Phone::scan(&reply.text("otpauth_uri")), reply.text("enrollment"))
    }

    pub(super) fn activate(&mut self, session: &str, id: &str, code: &str) -> Reply {
        self.send(&post("/totp/verify", json!({ "code": code, "enrollment": id })).by(session))
    }

    /// Enrols a factor to the end, and lets time pass until the app shows an unspent code.
    pub(super) fn enrol(&mut self, session: &str) -> (Phone, Reply) {
        let (phone, id) = self.begin(session);
        let reply = self.activate(session, &id, &phone.code(self.wall));
        assert_eq!(reply.status, 200, "{reply:?}");
        self.pass(60);
        (phone, reply)
    }

    /// Ann with one factor, told of it, and signed in: session, app, recovery codes.
    pub(super) fn enrolled(&mut self) -> (String, Phone, Vec<String>) {
        let session = self.sign_in(ANN);
        let (phone, reply) = self.enrol(&session);
        let codes = reply.body["recovery_codes"].as_array().expect("codes with the first factor");
        let codes = codes.iter().map(|code| code.as_str().unwrap().into()).collect();
        self.messages.clear();
        (session, phone, codes)
    }

    /// A login in cookie mode, completed with a code.
    pub(super) fn log_in_with(&mut self, code: &str) -> Reply {
        let (_, session) = self.challenged(SessionMode::Cookie);
        self.send(&post("/totp/verify", verify(code)).by(&session))
    }

    /// Has a code sent to Ann for a pending session.
    pub(super) fn mail(&mut self, session: &str) -> String {
        let reply = self.send(&post("/otp/send", json!({})).by(session));
        assert_eq!(reply.status, 202, "{reply:?}");
        let message = self.messages.last().expect("a message");
        assert_eq!(message.template, "email-code");
        message.fields["code"].clone()
    }
}
