//! `POST /password/validate`: the policy, for sign-up forms.
use crate::{config::Mfa, password};
use countersign_plugin_api::{Context, Decision, Refusal, Request, Secret};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validate {
    password: Secret<String>,
}

#[derive(Serialize)]
struct Verdict {
    valid: bool,
    violations: Vec<&'static str>,
}

/// Open to anyone, as it tells nothing that sign-up would not. Who is signed in is held to the words of the
/// own account as well.
pub(super) fn validate(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Validate = request.json()?;
    let password = Secret::new(body.password.expose().as_str());
    let address = context.caller().map(|caller| caller.subject.email.as_str());
    let words = address.into_iter().chain([config.issuer.as_str()]);
    let violations = password::violations(&password, config.password.min_length, words);
    Decision::json(200, &Verdict { valid: violations.is_empty(), violations })
}
