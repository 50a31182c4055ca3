//! A second factor about to be proven: for which account and what for, what a wrong guess costs, and what a
//! right one grants. Everything that checks a secret goes this way, so there is one budget for all of it.
use super::{
    challenge::issued,
    signed_in,
    trust::{self, Given},
};
use crate::{
    budget::Method,
    challenge::{self, Challenge},
    config::Mfa,
    notice::{self, GUESSES},
    records::{self, Factor, Id, Recovered, State},
};
use countersign_plugin_api::{
    Context, Decision, Event, Problem, Refusal, Request, SessionKind, Subject, Time,
};
use serde::Serialize;
use std::time::Duration;

/// What a proof is for.
enum Purpose {
    /// Completing a login: the challenge.
    Login(Id),
    /// Refreshing the proof of a session.
    StepUp,
    /// Activating a factor.
    Activation,
}

pub(super) struct Proof<'c> {
    pub(super) config: &'c Mfa,
    pub(super) now: Time,
    pub(super) subject: Subject,
    pub(super) session: String,
    pub(super) state: State,
    /// Whether the mailbox had a part in what came before: in the login, or in that of the session.
    by_mail: bool,
    purpose: Purpose,
    given: Option<Given>,
}

impl<'c> Proof<'c> {
    /// For the login that a handle or a pending session stands for; for a step-up with a standard session
    /// and no handle.
    pub(super) fn authenticating(
        config: &'c Mfa,
        context: &dyn Context,
        token: Option<&str>,
    ) -> Result<Self, Refusal> {
        let standard = context.caller().filter(|caller| caller.session.kind == SessionKind::Standard);
        if standard.is_some() && token.is_none() {
            return Self::signed_in(config, context, Purpose::StepUp);
        }
        let issued = issued(config, context, token)?;
        match issued.challenge {
            Some(challenge) if !challenge.completed && standard.is_none() => Ok(Self {
                config,
                now: context.now(),
                subject: issued.subject,
                session: challenge.session,
                state: issued.state,
                by_mail: challenge.by_mail,
                purpose: Purpose::Login(challenge.id),
                given: None,
            }),
            _ => Err(Problem::ChallengeInvalid.into()),
        }
    }

    /// For a login that a code by mail may complete. It is no step-up, and whoever came by the mailbox has
    /// nothing more to show with it.
    pub(super) fn by_mail(
        config: &'c Mfa,
        context: &dyn Context,
        token: Option<&str>,
    ) -> Result<Self, Refusal> {
        let proof = Self::authenticating(config, context, token)?;
        if proof.challenge().is_some() && proof.state.takes_mail(proof.by_mail) {
            return Ok(proof);
        }
        Err(Refusal::new(Problem::Forbidden).saying("A code by mail proves nothing here: use the app"))
    }

    /// Whether it is for a login that somebody began who knows the password.
    fn knows_password(&self) -> bool {
        self.challenge().is_some() && !self.by_mail
    }

    /// The challenge that is to be met; `None` when the proof is not for a login.
    pub(super) fn challenge(&self) -> Option<&Challenge> {
        let Purpose::Login(id) = self.purpose else { return None };
        self.state.challenges.iter().find(|challenge| challenge.id == id)
    }

    /// For the activation of a factor by a standard session.
    pub(super) fn activating(config: &'c Mfa, context: &dyn Context) -> Result<Self, Refusal> {
        Self::signed_in(config, context, Purpose::Activation)
    }

    fn signed_in(config: &'c Mfa, context: &dyn Context, purpose: Purpose) -> Result<Self, Refusal> {
        let caller = signed_in(context)?;
        let (subject, session) = (caller.subject.clone(), caller.session.id.clone());
        let by_mail = caller.session.amr.iter().any(|method| method == Method::Email.amr());
        let now = context.now();
        let state = records::load(context, &subject.id)?.at(now, subject.epoch, config.step_up_window);
        Ok(Self { config, now, subject, session, state, by_mail, purpose, given: None })
    }

    /// How long nothing is evaluated, because the account is locked or the challenge is dead.
    pub(super) fn wait(&self, method: Method) -> Option<Duration> {
        let dead = || {
            let challenge = self.challenge().filter(|challenge| challenge.is_dead())?;
            Some(challenge.expires_at.since(self.now))
        };
        self.state.budget.wait(method, self.now, &self.config.lockout).or_else(dead)
    }

    /// 429, the same for a right code and a wrong one, because neither is looked at. The first of a minute
    /// is put on record.
    pub(super) fn locked(mut self, method: Method, wait: Duration) -> Result<Decision, Refusal> {
        let refusal = Refusal::new(Problem::Locked).retry_after(wait);
        if !self.state.budget.note_refusal(self.now) {
            return Err(refusal);
        }
        let event = Event::failure(refused(method), &self.subject.id)
            .with("purpose", self.purpose.name())
            .with("reason", "locked");
        records::save(Decision::refuse(refusal).audit(&event), &self.subject.id, &self.state)
    }

