//! Links by mail: the one that is live, and how many were sent.
//!
//! It is a record of its own. Strangers can have links sent, and what they can write is not what a verification
//! needs. An address that belongs to nobody has such a record too, one for many of them, so that asking for a
//! link costs and answers the same whoever is asked for, and a flood of names does not fill the store.
use crate::{
    base32::{self, CROCKFORD},
    quota::Quota,
    records,
};
use countersign_plugin_api::{Context, Decision, Name, Refusal, Secret, Time};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The purpose of the tokens.
pub(crate) const PURPOSE: &str = "link";
/// The name of the record.
const LINKS: &str = "links";
/// The name of the cookie that tells a browser that asked for a link from one that did not.
pub(crate) const COOKIE: &str = "link";
/// Enough bytes for the record.
const ROOM: usize = 512;
/// How many records the addresses share that belong to nobody.
const SHARED: u16 = 4_096;

/// A link that was sent and not used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// A keyed hash of account and id.
    pub(crate) hash: [u8; 32],
    /// The same of the cookie of the browser that asked for it.
    pub(crate) browser: [u8; 32],
    /// The account's epoch when it was made: a credential event since then has ended it.
    pub(crate) epoch: u64,
    pub(crate) expires_at: Time,
}

impl Link {
    pub(crate) fn is(&self, hash: &[u8; 32], epoch: u64, now: Time) -> bool {
        bool::from(self.hash.ct_eq(hash)) && self.epoch == epoch && now < self.expires_at
    }
}

/// The record.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Links {
    /// What anyone has asked for.
    pub(crate) asked: Quota,
    /// What browsers have asked for that the account knows: a stranger cannot use that up.
    pub(crate) asked_at_home: Quota,
    /// The newest.
    pub(crate) live: Option<Link>,
}

impl Links {
    pub(crate) fn load(context: &dyn Context, owner: &str) -> Result<Self, Refusal> {
        let record = context.read(Name::of(owner, LINKS))?;
        record.map_or_else(|| Ok(Self::default()), |record| records::decode(LINKS, &record))
    }

    /// Adds to a decision that there is no such record any more.
    pub(crate) fn forget(
        context: &dyn Context,
        decision: Decision,
        owner: &str,
    ) -> Result<Decision, Refusal> {
        let name = Name::of(owner, LINKS);
        Ok(if context.read(name)?.is_some() { decision.delete(name) } else { decision })
    }

    /// Adds to a decision that the record, which was read in this call, becomes this one.
    pub(crate) fn save(
        &self,
        decision: Decision,
        owner: &str,
        now: Time,
        per: Duration,
    ) -> Result<Decision, Refusal> {
        let live = self.live.as_ref().map_or(Time::EPOCH, |link| link.expires_at);
        let (name, expires_at) =
            (Name::of(owner, LINKS), live.max(self.asked.ends(per)).max(self.asked_at_home.ends(per)));
        if expires_at <= now {
            return Ok(decision.delete(name));
        }
        Ok(decision.put(name, records::encode(LINKS, self, ROOM)?.expose(), expires_at))
    }
}

/// Whose record an address has that belongs to nobody, from a keyed hash of it.
pub(crate) fn nobody(hash: &[u8; 32]) -> String {
    format!(":{LINKS}:{}", u16::from_be_bytes([hash[0], hash[1]]) % SHARED)
}

/// An id, or a cookie, from 256 random bits.
pub(crate) fn random_text(random: &Secret<[u8; 32]>) -> Secret<String> {
    Secret::new(base32::encode(random.expose(), CROCKFORD))
}

/// Whether a cookie is of the form that is set here.
pub(crate) fn is_random_text(text: &str) -> bool {
    text.len() == 52 && text.bytes().all(|byte| CROCKFORD.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nobodies_share_a_fixed_number_of_records() {
        let hash = |n: u16| {
            let mut hash = [7; 32];
            hash[..2].copy_from_slice(&n.to_be_bytes());
            hash
        };
        let owners: BTreeSet<String> = (0..=u16::MAX).map(|n| nobody(&hash(n))).collect();
        assert_eq!(owners.len(), 4_096);
        assert_eq!(nobody(&hash(4_097)), ":links:1");
    }

    #[test]
    fn a_link_is_bound_to_hash_epoch_and_time() {
        let link = Link { hash: [1; 32], browser: [2; 32], epoch: 7, expires_at: Time::from_secs(600) };
        for (hash, epoch, now, is) in [
            ([1; 32], 7, 599, true),
            ([1; 32], 7, 600, false),
            ([1; 32], 8, 1, false),
            ([2; 32], 7, 1, false),
        ] {
            assert_eq!(link.is(&hash, epoch, Time::from_secs(now)), is);
        }
    }

    #[test]
    fn only_what_is_set_here_is_taken_for_it() {
        let text = random_text(&Secret::new([0xa5; 32]));
        assert!(is_random_text(text.expose()));
        for wrong in ["", &text.expose()[1..], &text.expose().to_lowercase(), &"; ".repeat(26)] {
            assert!(!is_random_text(wrong), "{wrong}");
        }
    }
}
