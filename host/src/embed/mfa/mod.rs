//! Second factors in process: a typed client of the operations that HTTP calls.
//!
//! It asks the very routes of plugin-mfa that a client would, with the same atomicity and on the same budget. What it does
//! not do is touch the application's session: where an answer has an [`Authentication`], its
//! [ticket](Authentication::ticket) is for the session to keep, under a new token.
//!
//! ```no_run
//! # use countersign_host::embed::{Authentication, Embedded};
//! # use countersign_plugin_api::{Refusal, Secret};
//! # async fn run(kernel: Embedded, own: Authentication, code: Secret<String>) -> Result<(), Refusal> {
//! let mfa = kernel.mfa()?;
//! let enrolment = mfa.enroll_totp(&own, "phone").await?;                         // async,
//! let activated = mfa.activate_totp(&own, &enrolment.id, &code).wait()?;         // or blocking
//! # drop(activated); Ok(())
//! # }
//! ```
//!
//! # Who acts
//!
//! What an account does to itself takes an [`Authentication`], which the kernel alone makes; completing a login takes
//! [`Acting`], that or the challenge of a program; what is done to others is done by an [`Admin`], who is named in
//! the audit record. No function takes an account's id for its owner's word.
//!
//! # What differs from the functions of the same names elsewhere
//!
//! `verify_totp` never activates: [`activate_totp`](Mfa::activate_totp) does. Enrolling leaves active factors alone. `record_failure`,
//! `is_locked` and `reset` concern the *password* of an address: a right password forgives nothing that was guessed at
//! the second factor, which only a proof of it, or an [`Admin`], does. Codes by mail go by the outbox, and no caller sees them.
mod acting;
mod admin;
mod answers;
mod ask;
mod operation;

pub use acting::Acting;
pub use admin::Admin;
pub use answers::{
    Activated, ChallengeStatus, Config, Enrolment, Factor, Link, Sent, Standing, Status, Verified,
};
pub use operation::Operation;

use super::{Authentication, Embedded, Entry, FirstFactor};
use crate::{
    accounts::Email,
    auth::Budget,
    kernel::{Call, HOST, Origin},
};
use acting::Proof;
use ask::{Asked, read};
use axum::http::request::Parts;
use countersign_plugin_api::{Event, Problem, Refusal, Secret, Time};
use serde_json::{Value, json};

/// The typed client. See the [module](self).
#[derive(Clone)]
pub struct Mfa {
    kernel: Embedded,
    plugin: String,
    origin: Origin,
    agent: Option<Vec<u8>>,
}

impl Mfa {
    pub(super) fn new(kernel: &Embedded) -> Result<Self, Refusal> {
        let none = || Refusal::new(Problem::PluginFault).because("no plugin gates logins");
        let plugin = kernel.inner().gate().ok_or_else(none)?.to_owned();
        Ok(Self { plugin, origin: Embedded::own_origin(), kernel: kernel.clone(), agent: None })
    }

    /// On behalf of a request: the audit record names its address, and a browser that the account knows has wrong
    /// passwords of its own.
    #[must_use]
    pub fn asked_by(self, request: &Parts) -> Self {
        let agent = request.headers.get("user-agent").map(|agent| agent.as_bytes().to_vec());
        Self { origin: self.kernel.origin(request), agent, ..self }
    }

    /// On behalf of an administrator, whom the audit record names as the actor. That it is one, and has proven a second
    /// factor of its own, is for the application to see to.
    pub fn admin(&self, actor: impl Into<String>) -> Admin {
        Admin::new(self, actor.into())
    }

    /// The settings in force.
    pub fn config(&self) -> Operation<Config> {
        self.operation("config", None, json!({}), read)
    }

    /// Whether a login of the account that has proven this meets a challenge.
    pub fn required(&self, first: &FirstFactor) -> Operation<bool> {
        let enabled = |status: Value| read::<Status>(status).map(|status| status.enabled);
        self.operation("status", None, json!({ "subject": first.account }), enabled)
    }

