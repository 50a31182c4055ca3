//! The store: shards, one version counter, one ledger of what is held.
use crate::shard::{Amount, Shard, cost};
use countersign_plugin_api::{
    Batch, Change, Completion, Found, Keys, Latency, MAX_SCAN, Page, Record, Store, StoreError, Time, Usage,
};
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    ops::Bound,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A power of two, and at most as many as a mask has bits.
pub(crate) const SHARDS: usize = 64;
/// The leading bytes of a key that decide its shard: a subject's home, so that a batch about one subject
/// takes one lock.
pub(crate) const HOME: usize = 8;
/// One write in so many goes on with the sweep of the shards that it has locked, by twice as many keys: what
/// has expired is soon less than what has not, and no single write pays for more than one step.
const SWEEP_EVERY: u64 = 16;
const SWEEP_KEYS: usize = 32;

/// Records in memory. A call locks the shards it touches, always in ascending order, and the ledger last.
pub(crate) struct Memory {
    shards: Vec<Mutex<Shard>>,
    last_version: AtomicU64,
    /// The largest [`Batch::now`] seen, in seconds: the store's time.
    latest: AtomicU64,
    held: Mutex<Amount>,
    most: Amount,
}

impl Memory {
    pub(crate) fn new(max_records: u64, max_bytes: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            last_version: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            held: Mutex::default(),
            most: Amount { records: max_records, bytes: max_bytes },
        }
    }

    pub(crate) fn apply_now(&self, batch: &Batch) -> Result<(), StoreError> {
        if !batch.is_within_bounds() {
            return Err(StoreError::Unavailable);
        }
        let now = batch.now().secs();
        if self.latest.load(Relaxed) < now {
            self.latest.fetch_max(now, Relaxed);
        }
        match self.write(batch) {
            Err(StoreError::Full) if self.discard_expired() => self.write(batch),
            outcome => outcome,
        }
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut locked = self.lock(batch.ops().map(|op| op.key));
        let (mut added, mut removed) = (Amount::default(), Amount::default());
        for op in batch.ops() {
            let record = locked.of(op.key).get(op.key);
            if !op.expect.holds(record, batch.now()) {
                return Err(StoreError::Conflict);
            }
            let of = |value: &[u8]| Amount { records: 1, bytes: cost(op.key, value) };
            match op.change {
                Change::Keep => continue,
                Change::Put { value, .. } => added += of(value),
                Change::Delete => {}
            }
            removed += record.map_or(Amount::default(), |record| of(record.value));
        }
        self.settle(added, removed)?;
        // Every expectation holds and there is room: from here on nothing fails.
        let version = self.last_version.fetch_add(1, Relaxed) + 1;
        for op in batch.ops() {
            match op.change {
                Change::Keep => {}
                Change::Put { value, expires_at } => {
                    locked.of(op.key).put(op.key, value, expires_at, version);
                }
                Change::Delete => locked.of(op.key).delete(op.key),
            }
        }
        if version.is_multiple_of(SWEEP_EVERY) {
            self.release(locked.sweep_some(self.now()));
        }
        Ok(())
    }

    /// Enters a change into the ledger, or refuses one that would exceed what it grows.
    fn settle(&self, added: Amount, removed: Amount) -> Result<(), StoreError> {
        if added == removed {
            return Ok(());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Amount {
            records: held.records + added.records - removed.records,
            bytes: held.bytes + added.bytes - removed.bytes,
        };
        if next.records > held.records.max(self.most.records) || next.bytes > held.bytes.max(self.most.bytes)
        {
            return Err(StoreError::Full);
        }
        *held = next;
        Ok(())
    }
    fn release(&self, gone: Amount) {
        if gone.records > 0 {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.records -= gone.records;
            held.bytes -= gone.bytes;
        }
    }

    /// Makes room, one shard at a time. Costs little when nothing has expired, so that a full store can be
    /// asked again and again.
    fn discard_expired(&self) -> bool {
        let mut any = false;
        for shard in &self.shards {
            let gone = lock(shard).sweep_all(self.now());
            self.release(gone);
            any |= gone.records > 0;
        }
        any
    }

    fn now(&self) -> Time {
        Time::from_secs(self.latest.load(Relaxed))
    }

    fn lock<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Locked<'_> {
        self.lock_mask(keys.fold(0, |mask, key| mask | 1 << shard_of(key)))
    }
    fn lock_mask(&self, mask: u64) -> Locked<'_> {
        if mask.is_power_of_two() {
            return Locked {
                mask,
                guards: Guards::One([lock(&self.shards[mask.trailing_zeros() as usize])]),
            };
        }
        let mut guards = Vec::with_capacity(mask.count_ones() as usize);
        let mut rest = mask;
        while rest != 0 {
            guards.push(lock(&self.shards[rest.trailing_zeros() as usize]));
            rest &= rest - 1;
        }
        Locked { mask, guards: Guards::Several(guards) }
    }
}