    /// 401 for every code that is not valid, whatever is wrong with it, and one guess less.
    pub(super) fn failed(mut self, method: Method) -> Result<Decision, Refusal> {
        if let Purpose::Login(id) = self.purpose {
            let own = self.state.challenges.iter_mut().find(|challenge| challenge.id == id);
            own.into_iter().for_each(|challenge| challenge.failures += 1);
        }
        let lock =
            self.state.budget.fail(method, self.now, &self.config.lockout).map(|until| until.to_string());
        let mut event = Event::failure(refused(method), &self.subject.id)
            .with("purpose", self.purpose.name())
            .with("reason", "invalid-code");
        if let Some(until) = &lock {
            event = event.with("locked_until", until);
        }
        let mut decision = Decision::refuse(Problem::InvalidCode).audit(&event);
        let failures = self.state.budget.failures().to_string();
        if let Some(until) = &lock {
            let notice = notice::of("locked", &self.subject.id, self.now).with("until", until);
            decision = decision.message(&notice);
        } else if self.knows_password() && self.state.budget.failures() >= GUESSES {
            let notice = notice::of("guesses", &self.subject.id, self.now).with("failures", &failures);
            decision = decision.message(&notice);
        }
        records::save(decision, &self.subject.id, &self.state)
    }

    /// Trusts this browser, once the proof by `method` has succeeded. Only a login that began with a password is worth it,
    /// by what policy asks for; and a program that carries its own token has no use for a cookie.
    pub(super) fn trust(
        &mut self,
        method: Method,
        request: &Request<'_>,
        context: &dyn Context,
    ) -> Result<(), Refusal> {
        let below_policy = method == Method::Email && self.config.binds(&self.subject);
        let by_cookie = self.challenge().is_some_and(|challenge| !challenge.bearer);
        if by_cookie && !self.by_mail && !below_policy {
            let given = trust::give(self.config, request, context, &self.subject, &mut self.state)?;
            self.given = Some(given);
        }
        Ok(())
    }

    /// Somebody has shown a factor beside the password, so that this is the owner's. Whoever came by the mailbox has not shown
    /// that they know it: it may be another's who reads the mailbox too.
    fn know_the_password(&mut self) {
        self.state.reset_by_mail &= self.by_mail;
    }

    /// The login is complete, or the session's proof fresh, in the write that spends the code.
    pub(super) fn succeeded(
        mut self,
        method: Method,
        factor: Option<Id>,
        answer: &impl Serialize,
    ) -> Result<Decision, Refusal> {
        self.state.budget.succeed(method);
        if method != Method::Email {
            self.know_the_password();
        }
        self.state.recovered.retain(|recovered| recovered.session != self.session);
        if method == Method::Recovery {
            // Whoever has lost the phone may have lost a browser with it.
            self.state.trusted.clear();
            self.state.recovered.push(Recovered { session: self.session.clone(), at: self.now });
        }
        let factor = factor.map(|id| id.to_string());
        let mut event =
            Event::success(verified(method), &self.subject.id).with("purpose", self.purpose.name());
        if let Some(factor) = &factor {
            event = event.with("factor", factor);
        }
        let browser = self.given.as_ref().map(|given| given.id.to_string());
        if let Some(browser) = &browser {
            event = event.with("trusted_browser", browser);
        }
        let mut decision = Decision::json(200, answer)?.audit(&event);
        if let Some(given) = &self.given {
            decision = given.with(decision, &self.subject.id, self.now);
        }
        let left = self.state.recovery_codes().to_string();
        if method == Method::Recovery {
            let notice = notice::of("recovery-used", &self.subject.id, self.now).with("remaining", &left);
            decision = decision.message(&notice);
        }
        let amr = [method.amr()];
        let decision = match self.purpose {
            Purpose::Login(id) => {
                challenge::complete(&mut self.state.challenges, id);
                decision.elevate(&self.subject.id, &self.session, &amr)
            }
            Purpose::StepUp | Purpose::Activation => decision.step_up(&amr),
        };
        records::save(decision, &self.subject.id, &self.state)
    }

    /// The factor that the code proved to be in an app is active: a credential event.
    ///
    /// What a first factor proves is a second factor, and the guesses before it were made at nothing. A later
    /// one proves nothing beyond what its session has proven already, so it neither extends that proof nor
    /// forgives a guess: its key was shown over this very session.
    pub(super) fn activated(mut self, factor: Factor, answer: &impl Serialize) -> Result<Decision, Refusal> {
        let id = factor.id.to_string();
        let first = !self.state.enrolled();
        let label = factor.label.clone();
        self.state.enrolment = None;
        self.state.factors.push(factor);
        let event = Event::success("totp.activated", &self.subject.id).with("factor", &id);
        let mut decision = Decision::json(200, answer)?.audit(&event).end_other_sessions();
        let notice = notice::of("totp-added", &self.subject.id, self.now).with("label", &label);
        decision = decision.message(&notice);
        if first {
            self.state.budget.succeed(Method::Totp);
            self.know_the_password();
            decision = decision.step_up(&[Method::Totp.amr()]);
        }
        records::save(decision, &self.subject.id, &self.state)
    }
}

impl Purpose {
    fn name(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::StepUp => "step-up",
            Self::Activation => "activation",
        }
    }
}

fn verified(method: Method) -> &'static str {
    match method {
        Method::Totp => "totp.verified",
        Method::Recovery => "recovery.verified",
        Method::Email => "email-otp.verified",
    }
}

fn refused(method: Method) -> &'static str {
    match method {
        Method::Totp => "totp.refused",
        Method::Recovery => "recovery.refused",
        Method::Email => "email-otp.refused",
    }
}
