//! Browsers that are trusted: a login from one, with the right password, meets no challenge.
//!
//! What a browser holds is a random value, and what it is worth stands here: until when, under which epoch of
//! the account. It spares a challenge and nothing else, so it is no step-up.
use crate::{
    base32::{self, CROCKFORD},
    records::Id,
};
use countersign_plugin_api::{Secret, Time};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The name of the cookie.
pub(crate) const COOKIE: &str = "trust";
/// So many an account has; the oldest gives way.
const MOST: usize = 10;
/// What is kept of a browser's name for itself, in characters.
const LABEL: usize = 100;

/// A browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trusted {
    pub(crate) id: Id,
    /// The browser's name for itself.
    pub(crate) label: String,
    /// A keyed hash of account and cookie.
    pub(crate) hash: [u8; 32],
    pub(crate) created_at: Time,
    pub(crate) last_used_at: Time,
    /// However often it is used until then.
    pub(crate) expires_at: Time,
    /// The account's epoch when it was made: a credential event since then has ended it.
    pub(crate) epoch: u64,
}

impl Trusted {
    pub(crate) fn is_kept(&self, now: Time, epoch: u64) -> bool {
        now < self.expires_at && self.epoch == epoch
    }
}

/// Trusts one more.
pub(crate) fn add(trusted: &mut Vec<Trusted>, new: Trusted) {
    // Entries are in the order in which they were made.
    let surplus = (trusted.len() + 1).saturating_sub(MOST);
    trusted.drain(..surplus);
    trusted.push(new);
}

/// The browser with this hash.
pub(crate) fn find(trusted: &[Trusted], hash: &[u8; 32]) -> Option<usize> {
    trusted.iter().position(|browser| browser.hash.ct_eq(hash).into())
}

/// A cookie from 256 random bits.
pub(crate) fn cookie(random: &Secret<[u8; 32]>) -> Secret<String> {
    Secret::new(base32::encode(random.expose(), CROCKFORD))
}

/// How a browser is called in a list, from what it says of itself.
pub(crate) fn label(agent: Option<&[u8]>) -> String {
    let text = String::from_utf8_lossy(agent.unwrap_or_default());
    let shown: String = text.chars().filter(|character| !character.is_control()).take(LABEL).collect();
    if shown.trim().is_empty() { "A browser without a name".into() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browser(n: u8) -> Trusted {
        Trusted {
            id: Id([n; 16]),
            label: String::new(),
            hash: [n; 32],
            created_at: Time::EPOCH,
            last_used_at: Time::EPOCH,
            expires_at: Time::from_secs(1_000),
            epoch: 7,
        }
    }

    #[test]
    fn the_eleventh_ends_the_oldest() {
        let mut trusted = Vec::new();
        (0..12).for_each(|n| add(&mut trusted, browser(n)));
        assert_eq!(trusted.len(), 10);
        assert_eq!(find(&trusted, &[1; 32]), None);
        assert_eq!(find(&trusted, &[2; 32]), Some(0));
        assert_eq!(find(&trusted, &[11; 32]), Some(9));
    }

    #[test]
    fn time_and_a_credential_event_end_it() {
        for (now, epoch, kept) in [(999, 7, true), (1_000, 7, false), (0, 8, false), (0, 6, false)] {
            assert_eq!(browser(1).is_kept(Time::from_secs(now), epoch), kept, "{now} {epoch}");
        }
    }

    #[test]
    fn names_are_bounded_and_on_one_line() {
        let long = "ü".repeat(300);
        for (agent, shown) in [
            (None, "A browser without a name".to_owned()),
            (Some(&b" "[..]), "A browser without a name".to_owned()),
            (Some(b"Fire\r\nfox\x1b[31m/1"), "Firefox[31m/1".to_owned()),
            (Some(b"a\xffb"), "a\u{fffd}b".to_owned()),
            (Some(long.as_bytes()), "ü".repeat(100)),
        ] {
            assert_eq!(label(agent), shown);
        }
    }
}
