//! The gate: what a login meets after its first factor, and how a session stands.
use crate::{
    challenge::{self, Challenge, PURPOSE},
    config::Mfa,
    password,
    records::{self, Id, State},
    routes::trust,
    trust::COOKIE,
};
use countersign_plugin_api::{
    Caller, Claims, Context, Decision, Event, Gate, Login, Refusal, Secret, SessionMode, Standing, Verdict,
};
use std::sync::Arc;

pub(crate) struct MfaGate {
    config: Arc<Mfa>,
}

impl MfaGate {
    pub(crate) fn new(config: Arc<Mfa>) -> Self {
        Self { config }
    }
}

/// A password from a trusted browser meets no challenge. The browser gets a new cookie, and the one it came with
/// is dead at once; a program could not keep the new one.
fn trusted(login: &Login, state: &mut State, context: &dyn Context) -> Result<Option<Decision>, Refusal> {
    let subject = &login.subject.id;
    let by_password = login.amr.iter().any(|method| method == "pwd") && !challenge::by_mail(login);
    if !by_password || login.mode != SessionMode::Cookie {
        return Ok(None);
    }
    let Some(at) = trust::current(context, subject, &state.trusted)? else { return Ok(None) };
    let (cookie, hash) = trust::draw(context, subject)?;
    let browser = &mut state.trusted[at];
    browser.hash = hash;
    browser.last_used_at = context.now();
    let (id, lasts) = (browser.id.to_string(), browser.expires_at.since(context.now()));
    let event = Event::success("trust.used", subject).with("browser", &id);
    let decision = Decision::verdict(&Verdict::Proceed).audit(&event).cookie(COOKIE, &cookie, lasts);
    Ok(Some(records::save(decision, subject, state)?))
}

impl Gate for MfaGate {
    /// A locked account gets its challenge like any other: what is locked is the second factor, and only who
    /// has the first gets to see that.
    fn after_primary(&self, login: &Login, context: &dyn Context) -> Result<Decision, Refusal> {
        let Login { subject, session, .. } = login;
        let now = context.now();
        let state = records::load(context, &subject.id)?;
        if !state.enrolled() {
            return Ok(Decision::verdict(&Verdict::Proceed));
        }
        let mut state = state.at(now, subject.epoch, self.config.step_up_window);
        if let Some(decision) = trusted(login, &mut state, context)? {
            return Ok(decision);
        }
        let mut id = Id([0; 16]);
        context.random(&mut id.0)?;
        let expires_at = now + self.config.challenge_ttl;
        let token = context.sign(&Claims {
            purpose: PURPOSE.into(),
            subject: subject.id.clone(),
            session: session.clone(),
            id: id.to_string(),
            expires_at,
        })?;
        let challenge = Challenge::new(id, login, expires_at);
        let methods = state.methods(challenge.by_mail, context.sends_mail());
        let gave_way = challenge::open(&mut state.challenges, challenge);
        let methods = methods.into_iter().map(Into::into).collect();
        let verdict = Verdict::Challenge { token, expires_at, methods };
        let mut decision = records::save(Decision::verdict(&verdict), &subject.id, &state)?;
        if let Some(session) = gave_way {
            decision = decision.end_session(&subject.id, &session);
        }
        Ok(decision)
    }

    fn standing(&self, caller: &Caller, context: &dyn Context) -> Result<Standing, Refusal> {
        let Caller { subject, session } = caller;
        let now = context.now();
        let enrolled = records::load(context, &subject.id)?.enrolled();
        Ok(Standing {
            enrolled,
            enrollment_required: self.config.enrollment_required(subject, enrolled, now),
            stepped_up: self.config.stepped_up(session, enrolled, now),
        })
    }

    fn password_violations(&self, password: &Secret<&str>, words: &[&str]) -> Result<Vec<String>, Refusal> {
        let words = words.iter().copied().chain([self.config.issuer.as_str()]);
        let broken = password::violations(password, self.config.password.min_length, words);
        Ok(broken.into_iter().map(Into::into).collect())
    }
}
