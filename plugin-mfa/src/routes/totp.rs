//! `POST /totp/verify` and `POST /totp/disable`.
use super::{Authenticated, proof::Proof, signed_in, status::FactorView};
use crate::{
    budget::Method,
    config::Mfa,
    notice,
    records::{self, Factor},
    recovery::Codes,
    totp,
};
use countersign_plugin_api::{Caller, Context, Decision, Event, Problem, Refusal, Request, Secret};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    code: Secret<String>,
    enrollment: Option<String>,
    challenge: Option<String>,
    #[serde(default)]
    trust_browser: bool,
}

pub(super) fn verify(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Verify = request.json()?;
    let code = totp::parse(body.code.expose())
        .ok_or_else(|| Refusal::malformed("`code` must be the six digits that the app shows"))?;
    match (body.enrollment, body.challenge) {
        (Some(_), Some(_)) => {
            Err(Refusal::malformed("`enrollment` activates a factor and `challenge` signs in: give one"))
        }
        (Some(enrollment), None) => activate(config, context, &enrollment, code),
        (None, challenge) => {
            let mut proof = Proof::authenticating(config, context, challenge.as_deref())?;
            if let Some(wait) = proof.wait(Method::Totp) {
                return proof.locked(Method::Totp, wait);
            }
            let factors = &mut proof.state.factors;
            let Some((at, step)) = totp::matching(factors, code, context.wall(), config.totp.skew_steps)
            else {
                return proof.failed(Method::Totp);
            };
            let factor = &mut factors[at];
            factor.last_step = step;
            factor.last_used_at = Some(proof.now);
            let id = factor.id;
            if body.trust_browser {
                proof.trust(Method::Totp, request, context)?;
            }
            proof.succeeded(Method::Totp, Some(id), &Authenticated::YES)
        }
    }
}

#[derive(Serialize)]
struct Activated<'a> {
    status: &'static str,
    factor: FactorView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<&'a str>,
}

/// A wrong enrolment is answered, and counted, like a wrong code; where none was begun there is nothing to guess.
fn activate(config: &Mfa, context: &dyn Context, enrollment: &str, code: u32) -> Result<Decision, Refusal> {
    let mut proof = Proof::activating(config, context)?;
    if let Some(wait) = proof.wait(Method::Totp) {
        return proof.locked(Method::Totp, wait);
    }
    let own = proof.state.enrolment.as_ref().filter(|begun| begun.session == proof.session);
    if own.is_none() {
        return Err(Problem::InvalidCode.into());
    }
    let begun = own.filter(|begun| begun.id.to_string() == enrollment);
    let step = |key| totp::first(key, code, context.wall(), config.totp.skew_steps);
    let Some((begun, last_step)) = begun.and_then(|begun| Some((begun, step(&begun.key)?))) else {
        return proof.failed(Method::Totp);
    };
    let factor = Factor {
        id: begun.id,
        label: begun.label.clone(),
        key: begun.key.clone(),
        created_at: proof.now,
        last_used_at: None,
        last_step,
    };
    let mut shown = Vec::new();
    if !proof.state.enrolled() {
        let codes = Codes::draw(context, config.recovery.count)?;
        proof.state.recovery = Some(codes.kept(context.hash(&codes.plain(), &codes.salt)?));
        shown = codes.shown();
    }
    let answer = Activated {
        status: "activated",
        factor: FactorView::of(&factor),
        recovery_codes: shown.iter().map(|code| code.expose().as_str()).collect(),
    };
    proof.activated(factor.clone(), &answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disable {
    factor: Option<String>,
}

pub(super) fn disable(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Disable = request.json()?;
    let Caller { subject, session } = signed_in(context)?;
    let now = context.now();
    let mut state = records::load(context, &subject.id)?.at(now, subject.epoch, config.step_up_window);
    if !config.stepped_up(session, state.enrolled(), now) {
        return Err(Problem::StepUpRequired.into());
    }
    let goes = |factor: &Factor| body.factor.as_ref().is_none_or(|id| factor.id.to_string() == *id);
    let (gone, left): (Vec<_>, Vec<_>) = state.factors.into_iter().partition(goes);
    if gone.is_empty() {
        return Err(Refusal::new(Problem::NotFound).saying("There is no such factor"));
    }
    if left.is_empty() && config.binds(subject) {
        return Err(Problem::EnrollmentRequired.into());
    }
    state.factors = left;
    if !state.enrolled() {
        // Codes that recover nothing are a way in that nobody remembers.
        state.recovery = None;
        state.recovered.clear();
    }
    let ids: Vec<String> = gone.iter().map(|factor| factor.id.to_string()).collect();
    let ids = ids.join(" ");
    let event = Event::success("totp.disabled", &subject.id).with("factors", &ids);
    let labels: Vec<&str> = gone.iter().map(|factor| factor.label.as_str()).collect();
    let labels = labels.join(", ");
    let notice = notice::of("totp-removed", &subject.id, now).with("label", &labels);
    let decision = Decision::empty().audit(&event).end_other_sessions().message(&notice);
    records::save(decision, &subject.id, &state)
}