    /// What is set up for whoever is signed in.
    pub fn status(&self, own: &Authentication) -> Operation<Status> {
        self.route(Asked::get("/status"), Some(own.into()), |answer| read(answer.body))
    }

    /// What a login comes to whose first factor is proven: a challenge, where a factor is active.
    pub fn issue_challenge(&self, first: &FirstFactor) -> Operation<Entry> {
        let first = first.clone();
        self.entry(move |call| super::entry::enter(call, &first))
    }

    /// Whose login it is that waits, and how it stands.
    pub fn verify_challenge(&self, who: impl Into<Acting>) -> Operation<ChallengeStatus> {
        let (own, body) = who.into().split(json!({}));
        self.operation("challenge.verify", own, body, read)
    }

    /// Gives a login up that waits.
    pub fn cancel_challenge(&self, who: impl Into<Acting>) -> Operation<()> {
        self.route(Asked::post("/challenge/cancel", json!({})), Some(who.into()), |_| Ok(()))
    }

    /// Draws a key for an authenticator app. Takes a fresh proof (`step_up_window`).
    pub fn enroll_totp(&self, own: &Authentication, label: &str) -> Operation<Enrolment> {
        let asked = Asked::post("/totp/enroll", json!({ "label": label }));
        self.route(asked, Some(own.into()), |answer| read(answer.body))
    }

    /// Makes the enrolled factor active: its code proves that the app has the key.
    pub fn activate_totp(
        &self,
        own: &Authentication,
        enrolment: &str,
        code: &Secret<String>,
    ) -> Operation<Activated> {
        let asked = Asked::post("/totp/verify", json!({ "enrollment": enrolment, "code": code.expose() }));
        self.route(asked, Some(own.into()), |mut answer| {
            let authentication = answer.kept()?;
            let codes = answer.body.get_mut("recovery_codes").map(Value::take);
            let recovery_codes = codes.map(read).transpose()?.unwrap_or_default();
            Ok(Activated { factor: read(answer.body["factor"].take())?, recovery_codes, authentication })
        })
    }

    /// A code of an app: completes the login that waits, or is a step-up.
    pub fn verify_totp(&self, who: impl Into<Acting>, code: &Secret<String>) -> Operation<Verified> {
        self.verify("/totp/verify", who.into(), code)
    }

    /// Removes one factor, or all of them. Takes a fresh second factor.
    pub fn disable_totp(&self, own: &Authentication, factor: Option<&str>) -> Operation<Authentication> {
        let body = factor.map_or_else(|| json!({}), |factor| json!({ "factor": factor }));
        self.route(Asked::post("/totp/disable", body), Some(own.into()), |answer| answer.kept())
    }

    /// Whether a key has that code at that time. It concerns no account, counts no guess and spends nothing.
    pub fn validate_totp_at(
        &self,
        secret: &Secret<String>,
        code: &Secret<String>,
        at: Time,
    ) -> Operation<bool> {
        let body = json!({ "secret": secret.expose(), "code": code.expose(), "at": at.secs() });
        self.operation("totp.validate-at", None, body, |mut answer| read(answer["valid"].take()))
    }

    /// New recovery codes in the place of the old ones, shown this once. Takes a fresh proof by an app.
    pub fn generate_recovery_codes(&self, own: &Authentication) -> Operation<Vec<Secret<String>>> {
        let asked = Asked::post("/recovery/generate", json!({}));
        self.route(asked, Some(own.into()), |mut answer| read(answer.body["recovery_codes"].take()))
    }

    /// A recovery code: completes the login that waits, or is a step-up.
    pub fn verify_recovery_code(&self, who: impl Into<Acting>, code: &Secret<String>) -> Operation<Verified> {
        self.verify("/recovery/verify", who.into(), code)
    }

    /// Mails a code for the login that waits.
    pub fn send_otp(&self, who: impl Into<Acting>) -> Operation<Sent> {
        self.route(Asked::post("/otp/send", json!({})), Some(who.into()), |answer| read(answer.body))
    }

    /// The mailed code: completes the login that waits.
    pub fn verify_otp(&self, who: impl Into<Acting>, code: &Secret<String>) -> Operation<Verified> {
        self.verify("/otp/verify", who.into(), code)
    }

