//! The kit, tried on a small store that is right, and on the same store with one fault after another.
use super::{CLAUSES, Clause, acknowledged_writes_survive_reopening, check_all, full_only_when_it_grows};
use crate::{
    Batch, Change, Completion, Expect, Found, Keys, Latency, MAX_SCAN, Page, Record, Store, StoreError, Time,
    Usage,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    IgnoresVersion,
    IgnoresAbsent,
    NeverExpires,
    ExpiresLate,
    WritesBeforeItChecks,
    ChecksOnlyTheFirst,
    VersionOfEachKey,
    VersionStays,
    RequirementWrites,
    DeletesNothing,
    AnswersOutOfOrder,
    ScanIncludesAfter,
    ScanIgnoresPrefix,
    ScanEndsAtNextPrefix,
    ScanIgnoresLimit,
    AcceptsAnything,
    DropsCompletions,
    EvictsTheLiving,
    ForgetsExpiry,
    LocksEachKey,
    FullWhenReplaced,
    EvictsWhenFull,
    CountsNothing,
}
use Fault::*;

struct Row {
    value: Vec<u8>,
    version: u64,
    expires_at: Time,
}
impl Row {
    fn record(&self) -> Record<'_> {
        Record { value: &self.value, version: self.version, expires_at: self.expires_at }
    }
}
type Rows = BTreeMap<Vec<u8>, Row>;

/// The whole contract on one lock: what a store is, when nothing needs to be fast or durable.
struct Toy {
    rows: Mutex<Rows>,
    last: AtomicU64,
    reads: AtomicU64,
    most: usize,
    fault: Fault,
}

impl Toy {
    fn open(fault: Fault, most: usize) -> Arc<dyn Store> {
        Arc::new(Self {
            rows: Mutex::default(),
            last: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            most,
            fault,
        })
    }
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("no thread panics")
    }

    fn apply_now(&self, batch: &Batch) -> Result<(), StoreError> {
        if !batch.is_within_bounds() && self.fault != AcceptsAnything {
            return Err(StoreError::Unavailable);
        }
        let mut rows = self.rows();
        let checked = if self.fault == ChecksOnlyTheFirst { 1 } else { usize::MAX };
        let mut grown = rows.len();
        for (at, op) in batch.ops().enumerate() {
            let row = rows.get(op.key);
            if at < checked && !self.expectation_holds(op.expect, row.map(Row::record), batch.now()) {
                return Err(StoreError::Conflict);
            }
            match op.change {
                Change::Put { .. } if row.is_none() || self.fault == FullWhenReplaced => grown += 1,
                Change::Delete if row.is_some() => grown -= 1,
                _ => {}
            }
            if self.fault == WritesBeforeItChecks {
                self.write(&mut rows, op, 1);
            }
        }
        if grown > rows.len() && grown > self.most {
            if self.fault != EvictsWhenFull {
                return Err(StoreError::Full);
            }
            rows.pop_first();
        }
        let version = self.last.fetch_add(u64::from(self.fault != VersionStays), Ordering::Relaxed) + 1;
        for op in batch.ops() {
            if self.fault == LocksEachKey {
                drop(rows);
                self.let_somebody_read();
                rows = self.rows();
            }
            self.write(&mut rows, op, version);
        }
        if self.fault == EvictsTheLiving {
            rows.retain(|_, row| row.expires_at.secs() > batch.now().secs() + 5_000);
        }
        Ok(())
    }
    fn let_somebody_read(&self) {
        let before = self.reads.load(Ordering::Relaxed);
        let unread = || self.reads.load(Ordering::Relaxed) == before;
        (0..10_000).take_while(|_| unread()).for_each(|_| std::thread::yield_now());
    }
    fn expectation_holds(&self, expect: Expect, record: Option<Record<'_>>, now: Time) -> bool {
        match (self.fault, expect) {
            (IgnoresVersion, Expect::Version(_)) => record.is_some(),
            (IgnoresAbsent, Expect::Absent) => true,
            (NeverExpires, Expect::Absent) => record.is_none(),
            (ExpiresLate, Expect::Absent) => record.is_none_or(|record| record.expires_at < now),
            _ => expect.holds(record, now),
        }
    }
    fn write(&self, rows: &mut Rows, op: crate::Op<'_>, version: u64) {
        match op.change {
            Change::Put { value, expires_at } => {
                let own = rows.get(op.key).map_or(0, |row| row.version) + 1;
                let version = if self.fault == VersionOfEachKey { own } else { version };
                let expires_at = if self.fault == ForgetsExpiry { Time::NEVER } else { expires_at };
                rows.insert(op.key.to_vec(), Row { value: value.to_vec(), version, expires_at });
            }
            Change::Delete if self.fault != DeletesNothing => drop(rows.remove(op.key)),
            Change::Keep if self.fault == RequirementWrites => {
                if let Some(row) = rows.get_mut(op.key) {
                    row.version = version;
                }
            }
            _ => {}
        }
    }
}

