//! The endpoints below `/api/auth/mfa`: they read the request and the account's state, ask the modules that
//! decide, and say it as a decision.
mod about;
pub(crate) mod challenge;
mod email_otp;
mod enrolment;
pub(crate) mod magic_link;
mod password;
mod proof;
mod recovery;
mod status;
mod totp;
pub(crate) mod trust;

pub(crate) use self::{
    status::{FactorView, Kept},
    trust::View,
};

use crate::config::Mfa;
use countersign_plugin_api::{
    Access::{Anyone, Enrolling, Session},
    Caller, Context, Decision, Handler, Problem, Refusal, Request, Route, SessionKind,
};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt::Display, sync::Arc};

/// What answers one route, or one operation.
pub(crate) type Handle = fn(&Mfa, &Request<'_>, &dyn Context) -> Result<Decision, Refusal>;

/// All of them. A pending session may use those that are open to anyone, and each of these looks at who asks.
pub(crate) fn routes() -> Vec<(Route, Handle)> {
    let routes: Vec<(Route, Handle)> = vec![
        (Route::get("/status", Enrolling), status::status),
        (Route::post("/totp/enroll", Enrolling), enrolment::enroll),
        (Route::post("/totp/verify", Anyone), totp::verify),
        (Route::post("/totp/disable", Session), totp::disable),
        (Route::post("/recovery/generate", Session), recovery::generate),
        (Route::post("/recovery/verify", Anyone), recovery::verify),
        (Route::post("/otp/send", Anyone), email_otp::send),
        (Route::post("/otp/verify", Anyone), email_otp::verify),
        (Route::post("/magic-link/send", Anyone), magic_link::send),
        (Route::get("/magic-link/verify", Anyone), magic_link::show),
        (Route::post("/magic-link/verify", Anyone).with_form(), magic_link::verify),
        (Route::get("/challenge/status", Anyone), challenge::status),
        (Route::post("/challenge/cancel", Anyone), challenge::cancel),
        (Route::get("/trusted-browsers", Session), trust::list),
        (Route::delete("/trusted-browsers", Session), trust::revoke_all),
        (Route::delete("/trusted-browsers/{id}", Session), trust::revoke_one),
        (Route::post("/password/validate", Anyone), password::validate),
    ];
    routes.into_iter().map(|(route, handle)| (about::described(route), handle)).collect()
}

/// A route's handler together with the configuration.
pub(crate) struct Endpoint {
    config: Arc<Mfa>,
    handle: Handle,
}

impl Endpoint {
    pub(crate) fn new(config: Arc<Mfa>, handle: Handle) -> Self {
        Self { config, handle }
    }
}

impl Handler for Endpoint {
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        (self.handle)(&self.config, request, context)
    }
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The answer to a code that was right. The kernel adds who it is, and the session.
#[derive(Serialize)]
struct Authenticated {
    status: &'static str,
}

impl Authenticated {
    const YES: Self = Self { status: "authenticated" };
}

/// The caller, who must be signed in.
fn signed_in(context: &dyn Context) -> Result<&Caller, Refusal> {
    let caller = context.caller().ok_or(Problem::SessionRequired)?;
    match caller.session.kind {
        SessionKind::Standard => Ok(caller),
        SessionKind::Pending => Err(Problem::MfaRequired.into()),
    }
}

/// Times go out as RFC 3339 and ids as their text.
fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The same of what may be missing.
#[expect(clippy::ref_option, reason = "the form that serde calls")]
pub(crate) fn optional_text<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
