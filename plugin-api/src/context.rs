//! What the kernel does for a handler during one call.
use crate::{
    answers::{Found, Page},
    error::Refusal,
    secret::Secret,
    session::{Caller, Subject},
    units::Time,
};

/// The name of a record: whose it is, and what. Each plugin has a key space of its own, and all records of a
/// subject live together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// A subject's id, or any text that groups records which are used together.
    pub subject: &'a str,
    /// What it is, up to 256 bytes.
    pub name: &'a [u8],
}

impl<'a> Name<'a> {
    /// The record `name` of `subject`.
    pub const fn of(subject: &'a str, name: &'a str) -> Self {
        Self { subject, name: name.as_bytes() }
    }
}

/// What a signed token says. The kernel adds the audience (`public_url`) and the time of issue, and checks
/// the audience and the purpose when it opens one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Keeps one kind of token from passing for another; each purpose has a key of its own.
    pub purpose: String,
    /// Whose.
    pub subject: String,
    /// The session it belongs to; may be empty.
    pub session: String,
    /// The token's own id, under which the record behind it is found.
    pub id: String,
    /// From when on it is over.
    pub expires_at: Time,
}

/// A token that was really issued here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// It has not expired.
    Live(Claims),
    /// It has.
    Expired(Claims),
}

/// The kernel's services for one call. All of it is read-only: what is to be done, a handler returns.
pub trait Context {
    /// The time for everything but TOTP: it never goes back, not even when the clock does.
    fn now(&self) -> Time;
    /// The clock on the wall, which TOTP needs (RFC 6238).
    fn wall(&self) -> Time;
    /// Who is calling, when a valid session came with the request.
    fn caller(&self) -> Option<&Caller>;
    /// Whether messages are sent at all: whether the host has a delivery.
    fn sends_mail(&self) -> bool;
    /// An account by its id.
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal>;
    /// An account by its address, in whatever spelling.
    fn subject_of(&self, address: &str) -> Result<Option<Subject>, Refusal>;
    /// A cookie that this plugin has set in the browser that asks.
    fn cookie(&self, name: &str) -> Result<Option<Secret<String>>, Refusal>;
    /// Whether the browser that asks has signed in to the account `subject` before, as the host remembers it: that
    /// gives it quotas of its own, and no right to anything.
    fn is_known_browser(&self, subject: &str) -> Result<bool, Refusal>;
    /// Reads the plugin's records, all at one instant; one answer for each name, in order.
    ///
    /// The kernel remembers what was read: a decision that writes anything is carried out only if all of
    /// this is still so.
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal>;
    /// The plugin's records of one subject whose names start with `prefix.name`, ascending, after `after`,
    /// at most `limit`. What a scan read is not remembered: records may come and go meanwhile.
    fn scan(
        &self,
        prefix: Name<'_>,
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), Refusal>;
    /// Fills `out` with bytes that nobody can guess. A call that is tried again gets the same bytes.
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal>;
    /// Argon2id, then HMAC under a key that is not in the store: for secrets that people type. The first
    /// time it refuses, and the handler passes the refusal on with `?`; it is asked again when the hashes
    /// are ready. At most 16 secrets a call; the salt has at least 16 bytes.
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal>;
    /// HMAC-SHA-256 under a key that is not in the store and this plugin's alone: for what is random but short,
    /// such as a code of six digits. The parts are told apart.
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal>;
    /// Signs a token: HMAC-SHA-256 under a key for this purpose alone.
    fn sign(&self, claims: &Claims) -> Result<String, Refusal>;
    /// Opens a token of that purpose; `None` for whatever was not issued here.
    fn open(&self, purpose: &str, token: &str) -> Result<Option<Token>, Refusal>;

    /// Reads one record of the plugin.
    fn read(&self, name: Name<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let mut found = Found::new();
        self.get(&[name], &mut found)?;
        Ok(found.at(0).map(|record| record.value.to_vec()))
    }
}