impl Store for Toy {
    fn latency(&self) -> Latency {
        Latency::Quick
    }
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        if keys.len() > MAX_SCAN {
            return Err(StoreError::Unavailable);
        }
        let rows = self.rows();
        let mut keys: Vec<&[u8]> = keys.iter().collect();
        if self.fault == AnswersOutOfOrder {
            keys.sort_unstable();
        }
        keys.iter().for_each(|key| found.push(rows.get(*key).map(Row::record)));
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn apply(&self, batch: Batch, done: Completion) {
        let outcome = self.apply_now(&batch);
        if self.fault == DropsCompletions && batch.len() > 1 {
            return drop(done);
        }
        done.finish(outcome);
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let rows = self.rows();
        let limit = if self.fault == ScanIgnoresLimit { usize::MAX } else { limit.min(MAX_SCAN) };
        let mut next = prefix.to_vec();
        if let Some(last) = next.last_mut() {
            *last = last.wrapping_add(1);
        }
        rows.iter()
            .filter(|(key, _)| match self.fault {
                ScanIgnoresPrefix => key.as_slice() >= prefix,
                ScanEndsAtNextPrefix => {
                    prefix.is_empty() || (prefix..next.as_slice()).contains(&key.as_slice())
                }
                _ => key.starts_with(prefix),
            })
            .filter(|(key, _)| match self.fault {
                ScanIncludesAfter => after.is_none_or(|after| key.as_slice() >= after),
                _ => after.is_none_or(|after| key.as_slice() > after),
            })
            .take(limit)
            .for_each(|(key, row)| page.push(key, row.record()));
        Ok(())
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        let rows = self.rows();
        let bytes = rows.iter().map(|(key, row)| (key.len() + row.value.len()) as u64).sum();
        let records = if self.fault == CountsNothing { 0 } else { rows.len() as u64 };
        Ok(Usage { records, bytes, max_records: self.most as u64, max_bytes: 0 })
    }
}

#[test]
fn a_store_that_keeps_the_contract_passes() {
    assert_eq!(check_all(&Toy::open(None, 100_000)), Ok(()));
    assert_eq!(full_only_when_it_grows(&Toy::open(None, 10), 10), Ok(()));
    let kept = Toy::open(None, 100);
    assert_eq!(acknowledged_writes_survive_reopening(&|| kept.clone()), Ok(()));
}

#[test]
fn each_fault_breaks_the_clause_that_is_about_it() {
    for (fault, clause) in [
        (IgnoresVersion, "version_expects_exactly_that_record"),
        (IgnoresVersion, "no_update_is_lost"),
        (IgnoresAbsent, "absent_expects_no_live_record"),
        (IgnoresAbsent, "one_of_many_creates"),
        (NeverExpires, "absent_expects_no_live_record"),
        (ExpiresLate, "absent_expects_no_live_record"),
        (WritesBeforeItChecks, "batches_apply_wholly_or_not_at_all"),
        (ChecksOnlyTheFirst, "batches_apply_wholly_or_not_at_all"),
        (ChecksOnlyTheFirst, "requirements_write_nothing"),
        (VersionOfEachKey, "versions_are_never_reused"),
        (VersionOfEachKey, "versions_come_from_one_counter"),
        (VersionStays, "versions_are_never_reused"),
        (RequirementWrites, "requirements_write_nothing"),
        (DeletesNothing, "deletion_removes_the_record"),
        (DeletesNothing, "any_expects_nothing"),
        (AnswersOutOfOrder, "get_answers_each_key_in_order"),
        (ScanIncludesAfter, "scan_follows_byte_order"),
        (ScanIgnoresPrefix, "scan_stays_under_its_prefix"),
        (ScanEndsAtNextPrefix, "scan_stays_under_its_prefix"),
        (ScanIgnoresLimit, "scan_follows_byte_order"),
        (ScanIgnoresLimit, "scan_pages_through_everything"),
        (AcceptsAnything, "out_of_bounds_is_refused_unwritten"),
        (DropsCompletions, "every_batch_is_finished_once"),
        (EvictsTheLiving, "only_the_expired_vanishes"),
        (ForgetsExpiry, "get_answers_each_key_in_order"),
        (LocksEachKey, "no_reader_sees_part_of_a_batch"),
        (CountsNothing, "usage_counts_what_is_held"),
    ] {
        let run: Clause = CLAUSES.iter().find(|(name, _)| *name == clause).expect("a clause of that name").1;
        let broken = run(&Toy::open(fault, 100_000)).expect_err(&format!("{fault:?} passes {clause}"));
        assert_eq!(broken.clause, clause);
    }
}

#[test]
fn a_store_that_refuses_or_forgets_at_its_capacity_is_noticed() {
    for fault in [FullWhenReplaced, EvictsWhenFull] {
        assert!(full_only_when_it_grows(&Toy::open(fault, 10), 10).is_err(), "{fault:?}");
    }
    assert!(full_only_when_it_grows(&Toy::open(None, 100), 10).is_err(), "never full");
    assert!(acknowledged_writes_survive_reopening(&|| Toy::open(None, 100)).is_err(), "forgets everything");
}
