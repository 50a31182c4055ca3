//! Every mail there is, in English, and what a template of it may use.

/// What a mail is for, which its template must leave in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// A code, alone on a line, and no other number of six digits.
    Code,
    /// A link to this path of `public_url`, with the token, alone on a line.
    Link(&'static str),
    /// Neither: news.
    Nothing,
}

/// One mail.
pub(super) struct Mail {
    pub(super) name: &'static str,
    pub(super) carries: Carries,
    /// What its template may use beside [`COMMON`], with a value to try it with.
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// The template: the subject, and from the second line on the text.
    pub(super) english: &'static str,
}

/// What every template may use: whom the mail is for, `public_url`, and the locale it was written for.
pub(super) const COMMON: [&str; 3] = ["email", "origin", "locale"];

macro_rules! mails {
    ($($name:literal $carries:expr, [$($field:literal = $sample:literal),*];)*) => {
        /// All of them, by name.
        pub(super) const MAILS: &[Mail] = &[$(Mail {
            name: $name,
            carries: $carries,
            fields: &[$(($field, $sample)),*],
            english: include_str!(concat!("templates/", $name, ".txt")),
        },)*];
    };
}
use Carries::{Code, Link, Nothing};
mails![
    "account-deleted" Nothing, [];
    "browser-trusted" Nothing, ["label" = "phone", "days" = "30"];
    "email-code" Code, ["code" = "918273", "minutes" = "5"];
    "email-verify" Link("/email/verify"), ["link" = "", "minutes" = "30"];
    "guesses" Nothing, ["failures" = "3"];
    "locked" Nothing, ["until" = "2026-11-21T09:30:00Z"];
    "magic-link" Link("/api/auth/mfa/magic-link/verify"), ["link" = "", "minutes" = "10"];
    "mfa-reset" Nothing, [];
    "new-browser" Nothing, ["browser" = "Firefox", "address" = "192.0.2.1"];
    "password-changed" Nothing, [];
    "password-reset" Link("/password/reset"), ["link" = "", "minutes" = "30"];
    "recovery-generated" Nothing, [];
    "recovery-used" Nothing, ["remaining" = "7"];
    "registration" Link("/email/verify"), ["link" = "", "minutes" = "30"];
    "registration-known" Nothing, [];
    "role-changed" Nothing, ["role" = "admin"];
    "sessions-ended" Nothing, [];
    "totp-added" Nothing, ["label" = "phone"];
    "totp-removed" Nothing, ["label" = "phone"];
    "unlocked" Nothing, [];
];

impl Mail {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        MAILS.iter().find(|mail| mail.name == name)
    }
}
