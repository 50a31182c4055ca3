//! `POST /recovery/generate` and `POST /recovery/verify`.
use super::{Nothing, proof::Proof, signed_in};
use crate::{
    budget::Method,
    config::Mfa,
    notice, records,
    recovery::{self, Codes},
};
use countersign_plugin_api::{Caller, Context, Decision, Event, Problem, Refusal, Request, Secret};
use serde::{Deserialize, Serialize};

impl Codes {
    /// A new set from the kernel's random bytes.
    pub(super) fn draw(context: &dyn Context, count: usize) -> Result<Self, Refusal> {
        let mut entropy = vec![0; Self::entropy(count)];
        context.random(&mut entropy)?;
        Ok(Self::new(Secret::new(entropy).expose()))
    }
}

#[derive(Serialize)]
struct Generated<'a> {
    recovery_codes: Vec<&'a str>,
}

/// New codes want a fresh proof by an app: a recovery code that was found must not be worth eight more.
pub(super) fn generate(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Nothing {} = request.json()?;
    let Caller { subject, session } = signed_in(context)?;
    let now = context.now();
    let mut state = records::load(context, &subject.id)?.at(now, subject.epoch, config.step_up_window);
    if !state.enrolled() {
        return Err(Refusal::new(Problem::Conflict).saying("Recovery codes need a factor: set one up first"));
    }
    let recovered = state.recovered.iter().any(|recovered| recovered.session == session.id);
    let by_app = !recovered && session.amr.iter().any(|method| method == Method::Totp.amr());
    if !by_app || !config.stepped_up(session, true, now) {
        return Err(Problem::StepUpRequired.into());
    }
    let codes = Codes::draw(context, config.recovery.count)?;
    state.recovery = Some(codes.kept(context.hash(&codes.plain(), &codes.salt)?));
    let shown = codes.shown();
    let answer = Generated { recovery_codes: shown.iter().map(|code| code.expose().as_str()).collect() };
    let event = Event::success("recovery.generated", &subject.id);
    let notice = notice::of("recovery-generated", &subject.id, now);
    let decision = Decision::json(200, &answer)?.audit(&event).message(&notice);
    records::save(decision, &subject.id, &state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    code: Secret<String>,
    challenge: Option<String>,
}

#[derive(Serialize)]
struct Authenticated {
    status: &'static str,
    recovery_codes_remaining: usize,
}

pub(super) fn verify(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Verify = request.json()?;
    let mut proof = Proof::authenticating(config, context, body.challenge.as_deref())?;
    if let Some(wait) = proof.wait(Method::Recovery) {
        return proof.locked(Method::Recovery, wait);
    }
    // The hash costs what a login's password costs, so it is asked for last, and only of what can be a code.
    let kept = proof.state.recovery.as_mut().zip(recovery::normalized(body.code.expose()));
    let Some((kept, code)) = kept else { return proof.failed(Method::Recovery) };
    let hashed = context.hash(&[code.expose()], &kept.salt)?;
    let Some(at) = hashed.first().and_then(|hash| recovery::matching(&kept.hashes, hash)) else {
        return proof.failed(Method::Recovery);
    };
    kept.hashes.remove(at);
    let left = kept.hashes.len();
    let answer = Authenticated { status: "authenticated", recovery_codes_remaining: left };
    proof.succeeded(Method::Recovery, None, &answer)
}
