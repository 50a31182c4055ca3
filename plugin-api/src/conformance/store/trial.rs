//! What every clause is written with: a key space and a time of its own, and sentences for what went wrong.
use super::Broken;
use crate::{Batch, Completion, Expect, Found, Keys, Page, Record, Store, StoreError, Time, kernel::OnDone};
use std::{
    fmt::{Debug, Display},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How long a batch may take before it counts as never finished: far beyond any healthy store.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
    pub(super) expires_at: Time,
}

impl Held {
    fn of(record: Record<'_>) -> Self {
        Self { value: record.value.to_vec(), version: record.version, expires_at: record.expires_at }
    }
}

/// One run of one clause.
pub(super) struct Trial {
    clause: &'static str,
    store: Arc<dyn Store>,
    /// Later than every instant that an earlier run has shown to any store, by a wide margin.
    pub(super) now: Time,
    space: u64,
}

impl Trial {
    pub(super) fn new(clause: &'static str, store: &Arc<dyn Store>) -> Self {
        // One second of a store's time for each microsecond of ours: even another process that runs the kit
        // on the same store comes later.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let micros = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_micros());
        let micros = u64::try_from(micros).unwrap_or(0);
        let next = |last: u64| Some(micros.max(last + 10_000));
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        let now = Time::from_secs(micros.max(last + 10_000));
        Self { clause, store: store.clone(), now, space: RandomState::new().hash_one(clause) }
    }
    /// The same run on a store that is opened after this one is closed.
    pub(super) fn reopened(self, open: &dyn Fn() -> Arc<dyn Store>) -> Self {
        let Self { clause, store, now, space } = self;
        drop(store);
        Self { clause, store: open(), now, space }
    }

    /// A key in this run's first home.
    pub(super) fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        self.key_at(0, name)
    }
    /// A key in another home: far away in the store, and perhaps under another lock.
    pub(super) fn key_at(&self, home: u64, name: impl AsRef<[u8]>) -> Vec<u8> {
        // An odd factor gives each home another first byte, and so another place.
        let home = self.space.wrapping_add(home.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes();
        [home.as_slice(), name.as_ref()].concat()
    }

    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.now)
    }
    pub(super) fn batch_after(&self, secs: u64) -> Batch {
        Batch::new(self.now + Duration::from_secs(secs))
    }
    pub(super) fn after(&self, secs: u64) -> Time {
        self.now + Duration::from_secs(secs)
    }

    pub(super) fn broken(&self, expected: impl Display, seen: impl Display) -> Broken {
        Broken { clause: self.clause, expected: expected.to_string(), seen: seen.to_string() }
    }
    pub(super) fn same<T: Debug + PartialEq>(&self, what: &str, expected: T, seen: T) -> Result<(), Broken> {
        if expected == seen {
            return Ok(());
        }
        Err(self.broken(format_args!("{what}: {expected:?}"), format_args!("{seen:?}")))
    }
    pub(super) fn holds(&self, expected: &str, truth: bool, seen: impl Display) -> Result<(), Broken> {
        if truth { Ok(()) } else { Err(self.broken(expected, seen)) }
    }

    /// The outcome of a batch, once it is finished.
    pub(super) fn submit(&self, batch: Batch) -> Result<Result<(), StoreError>, Broken> {
        let outcome = Outcome::new();
        self.store.apply(batch, Completion::new(outcome.clone()));
        outcome.wait().ok_or_else(|| self.broken("every batch to be finished", "one that never was"))
    }
    pub(super) fn accepts(&self, what: &str, batch: Batch) -> Result<(), Broken> {
        match self.submit(batch)? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(format_args!("{what}: Ok"), format_args!("{error:?}"))),
        }
    }
    pub(super) fn refuses(&self, what: &str, with: StoreError, batch: Batch) -> Result<(), Broken> {
        match self.submit(batch)? {
            Err(error) if error == with => Ok(()),
            other => Err(self.broken(format_args!("{what}: {with:?}"), format_args!("{other:?}"))),
        }
    }
    /// Puts one record and answers its version.
    pub(super) fn put(&self, key: &[u8], value: &[u8], expires_at: Time) -> Result<u64, Broken> {
        let mut batch = self.batch();
        batch.put(key, Expect::Any, value, expires_at);
        self.accepts("a plain put", batch)?;
        Ok(self.read(key)?.map_or(0, |held| held.version))
    }

    pub(super) fn read(&self, key: &[u8]) -> Result<Option<Held>, Broken> {
        Ok(self.read_all(&[key.to_vec()])?.pop().flatten())
    }
    pub(super) fn read_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Held>>, Broken> {
        let mut asked = Keys::new();
        keys.iter().for_each(|key| asked.push(key));
        let mut found = Found::new();
        self.try_read(&asked, &mut found)?;
        self.same("one answer for each key", keys.len(), found.len())?;
        Ok((0..found.len()).map(|at| found.at(at).map(Held::of)).collect())
    }
    pub(super) fn try_read(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), Broken> {
        self.store.get(keys, found).map_err(|error| self.broken("a read: Ok", format_args!("{error:?}")))
    }
    /// The values under the keys, for a look at a whole batch.
    pub(super) fn values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Broken> {
        Ok(self.read_all(keys)?.into_iter().map(|held| held.map(|held| held.value)).collect())
    }
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Held)>, Broken> {
        let mut page = Page::new();
        self.store
            .scan(prefix, after, limit, &mut page)
            .map_err(|error| self.broken("a scan: Ok", format_args!("{error:?}")))?;
        Ok(page.iter().map(|(key, record)| (key.to_vec(), Held::of(record))).collect())
    }
    pub(super) fn scanned_keys(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Broken> {
        Ok(self.scan(prefix, after, limit)?.into_iter().map(|(key, _)| key).collect())
    }
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }
}

/// Waits for the outcome of one batch, and counts how often it is told.
pub(super) struct Outcome {
    told: Mutex<Vec<Result<(), StoreError>>>,
    changed: Condvar,
}

impl Outcome {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { told: Mutex::default(), changed: Condvar::new() })
    }
    /// `None` when nothing was told in all that time.
    pub(super) fn wait(&self) -> Option<Result<(), StoreError>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = self
            .changed
            .wait_timeout_while(told, PATIENCE, |told| told.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        told.first().copied()
    }
    pub(super) fn times(&self) -> usize {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl OnDone for Outcome {
    fn done(&self, outcome: Result<(), StoreError>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        self.changed.notify_all();
    }
}
