//! What can go wrong, with what is said in public and what is logged kept apart.
use crate::{
    abi::flat::{Flat, Item},
    store::StoreError,
};
use std::{fmt, time::Duration};

/// Why a plugin could not register or configure itself: one sentence, shown to the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// From anything that can be said.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}
impl From<String> for Error {
    fn from(message: String) -> Self {
        Self(message)
    }
}
impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self(message.into())
    }
}

/// `Result` whose error is this crate's, unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $slug:literal, $title:literal;)*) => {
        /// The kinds of refusal that a client can meet (RFC 9457 problem types).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Problem { $($(#[$doc])* $name,)* }

        impl Problem {
            /// Every problem there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            /// The HTTP status.
            pub fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }
            /// The last part of the problem type `urn:countersign:problem:<slug>`.
            pub fn slug(self) -> &'static str { match self { $(Self::$name => $slug,)* } }
            /// The title, the same for every occurrence.
            pub fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
            pub(crate) fn code(self) -> u32 { match self { $(Self::$name => $code,)* } }
            pub(crate) fn from_code(code: u32) -> Self {
                // A problem that a newer plugin knows and this kernel does not is a fault of the pair.
                match code { $($code => Self::$name,)* _ => Self::PluginFault }
            }
        }
    };
}

problems! {
    /// The request cannot be read as the contract says.
    Malformed = 1, 400, "malformed", "The request is malformed";
    /// Unknown account or wrong password: the two are not told apart.
    InvalidCredentials = 2, 401, "invalid-credentials", "Wrong e-mail address or password";
    /// A code that is wrong, spent, expired or was never issued: the four are not told apart.
    InvalidCode = 3, 401, "invalid-code", "The code is not valid";
    /// A challenge that was never issued, is over, or belongs to another session.
    ChallengeInvalid = 4, 401, "challenge-invalid", "The challenge is not valid";
    /// A link that is wrong, spent or expired.
    LinkInvalid = 5, 401, "link-invalid", "The link is not valid";
    /// No session, or one that is over.
    SessionRequired = 6, 401, "session-required", "Sign in first";
    /// The session still waits for its second factor.
    MfaRequired = 7, 403, "mfa-required", "A second factor is required";
    /// A fresh proof is needed for this.
    StepUpRequired = 8, 403, "step-up-required", "Confirm that it is you";
    /// Policy wants a second factor to be enrolled first.
    EnrollmentRequired = 9, 403, "enrollment-required", "A second factor must be set up first";
    /// An unsafe request that another site caused.
    CrossSite = 10, 403, "cross-site", "The request comes from another site";
    /// Known, understood, and not allowed.
    Forbidden = 11, 403, "forbidden", "Not allowed";
    /// Nothing is there.
    NotFound = 12, 404, "not-found", "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = 13, 405, "method-not-allowed", "The method is not allowed here";
    /// It is taken, or there are too many of it.
    Conflict = 14, 409, "conflict", "It conflicts with what is there";
    /// The body is larger than 16 KiB.
    TooLarge = 15, 413, "too-large", "The request is too large";
    /// Not `application/json`.
    UnsupportedMediaType = 16, 415, "unsupported-media-type", "The media type is not supported";
    /// A `Host` that this server does not answer for.
    HostNotAllowed = 17, 421, "host-not-allowed", "This host is not served here";
    /// The password breaks the policy.
    PasswordPolicy = 18, 422, "password-policy", "The password does not meet the policy";
    /// Too many wrong guesses.
    Locked = 19, 429, "locked", "Too many attempts";
    /// Too many requests of one kind.
    RateLimited = 20, 429, "rate-limited", "Too many requests";
    /// The store did not answer, or could not promise.
    StoreUnavailable = 21, 503, "store-unavailable", "The store is not available";
    /// Mail cannot be sent now.
    DeliveryUnavailable = 22, 503, "delivery-unavailable", "Mail cannot be sent now";
    /// A plugin failed.
    PluginFault = 23, 503, "plugin-fault", "A part of the service failed";
    /// More work than there is room for.
    Busy = 24, 503, "busy", "The service is busy";
}

/// A refusal: what the client is told, and, apart from it, what the log is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    problem: Problem,
    detail: String,
    log: String,
    retry_after: Option<u64>,
    violations: Vec<String>,
}

impl Refusal {
    /// A refusal whose detail is the problem's title.
    pub fn new(problem: Problem) -> Self {
        Self {
            problem,
            detail: problem.title().into(),
            log: String::new(),
            retry_after: None,
            violations: Vec::new(),
        }
    }
    /// 400, saying what is wrong with the request. Must not repeat a secret.
    pub fn malformed(detail: impl fmt::Display) -> Self {
        Self::new(Problem::Malformed).saying(detail)
    }
    /// Replaces the public detail.
    #[must_use]
    pub fn saying(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }
    /// Adds what only the log is told.
    #[must_use]
    pub fn because(mut self, log: impl fmt::Display) -> Self {
        self.log = log.to_string();
        self
    }
    /// When it is worth trying again: at least one second from now.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs().max(1));
        self
    }
    /// The rules that a password broke.
    #[must_use]
    pub fn violations(mut self, violations: Vec<String>) -> Self {
        self.violations = violations;
        self
    }
    /// The kind.
    pub fn problem(&self) -> Problem {
        self.problem
    }
    /// The public detail.
    pub fn detail(&self) -> &str {
        &self.detail
    }
    /// What only the log is told; may be empty.
    pub fn log(&self) -> &str {
        &self.log
    }
    /// Seconds until it is worth trying again.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after
    }
    /// The rules that a password broke; empty for every other problem.
    pub fn broken_rules(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn write(&self, tag: u32, flat: &mut Flat) {
        flat.push(Item {
            tag,
            code: self.problem.code(),
            x: self.retry_after.unwrap_or(0),
            y: 0,
            a: self.detail.as_bytes(),
            b: self.log.as_bytes(),
        });
        for rule in &self.violations {
            flat.push(Item::bytes(VIOLATION, rule.as_bytes()));
        }
    }
    pub(crate) fn read(item: &Item<'_>, flat: &Flat) -> Self {
        Self {
            problem: Problem::from_code(item.code),
            detail: item.text().into(),
            log: item.text_b().into(),
            retry_after: (item.x > 0).then_some(item.x),
            violations: flat.iter().filter(|i| i.tag == VIOLATION).map(|i| i.text().into()).collect(),
        }
    }
}

/// The tag of a broken password rule beside a refusal.
pub(crate) const VIOLATION: u32 = 0x1002;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.slug(), self.detail)
    }
}
impl std::error::Error for Refusal {}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::new(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::new(Problem::StoreUnavailable).because(error).retry_after(Duration::from_secs(1))
    }
}
