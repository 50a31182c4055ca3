//! How many wrong passwords a name may see: five per 15 minutes, known and unknown names alike. A browser that the
//! account knows has five of its own, so that a stranger's do not keep the owner out.
//!
//! Strangers can write this, so it is a record of its own that no second factor ever reads. Names that belong
//! to nobody share a fixed number of buckets, so that inventing names makes nothing grow.
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
const RECORD: &[u8] = b"tries";
/// The budgets of one account that are looked at together: one batch has room for so many.
const MOST: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Tries {
    wrong: u32,
    since: u64,
}

/// The budget of one name, or of a browser that it knows, read.
pub(crate) struct Budget {
    key: Vec<u8>,
    tries: Tries,
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
            None => {
                let holder = holder(call, email, owner.map(|owner| owner.id));
                Self::load(call, call.host_key(&holder, RECORD), false)
            }
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
        Ok(Self { key, tries, known })
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
        let until = Time::from_secs(self.tries.since) + WINDOW;
        call.put(self.key.clone(), &encode(&self.tries)?, until, false)
    }

    /// A right password resets its own class.
    pub(crate) fn reset(self, call: &Call<'_>) -> Result<(), Refusal> {
        if self.tries.wrong == 0 { Ok(()) } else { call.delete(self.key) }
    }
}

/// Whose records a name has: its owner's, or those that names share which belong to nobody.
fn holder(call: &Call<'_>, email: &Email, owner: Option<&str>) -> String {
    owner.map_or_else(
        || {
            let place = call.place(&format!("tries:{}", email.folded())).0;
            let bucket = u32::from_be_bytes([place[0], place[1], place[2], place[3]]) % BUCKETS;
            format!(":tries:{bucket}")
        },
        Into::into,
    )
}

impl Tries {
    fn locked_until(self, now: Time) -> Option<Time> {
        let until = Time::from_secs(self.since) + WINDOW;
        (self.wrong >= TRIES && now < until).then_some(until)
    }
    fn with_one_more(self, now: Time) -> Self {
        let over = now >= Time::from_secs(self.since) + WINDOW;
        if over {
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