    /// The token of a sign-in link for an address, which the application mails itself. (`POST /magic-link/send` mails it.)
    pub fn magic_link_token(&self, address: &str) -> Operation<Link> {
        self.operation("link.issue", None, json!({ "email": address }), read)
    }

    /// A sign-in link was followed and confirmed: a first factor, so a second may be asked for.
    pub fn verify_magic_link(&self, token: &Secret<String>) -> Operation<Entry> {
        let asked = Asked::post("/magic-link/verify", json!({ "token": token.expose() }));
        let (this, runtime) = (self.clone(), self.kernel.runtime().clone());
        Operation::new(&runtime, async move {
            let answer = this.ask(asked, None).await?;
            answer.entry.ok_or_else(|| Refusal::new(Problem::PluginFault).because("a link signed nobody in"))
        })
    }

    /// Until when passwords for the address are not to be looked at; `None`: look.
    pub fn is_locked(&self, address: &str) -> Operation<Option<Time>> {
        self.passwords(address, |call, _, _, budget| Ok(budget.locked_until(call.now())))
    }

    /// Counts a wrong password for the address, whether an account has it or not, and records it. Answers the end of the
    /// lock, if it is locked now. [`Embedded::login`] counts by itself.
    pub fn record_failure(&self, address: &str) -> Operation<Option<Time>> {
        self.passwords(address, |call, email, owner, budget| {
            if budget.refused(call, email, &Event::failure("login.refused", owner))?.is_some() {
                return Ok(budget.locked_until(call.now()));
            }
            call.audit(HOST, &Event::failure("login.failed", owner));
            budget.count(call).map(|budget| budget.locked_until(call.now()))
        })
    }

    /// The password for the address was right: the wrong ones before are forgotten, and nothing else is.
    pub fn reset(&self, address: &str) -> Operation<()> {
        self.passwords(address, |call, _, _, budget| budget.reset(call))
    }

    /// The rules that a new password breaks, each as a slug such as `too-short`; none: it may be used. The texts of an
    /// account that it must not be made of are those of `own`.
    pub fn validate_password(
        &self,
        password: &Secret<String>,
        own: Option<&Authentication>,
    ) -> Operation<Vec<String>> {
        let asked = Asked::post("/password/validate", json!({ "password": password.expose() }));
        self.route(asked, own.map(Into::into), |mut answer| read(answer.body["violations"].take()))
    }

    fn verify(&self, path: &'static str, who: Acting, code: &Secret<String>) -> Operation<Verified> {
        self.route(Asked::post(path, json!({ "code": code.expose() })), Some(who), |mut answer| {
            let left = answer.body.get_mut("recovery_codes_remaining").map(Value::take);
            Ok(Verified {
                authentication: answer.kept()?,
                recovery_codes_remaining: left.map(read).transpose()?,
            })
        })
    }

    fn passwords<T: Send + 'static>(
        &self,
        address: &str,
        then: impl Fn(&Call<'_>, &Email, &str, Budget) -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Operation<T> {
        let (this, address) = (self.clone(), Email::parse(address));
        let runtime = self.kernel.runtime().clone();
        Operation::new(&runtime, async move {
            let address = address?;
            this.kernel
                .act(&this.origin, |call| {
                    let owner = call.kernel.subject_of(call, address.folded())?;
                    let budget = Budget::of(call, &address, owner.as_ref().map(Into::into))?;
                    then(
                        call,
                        &address,
                        owner.as_ref().map(|owner| owner.id.as_str()).unwrap_or_default(),
                        budget,
                    )
                })
                .await
        })
    }
}

impl Acting {
    /// Whose ticket comes along, and the body with the challenge of who has none.
    fn split(self, mut body: Value) -> (Option<Secret<String>>, Value) {
        match self.0 {
            Proof::Ticket(ticket) => (Some(ticket), body),
            Proof::Challenge(token) => {
                body["challenge"] = token.expose().as_str().into();
                (None, body)
            }
        }
    }
}
