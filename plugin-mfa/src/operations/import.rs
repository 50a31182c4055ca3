//! Taking over factors of another system.
use super::existing;
use crate::{
    config::Mfa,
    enrolment::{self, MAX_FACTORS},
    import, notice,
    records::{self, Factor, Id},
    routes::FactorView,
    totp,
};
use countersign_plugin_api::{Context, Decision, Event, Problem, Refusal, Request, Secret};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    subject: String,
    uri: Secret<String>,
    label: Option<String>,
    /// Without telling the owner, for thousands at a time, who have been told otherwise.
    #[serde(default)]
    quiet: bool,
}

#[derive(Serialize)]
struct Imported<'a> {
    factor: FactorView<'a>,
    /// Whether it is new here.
    added: bool,
}

/// Whoever imports a file again finds what the first time has done: nothing is changed by it.
///
/// A code that was shown before, or is shown now, may have been used where the factor comes from: it is spent.
pub(super) fn import(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Import = request.json()?;
    let imported = import::read(body.uri.expose()).map_err(Refusal::malformed)?;
    let label = match body.label {
        Some(label) => enrolment::label(Some(&label))?,
        None => imported.label,
    };
    let (subject, now) = (existing(context, &body.subject)?, context.now());
    let mut state = records::load(context, &subject.id)?;
    if let Some(known) = state.factors.iter().find(|factor| factor.key.expose() == imported.key.expose()) {
        return Decision::json(200, &Imported { factor: FactorView::of(known), added: false });
    }
    if state.factors.len() >= MAX_FACTORS {
        return Err(Refusal::new(Problem::Conflict)
            .saying(format_args!("The account has {MAX_FACTORS} factors already")));
    }
    let mut id = Id([0; 16]);
    context.random(&mut id.0)?;
    let factor = Factor {
        id,
        label,
        key: imported.key,
        created_at: now,
        last_used_at: None,
        last_step: totp::step_at(context.wall()) + config.totp.skew_steps,
    };
    let id = id.to_string();
    let event = Event::success("totp.imported", &subject.id).with("factor", &id);
    let notice = notice::of("totp-added", &subject.id, now).with("label", &factor.label);
    let answer = Imported { factor: FactorView::of(&factor), added: true };
    let mut decision = Decision::json(201, &answer)?.end_all_sessions(&subject.id).audit(&event);
    if !body.quiet {
        decision = decision.message(&notice);
    }
    state.factors.push(factor.clone());
    records::save(decision, &subject.id, &state)
}
