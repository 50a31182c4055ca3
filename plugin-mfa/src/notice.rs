//! What the owner of an account is told by mail, so that somebody else's doing does not stay unseen. The host
//! sends one of a kind an hour at most.
use countersign_plugin_api::{Draft, Time};
use std::time::Duration;

/// After so many wrong guesses by somebody who knows the password.
pub(crate) const GUESSES: u32 = 3;
/// News that could not be delivered for so long is none.
const NEWS: Duration = Duration::from_hours(24);

/// A notice of something that has happened to an account.
pub(crate) fn of<'a>(template: &'a str, subject: &'a str, now: Time) -> Draft<'a> {
    Draft::notice(template, subject, now + NEWS)
}
