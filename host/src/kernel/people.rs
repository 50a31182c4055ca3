//! Whose calls they are: the seam to accounts and sessions, the host's own or an embedder's.
use super::{Call, Granted};
use countersign_plugin_api::{Draft, Latency, Refusal, Subject};

/// A message, rendered.
pub(crate) struct Letter {
    /// One address.
    pub(crate) to: String,
    /// One line.
    pub(crate) subject: String,
    /// The text.
    pub(crate) text: String,
    /// The same as HTML.
    pub(crate) html: Option<String>,
}

/// What the kernel asks about accounts, and has done to sessions. All of it is part of the call: what it writes
/// is written in the same batch as everything else.
pub(crate) trait People: Send + Sync + 'static {
    /// Whether its answers may wait on a network.
    fn latency(&self) -> Latency {
        Latency::Quick
    }
    /// The account of that id.
    fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal>;
    /// The account of that address, in whatever spelling.
    fn subject_of(&self, call: &Call<'_>, address: &str) -> Result<Option<Subject>, Refusal>;
    /// Whether the browser that asks has signed in to that account before.
    fn knows_browser(&self, _call: &Call<'_>, _subject: &str) -> Result<bool, Refusal> {
        Ok(false)
    }
    /// A message as it is sent; `None` when there is nobody to send it to.
    fn letter(&self, call: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Letter>, Refusal>;
    /// The pending session `id` of `subject` becomes a standard one, under a new token.
    fn elevate(&self, call: &Call<'_>, subject: &str, id: &str, amr: &str) -> Result<Granted, Refusal>;
    /// The caller's standard session has proven a second factor just now.
    fn step_up(&self, call: &Call<'_>, amr: &str) -> Result<Granted, Refusal>;
    /// A credential event of the caller: one epoch bump ends every other session, challenge and link of it.
    fn end_others(&self, call: &Call<'_>) -> Result<(), Refusal>;
    /// A credential event of an account that is not the caller's.
    fn end_all(&self, call: &Call<'_>, subject: &str) -> Result<(), Refusal>;
    /// Ends one session of `subject`; that it is over already is as good.
    fn end(&self, call: &Call<'_>, subject: &str, id: &str) -> Result<(), Refusal>;
}
