//! What is known of an account, and what is undone for it.
use super::{Whose, existing};
use crate::{
    budget::Budget,
    config::Mfa,
    links::Links,
    notice,
    records::{self, State},
    routes::{Kept, View},
};
use countersign_plugin_api::{Context, Decision, Event, Refusal, Request, Time};
use serde::Serialize;

#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    kept: Kept<'a>,
    /// How many guesses in a row were wrong.
    failures: u32,
    #[serde(serialize_with = "crate::routes::optional_text")]
    locked_until: Option<Time>,
    /// Whether only a recovery code or an administrator can help.
    stopped: bool,
    trusted_browsers: Vec<View<'a>>,
}

/// All of it but the secrets.
pub(super) fn status(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Whose { subject } = request.json()?;
    let (subject, now) = (existing(context, &subject)?, context.now());
    let state = records::load(context, &subject.id)?.at(now, subject.epoch, config.step_up_window);
    Decision::json(
        200,
        &Status {
            kept: Kept::of(config, &subject, &state, now),
            failures: state.budget.failures(),
            locked_until: state.budget.locked_until(now),
            stopped: state.budget.is_stopped(),
            trusted_browsers: state.trusted.iter().map(|browser| View::of(browser, false)).collect(),
        },
    )
}

/// For the one who has lost everything: the account has no second factor any more, and is signed out everywhere.
pub(super) fn reset(
    _config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Whose { subject } = request.json()?;
    let subject = existing(context, &subject)?;
    let state = records::load(context, &subject.id)?;
    let ids: Vec<String> = state.factors.iter().map(|factor| factor.id.to_string()).collect();
    let ids = ids.join(" ");
    let event = Event::success("reset", &subject.id).with("factors", &ids);
    let decision = Decision::empty().end_all_sessions(&subject.id).audit(&event).message(&notice::of(
        "mfa-reset",
        &subject.id,
        context.now(),
    ));
    let left = State { reset_by_mail: state.reset_by_mail, ..State::default() };
    records::save(decision, &subject.id, &left)
}

/// Forgets wrong guesses, the hard stop included. The host tells the owner, as it unlocks the password too.
pub(super) fn unlock(
    _config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Whose { subject } = request.json()?;
    let subject = existing(context, &subject)?;
    let mut state = records::load(context, &subject.id)?;
    if state.budget == Budget::default() {
        return Ok(Decision::empty());
    }
    state.budget = Budget::default();
    let event = Event::success("unlocked", &subject.id);
    records::save(Decision::empty().audit(&event), &subject.id, &state)
}

/// Removes all that is kept of an account. It is deleted, or its owner has come for it and what somebody else had
/// set up before is to be gone; what else goes then is the host's business, and so is telling.
pub(super) fn forget(
    _config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Whose { subject } = request.json()?;
    let state = records::load(context, &subject)?;
    let mut decision = Links::forget(context, Decision::empty(), &subject)?;
    if state.enrolled() {
        decision = decision.audit(&Event::success("forgotten", &subject));
    }
    records::save(decision, &subject, &State::default())
}

/// Whoever reads the mailbox has set the password anew: a code from there would prove nothing more, nor would it beside a factor
/// that is set up later.
pub(super) fn reset_by_mail(
    _config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Whose { subject } = request.json()?;
    let subject = existing(context, &subject)?;
    let mut state = records::load(context, &subject.id)?;
    state.reset_by_mail = true;
    state.mailed = None;
    records::save(Decision::empty(), &subject.id, &state)
}