/// The locked shards of one call; the mask says which ones.
struct Locked<'a> {
    mask: u64,
    guards: Guards<'a>,
}

/// Most batches are about one subject, and then nothing is allocated.
enum Guards<'a> {
    One([MutexGuard<'a, Shard>; 1]),
    Several(Vec<MutexGuard<'a, Shard>>),
}

impl<'a> Guards<'a> {
    fn all(&self) -> &[MutexGuard<'a, Shard>] {
        match self {
            Self::One(one) => one,
            Self::Several(several) => several,
        }
    }
    fn all_mut(&mut self) -> &mut [MutexGuard<'a, Shard>] {
        match self {
            Self::One(one) => one,
            Self::Several(several) => several,
        }
    }
}

impl Locked<'_> {
    fn of(&mut self, key: &[u8]) -> &mut Shard {
        let before = self.mask & ((1 << shard_of(key)) - 1);
        &mut self.guards.all_mut()[before.count_ones() as usize]
    }
    fn sweep_some(&mut self, now: Time) -> Amount {
        let mut gone = Amount::default();
        for shard in self.guards.all_mut() {
            gone += shard.sweep_some(now, SWEEP_KEYS);
        }
        gone
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A poisoned shard is whole: its writes happen after all that could fail.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn shard_of(key: &[u8]) -> u32 {
    let mut home = [0; HOME];
    let len = key.len().min(HOME);
    home[..len].copy_from_slice(&key[..len]);
    // Homes are hashes already; a multiplication spreads those that are not.
    let mixed = u64::from_be_bytes(home).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32 >> (u32::BITS - SHARDS.ilog2())
}

impl Store for Memory {
    fn latency(&self) -> Latency {
        Latency::Quick
    }

    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        if keys.len() > MAX_SCAN {
            return Err(StoreError::Unavailable);
        }
        // All locks are held until the last answer, so that the answers are of one instant.
        let mut locked = self.lock(keys.iter());
        for key in keys.iter() {
            found.push(locked.of(key).get(key));
        }
        Ok(())
    }

    fn apply(&self, batch: Batch, done: Completion) {
        done.finish(self.apply_now(&batch));
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let limit = limit.min(MAX_SCAN);
        let lower = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        // A prefix as long as a home lies in one shard.
        let mask = if prefix.len() < HOME { u64::MAX } else { 1 << shard_of(prefix) };
        let locked = self.lock_mask(mask);
        let mut parts: Vec<_> = locked.guards.all().iter().map(|shard| shard.range(lower, prefix)).collect();
        let mut heads: BinaryHeap<Reverse<Head<'_>>> =
            parts.iter_mut().enumerate().filter_map(|(part, range)| Head::next(part, range)).collect();
        for _ in 0..limit {
            let Some(Reverse(head)) = heads.pop() else { break };
            page.push(head.key, head.record);
            heads.extend(Head::next(head.part, &mut parts[head.part]));
        }
        Ok(())
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Usage {
            records: held.records,
            bytes: held.bytes,
            max_records: self.most.records,
            max_bytes: self.most.bytes,
        })
    }
}

/// The next record of one shard, while several are merged. No two shards hold the same key.
struct Head<'a> {
    key: &'a [u8],
    part: usize,
    record: Record<'a>,
}

impl<'a> Head<'a> {
    fn next(part: usize, range: &mut impl Iterator<Item = (&'a [u8], Record<'a>)>) -> Option<Reverse<Self>> {
        range.next().map(|(key, record)| Reverse(Self { key, part, record }))
    }
}
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(other.key)
    }
}
impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Eq for Head<'_> {}
impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
