//! What the operations answer.
use super::super::Authentication;
use countersign_plugin_api::{Secret, Time};
use serde::{Deserialize, Deserializer, de::Error};
use std::time::Duration;

/// What is set up for an account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Whether a second factor is active.
    pub enabled: bool,
    /// Whether policy wants one.
    pub required: bool,
    /// Until when it may still be set up later.
    #[serde(default, deserialize_with = "optional_time")]
    pub grace_until: Option<Time>,
    /// The active factors.
    pub factors: Vec<Factor>,
    /// Recovery codes that are left.
    pub recovery_codes_remaining: usize,
    /// Whether it is time for new ones.
    pub recovery_codes_low: bool,
}

/// A factor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Factor {
    /// Opaque.
    pub id: String,
    /// Such as `totp`.
    pub kind: String,
    /// As its owner calls it.
    pub label: String,
    /// When it became active.
    #[serde(deserialize_with = "time")]
    pub created_at: Time,
    /// When a code of it was last accepted.
    #[serde(deserialize_with = "optional_time")]
    pub last_used_at: Option<Time>,
}

/// How a login that waits stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It waits for a code.
    Pending,
    /// It is complete.
    Completed,
    /// It is over.
    Expired,
    /// Nothing is evaluated, because of too many wrong guesses.
    Locked,
}

/// A login that waits, or has waited.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChallengeStatus {
    /// The id of the account.
    pub subject: String,
    /// How it stands.
    pub status: Standing,
    /// What it can be completed with.
    pub methods: Vec<String>,
    /// Until when.
    #[serde(deserialize_with = "time")]
    pub expires_at: Time,
    /// Guesses before the next lock.
    pub attempts_left: u32,
}

/// A factor that is to be put into an app. It is active only when a code has shown that it is there.
#[derive(Deserialize)]
pub struct Enrolment {
    /// Its id, for [`activate_totp`](super::Mfa::activate_totp).
    #[serde(rename = "enrollment")]
    pub id: String,
    /// The key in base 32, to be typed.
    pub secret: Secret<String>,
    /// The key and all else, to be scanned.
    pub otpauth_uri: Secret<String>,
    /// The same as a picture.
    pub qr_svg: Secret<String>,
    /// Until when it can be activated.
    #[serde(deserialize_with = "time")]
    pub expires_at: Time,
}

/// A factor has become active.
pub struct Activated {
    /// It.
    pub factor: Factor,
    /// Shown this once; empty when there were factors before.
    pub recovery_codes: Vec<Secret<String>>,
    /// What the session is to keep: its other sessions have ended.
    pub authentication: Authentication,
}

/// A second factor was proven.
pub struct Verified {
    /// What the session is to keep, under a new token: a login is complete, or a step-up done.
    pub authentication: Authentication,
    /// How many are left, when it was a recovery code.
    pub recovery_codes_remaining: Option<usize>,
}

/// A code was mailed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Until when it is good.
    #[serde(deserialize_with = "time")]
    pub expires_at: Time,
    /// When the next one can be had.
    #[serde(deserialize_with = "seconds")]
    pub resend_after: Duration,
}

/// A sign-in link's token.
#[derive(Deserialize)]
pub struct Link {
    /// `None` for an address that nobody has, or that has had its share. Do not let the difference show.
    pub token: Option<Secret<String>>,
    /// Until when it is good.
    #[serde(deserialize_with = "time")]
    pub expires_at: Time,
}

/// The settings in force, from `[mfa]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// The name that an authenticator app shows.
    pub issuer: String,
    /// How long a login may wait for its second factor.
    #[serde(deserialize_with = "seconds")]
    pub challenge_ttl: Duration,
    /// How fresh a proof must be to change credentials.
    #[serde(deserialize_with = "seconds")]
    pub step_up_window: Duration,
    /// How long a browser is trusted.
    #[serde(deserialize_with = "seconds")]
    pub trust_browser_ttl: Duration,
    /// How long after it was made an account may still enrol later.
    #[serde(deserialize_with = "seconds")]
    pub grace_period: Duration,
    /// `opt-in`, `all` or `roles`.
    pub require: String,
    /// The roles that need a second factor, for `roles`.
    pub roles: Vec<String>,
    /// How many time steps a clock may be off.
    pub skew_steps: u64,
    /// How many recovery codes a set has.
    pub recovery_codes: usize,
    /// How long a code by mail is good.
    #[serde(deserialize_with = "seconds")]
    pub otp_ttl: Duration,
    /// How many are sent in `otp_per`.
    pub otp_sends: usize,
    /// See `otp_sends`.
    #[serde(deserialize_with = "seconds")]
    pub otp_per: Duration,
    /// How many wrong guesses one survives.
    pub otp_tries: u32,
    /// Whether a mailed link is a way in.
    pub magic_link: bool,
    /// How long one is good.
    #[serde(deserialize_with = "seconds")]
    pub magic_link_ttl: Duration,
    /// How many wrong guesses lock.
    pub lockout_threshold: u32,
    /// For how long, the first time.
    #[serde(deserialize_with = "seconds")]
    pub lockout_duration: Duration,
    /// For how long at the most.
    #[serde(deserialize_with = "seconds")]
    pub lockout_max_duration: Duration,
    /// How long a password must be, in characters.
    pub password_min_length: usize,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
}
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}
