//! `GET /status`: what an account has, for its settings page.
use super::signed_in;
use crate::{
    config::Mfa,
    records::{self, Factor, Id, State},
    recovery,
};
use countersign_plugin_api::{Caller, Context, Decision, Refusal, Request, Subject, Time};
use serde::Serialize;

/// A factor as it is shown.
#[derive(Serialize)]
pub(crate) struct FactorView<'a> {
    #[serde(serialize_with = "super::text")]
    id: Id,
    kind: &'static str,
    label: &'a str,
    #[serde(serialize_with = "super::text")]
    created_at: Time,
    #[serde(serialize_with = "super::optional_text")]
    last_used_at: Option<Time>,
}

impl<'a> FactorView<'a> {
    pub(crate) fn of(factor: &'a Factor) -> Self {
        let Factor { id, label, created_at, last_used_at, .. } = factor;
        Self { id: *id, kind: "totp", label, created_at: *created_at, last_used_at: *last_used_at }
    }
}

/// What is kept of an account, as it is shown.
#[derive(Serialize)]
pub(crate) struct Kept<'a> {
    enabled: bool,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::optional_text")]
    grace_until: Option<Time>,
    factors: Vec<FactorView<'a>>,
    recovery_codes_remaining: usize,
    recovery_codes_low: bool,
}

impl<'a> Kept<'a> {
    pub(crate) fn of(config: &Mfa, subject: &Subject, state: &'a State, now: Time) -> Self {
        let (enabled, required) = (state.enrolled(), config.binds(subject));
        let grace_until = config.grace_until(subject);
        let in_grace = required && !enabled && now < grace_until;
        let left = state.recovery_codes();
        Self {
            enabled,
            required,
            grace_until: in_grace.then_some(grace_until),
            factors: state.factors.iter().map(FactorView::of).collect(),
            recovery_codes_remaining: left,
            recovery_codes_low: enabled && recovery::is_low(left),
        }
    }
}

pub(super) fn status(
    config: &Mfa,
    _request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Caller { subject, .. } = signed_in(context)?;
    let state = records::load(context, &subject.id)?;
    Decision::json(200, &Kept::of(config, subject, &state, context.now()))
}
