//! The application's accounts, as the kernel asks for them.
use countersign_plugin_api::{Latency, Secret, Time};
use std::fmt;

/// An account of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// 1 to 128 bytes that are the account's for ever, also after it is gone; no colon first. A number as text will do.
    pub id: String,
    /// Where its mails go, and how it is called in an authenticator app.
    pub email: String,
    /// Whether somebody with access to the mailbox has confirmed it.
    pub email_verified: bool,
    /// The role, such as `user` or `admin`: what `[mfa] require` speaks of.
    pub role: String,
    /// The languages that its owner reads, as a browser says it in `Accept-Language`; empty: English, or what the
    /// request says that a mail comes of.
    pub languages: String,
    /// When it was made: from then on a `grace_period` runs.
    pub created_at: Time,
}

/// The application's accounts.
///
/// *Atomicity*: the kernel reads them while it decides, and asks again when it has to decide again. They are no
/// part of its writes. *Threads*: any number at once. *Blocking*: see [`latency`](Accounts::latency). *Errors*:
/// "there is none" is `Ok(None)`, and "it could not be found out" is an error. The kernel then refuses with 503; an
/// error that is answered as "none" would be a login without its second factor's mail, lock or notice.
pub trait Accounts: Send + Sync + 'static {
    /// The account of that id.
    fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable>;

    /// The account of that address, as somebody has typed it. Compare without regard to case: all spellings of an
    /// address are one address.
    fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable>;

    /// Whether this is the password of the account. Without an account the answer is `false`, after the same work:
    /// hash the password against a fixed hash, or the time of the answer tells who has an account.
    ///
    /// Called by [`Embedded::login`](super::Embedded::login) and
    /// [`Embedded::reauthenticate`](super::Embedded::reauthenticate) alone, on a thread of its own, as many at a time
    /// as `[password] max_concurrent_hashes` says; an application whose first factor is none leaves it as it is.
    fn check_password(
        &self,
        account: Option<&Account>,
        password: &Secret<String>,
    ) -> Result<bool, Unavailable> {
        let _ = (account, password);
        Ok(false)
    }

    /// Somebody has opened a link that was mailed to an account whose address was not confirmed. From now on it is;
    /// and as anybody could have made that account for an address that is not theirs, the password that was set
    /// before must open nothing any more. Factors, sessions and trusted browsers of before are ended by the kernel.
    ///
    /// May be called again when a crash came between. Never called while `[mfa.magic_link] enabled` is `false`.
    fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable>;

    /// Whether [`by_id`](Accounts::by_id) and [`by_email`](Accounts::by_email) may wait on a network, or always
    /// return at once (memory, a local file's page cache). Those that wait need tokio's multi-thread runtime, and may
    /// call `Handle::current().block_on`.
    fn latency(&self) -> Latency {
        Latency::Waits
    }
}

/// The application could not find out, or could not do it. The text is for the log; it must hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(String);

impl Unavailable {
    /// From anything that can be said.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}
impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
/// So that `?` takes the errors of databases. It is no `Error` itself, which would forbid that.
impl<E: std::error::Error> From<E> for Unavailable {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
