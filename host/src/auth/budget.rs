//! How many wrong passwords a name may see: five per 15 minutes, known and unknown names alike. A browser that the
//! account knows has five of its own, so that a stranger's do not keep the owner out.
//!
//! Strangers can write this, so it is a record of its own that no second factor ever reads. Names that belong
//! to nobody share a fixed number of records, so that inventing names makes nothing grow. In it each is counted by itself:
//! one that is locked because of others would be known for nobody's.
use super::{Device, device::Owner};
use crate::{
    accounts::Email,
    kernel::{Call, HOST, audit},
    records::{decode, encode},
};
use countersign_plugin_api::{Event, Problem, Refusal, Time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const TRIES: u32 = 5;
const WINDOW: Duration = Duration::from_mins(15);
const BUCKETS: u32 = 4096;
/// Names that are counted in one record of them. In all they are more than can be hashed for in a window at 290 a second, so that
/// none is forgotten before it is over.
const CROWD: usize = 64;
const RECORD: &[u8] = b"tries";
const NAMES: &[u8] = b"names";
/// The budgets of one account that are looked at together: one batch has room for so many.
const MOST: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Tries {
    wrong: u32,
    since: u64,
}

/// A name that belongs to nobody, by a part of its tag, and its tries.
type Named = (u32, Tries);

/// The budget of one name, or of a browser that it knows, read.
pub(crate) struct Budget {
    key: Vec<u8>,
    tries: Tries,
    /// Of a name that belongs to nobody: which it is, and the others of its record.
    crowd: Option<(u32, Vec<Named>)>,
    /// Whether it is that of a browser that the account knows.
    pub(crate) known: bool,
}

impl Budget {
    /// That of the browser that asks, when the account knows it, which the call learns so; else that of strangers.
    pub(crate) fn of(call: &Call<'_>, email: &Email, owner: Option<Owner<'_>>) -> Result<Self, Refusal> {
        let device = owner.map(|owner| Device::of(call, owner)).transpose()?.flatten();
        match owner.zip(device) {
            Some((owner, device)) => {
                call.set_known_to(owner.id);
                Self::load(call, call.host_key(owner.id, &[RECORD, &device.0].concat()), true)
            }
            None => match owner {
                Some(owner) => Self::load(call, call.host_key(owner.id, RECORD), false),
                None => Self::load_nobodys(call, email),
            },
        }
    }

    /// All that an account has, whoever asks: that of strangers, and those of browsers that it knows.
    pub(crate) fn all(call: &Call<'_>, account: &str) -> Result<Vec<Self>, Refusal> {
        let found = call.scan(HOST, call.place(account), RECORD, None, MOST)?;
        let names = found.into_iter().map(|(name, _)| name);
        names.map(|name| Self::load(call, call.host_key(account, &name), name != RECORD)).collect()
    }

    /// That of whoever is known by something else, kept under a key of its own.
    pub(super) fn load(call: &Call<'_>, key: Vec<u8>, known: bool) -> Result<Self, Refusal> {
        let tries = call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
        Ok(Self { key, tries, crowd: None, known })
    }

    /// That of a name that belongs to nobody.
    fn load_nobodys(call: &Call<'_>, email: &Email) -> Result<Self, Refusal> {
        let (holder, own) = nobodys(call, email);
        let key = call.host_key(&holder, NAMES);
        let mut names: Vec<Named> =
            call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
        names.retain(|(_, tries)| call.now() < tries.over_at());
        let at = names.iter().position(|(name, _)| *name == own);
        let tries = at.map(|at| names.swap_remove(at).1).unwrap_or_default();
        Ok(Self { key, tries, crowd: Some((own, names)), known: false })
    }

    /// Refuses while the name is locked; then nothing is evaluated and nothing extended.
    pub(crate) fn check(&self, now: Time) -> Result<(), Refusal> {
        match self.locked_until(now) {
            Some(until) => Err(Refusal::new(Problem::Locked).retry_after(until.since(now))),
            None => Ok(()),
        }
    }

    /// What a try is answered while the name is locked. The first of a minute is put on record as `event`, which
    /// concerns the account that has the name, or nobody.
    pub(crate) fn refused(
        &self,
        call: &Call<'_>,
        email: &Email,
        event: &Event<'_>,
    ) -> Result<Option<Refusal>, Refusal> {
        let Err(refusal) = self.check(call.now()) else { return Ok(None) };
        let owner = Some(event.subject).filter(|owner| !owner.is_empty());
        audit::seldom_at(call, call.host_key(&holder(call, email, owner), b"refused"), event)?;
        Ok(Some(refusal))
    }

    /// Until when the name is locked, if it is.
    pub(crate) fn locked_until(&self, now: Time) -> Option<Time> {
        self.tries.locked_until(now)
    }

    /// Counts a wrong password; answers the budget that is left.
    pub(crate) fn count(self, call: &Call<'_>) -> Result<Self, Refusal> {
        let counted = Self { tries: self.tries.with_one_more(call.now()), ..self };
        counted.save(call)?;
        Ok(counted)
    }

    /// Writes it as it is.
    pub(crate) fn save(&self, call: &Call<'_>) -> Result<(), Refusal> {
        let Some((own, others)) = &self.crowd else {
            return call.put(self.key.clone(), &encode(&self.tries)?, self.tries.over_at(), false);
        };
        let names = joined(others, (*own, self.tries));
        let until = names.iter().map(|(_, tries)| tries.over_at()).max().unwrap_or(Time::EPOCH);
        call.put(self.key.clone(), &encode(&names)?, until, false)
    }

    /// A right password resets its own class. None is right for a name that belongs to nobody.
    pub(crate) fn reset(self, call: &Call<'_>) -> Result<(), Refusal> {
        if self.tries.wrong == 0 || self.crowd.is_some() { Ok(()) } else { call.delete(self.key) }
    }
}

/// The names of one record with one more. Where there is no room, whoever has the fewest tries gives way, the oldest of them.
fn joined(others: &[Named], one: Named) -> Vec<Named> {
    let mut names = others.to_vec();
    if names.len() >= CROWD
        && let Some(least) = (0..names.len()).min_by_key(|at| (names[*at].1.wrong, names[*at].1.since))
    {
        names.swap_remove(least);
    }
    names.push(one);
    names
}

/// Whose records a name has: its owner's, or those that names share which belong to nobody.
fn holder(call: &Call<'_>, email: &Email, owner: Option<&str>) -> String {
    owner.map_or_else(|| nobodys(call, email).0, Into::into)
}

/// Where a name is counted that belongs to nobody, and what tells it from the others there.
fn nobodys(call: &Call<'_>, email: &Email) -> (String, u32) {
    let place = call.place(&format!("tries:{}", email.folded())).0;
    let half = |at: usize| place[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    (format!(":tries:{}", half(0) % BUCKETS), half(4))
}

impl Tries {
    fn over_at(self) -> Time {
        Time::from_secs(self.since) + WINDOW
    }
    fn locked_until(self, now: Time) -> Option<Time> {
        let until = self.over_at();
        (self.wrong >= TRIES && now < until).then_some(until)
    }
    fn with_one_more(self, now: Time) -> Self {
        if now >= self.over_at() {
            Self { wrong: 1, since: now.secs() }
        } else {
            Self { wrong: self.wrong + 1, since: self.since }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_crowd_of_names_those_with_the_fewest_tries_give_way() {
        let tries = |wrong, since| Tries { wrong, since };
        let mut names: Vec<Named> = Vec::new();
        for (name, since) in (0..).zip(0..CROWD as u64) {
            names = joined(&names, (name, tries(if name == 0 { 5 } else { 2 }, since)));
        }
        assert_eq!(names.len(), CROWD);
        for name in 1000..5000 {
            names = joined(&names, (name, tries(1, 900)));
        }
        let left = |name: u32| names.iter().any(|(other, _)| *other == name);
        assert_eq!(
            (names.len(), left(0), left(1), left(2), left(4999), left(4998)),
            (CROWD, true, false, true, true, false)
        );
        let longest = encode(&vec![(u32::MAX, tries(5, u64::from(u32::MAX))); CROWD]).unwrap().len();
        assert!(longest * BUCKETS as usize <= 16 << 20, "{longest} bytes each");
    }

    #[test]
    fn five_wrong_tries_lock_until_the_window_is_over() {
        let at = |secs: u64| Time::from_secs(10_000 + secs);
        let mut tries = Tries::default();
        for n in 0..5 {
            assert_eq!(tries.locked_until(at(n)), None, "try {n} is evaluated");
            tries = tries.with_one_more(at(n));
        }
        assert_eq!(tries.locked_until(at(5)), Some(at(900)));
        assert_eq!(tries.locked_until(at(899)), Some(at(900)));
        assert_eq!(tries.locked_until(at(900)), None);
        assert_eq!(tries.with_one_more(at(900)), Tries { wrong: 1, since: 10_900 });
    }
}
