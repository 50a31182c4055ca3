//! One part of the store: records by key, their order, and what has expired among them.
use countersign_plugin_api::{Record, Time};
use foldhash::{SharedSeed, quality::SeedableRandomState};
use std::{
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    ops::{AddAssign, Bound},
    sync::Arc,
};

/// What a record costs besides its key and its value: its places in the map and in the order, the key's
/// counts, and what the allocator adds to each. The process grows by some 155 bytes a record at a million of
/// them, and by a little more just after the map has doubled.
pub(crate) const OVERHEAD: u64 = 176;

/// The bytes that a record counts for.
pub(crate) fn cost(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + OVERHEAD
}

/// How much a store holds, or how much of it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

struct Row {
    version: u64,
    expires_at: Time,
    value: Box<[u8]>,
}

impl Row {
    fn record(&self) -> Record<'_> {
        Record { value: &self.value, version: self.version, expires_at: self.expires_at }
    }
}

/// Records in a hash map, because most calls name their keys, and the same keys in order, for scans. A write
/// to a record that is already there leaves the order alone.
// On lines of its own: two threads that write to neighbours would pass one line to and fro.
#[repr(align(128))]
pub(crate) struct Shard {
    rows: HashMap<Arc<[u8]>, Row, SeedableRandomState>,
    order: BTreeSet<Arc<[u8]>>,
    sweep: Sweep,
}

/// A walk through all keys, a few at a time, over and over. It rests while nothing can have expired.
struct Sweep {
    /// The key it has come to; none at the start.
    cursor: Option<Arc<[u8]>>,
    /// No record expires before this.
    earliest: Time,
    /// The same, of those that this round has met and those written meanwhile: what `earliest` is after it.
    earliest_met: Time,
}

impl Default for Shard {
    fn default() -> Self {
        let sweep = Sweep { cursor: None, earliest: Time::NEVER, earliest_met: Time::NEVER };
        // Seeded by the operating system, by way of std: nobody who chooses keys can choose their buckets.
        let seed = RandomState::new().hash_one(());
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_random());
        Self { rows: HashMap::with_hasher(hasher), order: BTreeSet::new(), sweep }
    }
}

impl Shard {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Record<'_>> {
        self.rows.get(key).map(Row::record)
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], expires_at: Time, version: u64) {
        self.sweep.earliest = self.sweep.earliest.min(expires_at);
        self.sweep.earliest_met = self.sweep.earliest_met.min(expires_at);
        match self.rows.get_mut(key) {
            Some(row) if row.value.len() == value.len() => {
                row.value.copy_from_slice(value);
                (row.version, row.expires_at) = (version, expires_at);
            }
            Some(row) => *row = Row { version, expires_at, value: value.into() },
            None => {
                let key: Arc<[u8]> = key.into();
                self.order.insert(key.clone());
                self.rows.insert(key, Row { version, expires_at, value: value.into() });
            }
        }
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        if self.rows.remove(key).is_some() {
            self.order.remove(key);
        }
    }

    /// Keys and records under `prefix` from `lower` on, in order.
    pub(crate) fn range<'a>(
        &'a self,
        lower: Bound<&'a [u8]>,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], Record<'a>)> {
        self.order
            .range::<[u8], _>((lower, Bound::Unbounded))
            .map(|key| &**key)
            .take_while(move |key| key.starts_with(prefix))
            .filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Discards every record that has expired by `now`.
    pub(crate) fn sweep_all(&mut self, now: Time) -> Amount {
        if self.sweep.earliest <= now {
            self.sweep.cursor = None;
            self.sweep.earliest_met = Time::NEVER;
        }
        self.sweep_some(now, usize::MAX)
    }

    /// Looks at the next `most` keys and discards the records that have expired by `now`.
    pub(crate) fn sweep_some(&mut self, now: Time, most: usize) -> Amount {
        if self.sweep.earliest > now {
            return Amount::default();
        }
        let lower = self.sweep.cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut looked_at, mut last, mut expired) = (0, None, Vec::new());
        for key in self.order.range::<[u8], _>((lower, Bound::Unbounded)).take(most) {
            looked_at += 1;
            last = Some(key);
            match self.rows.get(key) {
                Some(row) if row.expires_at > now => {
                    self.sweep.earliest_met = self.sweep.earliest_met.min(row.expires_at);
                }
                _ => expired.push(key.clone()),
            }
        }
        self.sweep.cursor = last.cloned();
        if looked_at < most {
            self.sweep.cursor = None;
            self.sweep.earliest = std::mem::replace(&mut self.sweep.earliest_met, Time::NEVER);
        }
        let mut gone = Amount::default();
        for key in expired {
            let value = self.rows.remove(&key).map(|row| row.value).unwrap_or_default();
            self.order.remove(&key);
            gone += Amount { records: 1, bytes: cost(&key, &value) };
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }
    fn held(shard: &Shard) -> Vec<u8> {
        shard.range(Bound::Unbounded, b"").map(|(key, _)| key[0]).collect()
    }

    #[test]
    fn a_sweep_goes_on_where_it_stopped_and_starts_again_at_the_end() {
        let mut shard = Shard::default();
        for n in 0..10 {
            shard.put(&[n], b"", if n % 2 == 0 { at(10) } else { at(20) }, 1);
        }
        assert_eq!(shard.sweep_some(at(9), 100), Amount::default());
        assert_eq!(shard.sweep_some(at(10), 3).records, 2, "0 and 2 of 0, 1, 2");
        assert_eq!(held(&shard), [1, 3, 4, 5, 6, 7, 8, 9]);
        shard.put(&[0], b"", at(10), 2);
        assert_eq!(shard.sweep_some(at(10), 100).records, 3, "4, 6 and 8; 0 lies behind the cursor");
        assert_eq!(held(&shard), [0, 1, 3, 5, 7, 9]);
        assert_eq!(shard.sweep_some(at(10), 100).records, 1, "0 in the next round");
        assert_eq!(shard.sweep_some(at(19), 100), Amount::default());
        assert_eq!(shard.sweep_some(at(20), 100).records, 5);
        assert_eq!(held(&shard), [0; 0]);
    }

    #[test]
    fn a_whole_sweep_starts_at_the_first_key() {
        let mut shard = Shard::default();
        for n in 0..10 {
            shard.put(&[n], b"ab", at(10), 1);
        }
        assert_eq!(shard.sweep_some(at(10), 5).records, 5);
        shard.put(&[0], b"abc", at(10), 2);
        let bytes = cost(&[0], b"abc") + 5 * cost(&[1], b"ab");
        assert_eq!(shard.sweep_all(at(10)), Amount { records: 6, bytes });
    }

    #[test]
    fn a_record_that_is_written_again_lives_as_long_as_the_new_one() {
        let mut shard = Shard::default();
        shard.put(b"k", b"old", at(10), 1);
        shard.put(b"k", b"new", at(30), 2);
        assert_eq!(shard.sweep_all(at(20)), Amount::default());
        assert_eq!(shard.get(b"k").map(|record| record.value), Some(&b"new"[..]));
        assert_eq!(shard.sweep_all(at(30)).records, 1);
    }
}
