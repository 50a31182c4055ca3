//! `GET /status`: what an account has, for its settings page.
use super::signed_in;
use crate::{
    config::Mfa,
    records::{self, Factor, Id},
    recovery,
};
use countersign_plugin_api::{Caller, Context, Decision, Refusal, Request, Time};
use serde::Serialize;

/// A factor as it is shown.
#[derive(Serialize)]
pub(super) struct FactorView<'a> {
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
    pub(super) fn of(factor: &'a Factor) -> Self {
        let Factor { id, label, created_at, last_used_at, .. } = factor;
        Self { id: *id, kind: "totp", label, created_at: *created_at, last_used_at: *last_used_at }
    }
}

#[derive(Serialize)]
struct StatusAnswer<'a> {
    enabled: bool,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::optional_text")]
    grace_until: Option<Time>,
    factors: Vec<FactorView<'a>>,
    recovery_codes_remaining: usize,
    recovery_codes_low: bool,
}

pub(super) fn status(
    config: &Mfa,
    _request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Caller { subject, .. } = signed_in(context)?;
    let state = records::load(context, &subject.id)?;
    let (enabled, required) = (state.enrolled(), config.binds(subject));
    let grace_until = config.grace_until(subject);
    let in_grace = required && !enabled && context.now() < grace_until;
    let left = state.recovery_codes();
    Decision::json(
        200,
        &StatusAnswer {
            enabled,
            required,
            grace_until: in_grace.then_some(grace_until),
            factors: state.factors.iter().map(FactorView::of).collect(),
            recovery_codes_remaining: left,
            recovery_codes_low: enabled && recovery::is_low(left),
        },
    )
}
