//! What an application that embeds the kernel asks in process, and no client over HTTP.
use crate::{
    config::{Mfa, Require},
    import,
    routes::{self, magic_link},
    totp,
};
use countersign_plugin_api::{Context, Decision, Refusal, Request, Secret, Time};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The settings in force; lengths of time in seconds.
#[derive(Serialize)]
struct Settings<'a> {
    issuer: &'a str,
    challenge_ttl: u64,
    step_up_window: u64,
    trust_browser_ttl: u64,
    grace_period: u64,
    /// `opt-in`, `all`, or `roles`.
    require: &'static str,
    roles: &'a [String],
    skew_steps: u64,
    recovery_codes: usize,
    otp_ttl: u64,
    otp_sends: usize,
    otp_per: u64,
    otp_tries: u32,
    magic_link: bool,
    magic_link_ttl: u64,
    lockout_threshold: u32,
    lockout_duration: u64,
    lockout_max_duration: u64,
    password_min_length: usize,
}

pub(super) fn config(
    config: &Mfa,
    request: &Request<'_>,
    _context: &dyn Context,
) -> Result<Decision, Refusal> {
    let Nothing {} = request.json()?;
    let (require, roles) = match &config.require {
        Require::OptIn => ("opt-in", &[][..]),
        Require::All => ("all", &[][..]),
        Require::Roles(roles) => ("roles", roles.as_slice()),
    };
    let settings = Settings {
        issuer: &config.issuer,
        challenge_ttl: config.challenge_ttl.as_secs(),
        step_up_window: config.step_up_window.as_secs(),
        trust_browser_ttl: config.trust_browser_ttl.as_secs(),
        grace_period: config.grace_period.as_secs(),
        require,
        roles,
        skew_steps: config.totp.skew_steps,
        recovery_codes: config.recovery.count,
        otp_ttl: config.email_otp.ttl.as_secs(),
        otp_sends: config.email_otp.sends,
        otp_per: config.email_otp.per.as_secs(),
        otp_tries: config.email_otp.tries,
        magic_link: config.magic_link.enabled,
        magic_link_ttl: config.magic_link.ttl.as_secs(),
        lockout_threshold: config.lockout.threshold,
        lockout_duration: config.lockout.duration.as_secs(),
        lockout_max_duration: config.lockout.max_duration.as_secs(),
        password_min_length: config.password.min_length,
    };
    Decision::json(200, &settings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidateAt {
    secret: Secret<String>,
    code: Secret<String>,
    /// Seconds since the Unix epoch.
    at: u64,
}

#[derive(Serialize)]
struct Valid {
    valid: bool,
}

/// Whether a secret has that code at that time. It concerns no account, and spends and counts nothing.
pub(super) fn validate_totp_at(
    config: &Mfa,
    request: &Request<'_>,
    _context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: ValidateAt = request.json()?;
    let key = import::key(&body.secret).map_err(Refusal::malformed)?;
    let step = |code| totp::first(&key, code, Time::from_secs(body.at), config.totp.skew_steps);
    let valid = totp::parse(body.code.expose()).and_then(step).is_some();
    Decision::json(200, &Valid { valid })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    email: String,
}

/// A link as it is mailed, for an application that mails it itself: newest only, one use, on the same quota. There is
/// none for an address that nobody has, and none beyond the quota.
pub(super) fn link(config: &Mfa, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
    let body: Link = request.json()?;
    magic_link::token(config, context, &body.email)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    challenge: Option<String>,
}

/// Whose login it is that waits, and how it stands.
pub(super) fn challenge(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Challenge = request.json()?;
    routes::challenge::with_subject(config, context, body.challenge.as_deref())
}
