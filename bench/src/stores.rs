//! Rows about the stores' libraries, opened as a host opens them, beside the least that could do the same.
use crate::report::{Row, median};
use anyhow::{Context, Result, ensure};
use countersign_host::kernel::Candidate;
use countersign_plugin_api::{
    Batch, Completion, Expect, Found, Keys, Store, StoreError, Time,
    kernel::{LogSink, OnDone},
};
use countersign_test_kit::Artifacts;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};
use tempfile::tempdir;

/// Batches that are under way at once.
const SUBMITTERS: usize = 64;
/// What a sealed record of a session is about as long as.
const VALUE: [u8; 200] = [7; 200];

/// The store that a plugin registers with that table.
pub(crate) fn open(plugin: &str, table: &Value) -> Result<Arc<dyn Store>> {
    let told = |why: String| anyhow::anyhow!("{plugin}: {why}");
    let loaded =
        Candidate::read(&Artifacts::get().plugin(plugin), None).map_err(told)?.open().map_err(told)?;
    let collected = loaded.register(&table.to_string(), Path::new("/"), LogSink::new(|_, _, _| ()));
    let mut collected = collected.map_err(|error| told(error.to_string()))?;
    Ok(collected.stores.pop().context("no store")?.1)
}

/// A key in a home of its own, as far from its neighbours as a hash is.
pub(crate) fn key(number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key[8..16].copy_from_slice(&number.to_be_bytes());
    key
}

/// Lets so many batches be under way, and no more.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<Passage>,
    moved: Condvar,
}

#[derive(Default)]
struct Passage {
    under_way: usize,
    failed: Option<StoreError>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, Passage> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn submit(self: &Arc<Self>, store: &dyn Store, batch: Batch) {
        let state = self.state();
        let full = |state: &mut Passage| state.under_way >= SUBMITTERS;
        let mut state = self.moved.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        state.under_way += 1;
        drop(state);
        store.apply(batch, Completion::new(self.clone()));
    }
    pub(crate) fn wait(&self) -> Result<()> {
        let state = self.state();
        let busy = |state: &mut Passage| state.under_way > 0;
        let state = self.moved.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner);
        ensure!(state.failed.is_none(), "a batch failed: {:?}", state.failed);
        Ok(())
    }
}

impl OnDone for Gate {
    fn done(&self, outcome: Result<(), StoreError>) {
        let mut state = self.state();
        state.under_way -= 1;
        state.failed = state.failed.or(outcome.err());
        self.moved.notify_all();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of batches")]
fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Durable batches of one record each from many submitters, and a thread that commits 64 of them at a time.
pub(crate) fn sqlite(repeats: usize, batches: u64) -> Result<Row> {
    let dir = tempdir()?;
    let store = open("store-sqlite", &json!({ "path": dir.path().join("store.db") }))?;
    let mut raw = raw(&dir.path().join("raw.db"))?;
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for repeat in 0..repeats as u64 {
        let numbers = repeat * batches..(repeat + 1) * batches;
        let begun = Instant::now();
        commit(&mut raw, numbers.clone())?;
        let reference = per_second(batches, begun);

        let (gate, begun) = (Arc::new(Gate::default()), Instant::now());
        for number in numbers {
            let mut batch = Batch::new(Time::from_secs(1));
            batch.put(&key(number), Expect::Absent, &VALUE, Time::NEVER);
            gate.submit(&*store, batch);
        }
        gate.wait()?;
        rates.push(per_second(batches, begun));
        ratios.push(rates[rates.len() - 1] / reference);
    }
    let (rate, ratio) = (median(rates), median(ratios));
    let row = Row::figure(
        "SQLite store, durable batches of 64 submitters, × one thread that commits 64 at a time",
        "≥ 0.80",
        format!("{rate:.0}/s"),
        Some(ratio >= 0.8),
    );
    Ok(Row { ratio: Some(ratio), ..row })
}

fn raw(file: &Path) -> Result<Connection> {
    let raw = Connection::open(file)?;
    raw.pragma_update(None, "journal_mode", "wal")?;
    raw.pragma_update(None, "synchronous", "full")?;
    raw.execute_batch(
        "CREATE TABLE records (key BLOB PRIMARY KEY, version INTEGER NOT NULL, expires INTEGER NOT NULL, \
         value BLOB NOT NULL) WITHOUT ROWID",
    )?;
    Ok(raw)
}

fn commit(raw: &mut Connection, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let group = raw.transaction()?;
        {
            let mut put = group.prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4)")?;
            for number in numbers.by_ref().take(SUBMITTERS) {
                put.execute((&key(number)[..], 1, i64::MAX, &VALUE[..]))?;
            }
        }
        group.commit()?;
    }
    Ok(())
}

/// Writes that expect a version, of two threads on records of their own.
pub(crate) fn memory(repeats: usize, writes: u64) -> Result<Row> {
    let table = json!({ "max_records": 10_000_000, "max_bytes": "2 GiB", "volatile": true });
    let store = open("store-memory", &table)?;
    let rates: Result<Vec<f64>> = (0..repeats).map(|_| conditional(&store, writes)).collect();
    let rate = median(rates?);
    Ok(Row::figure(
        "memory store, conditional writes of 2 threads",
        "≥ 10 M/s",
        format!("{:.2} M/s", rate / 1e6),
        Some(rate >= 10e6),
    ))
}

fn conditional(store: &Arc<dyn Store>, writes: u64) -> Result<f64> {
    const RECORDS: u64 = 10_000;
    struct Counted(Mutex<u64>);
    impl OnDone for Counted {
        fn done(&self, outcome: Result<(), StoreError>) {
            if outcome.is_err() {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
        }
    }
    let start = Barrier::new(2);
    let half = |part: u64| -> Result<f64> {
        let failed = Arc::new(Counted(Mutex::new(0)));
        let keys: Vec<_> = (part * RECORDS..(part + 1) * RECORDS).map(key).collect();
        for key in &keys {
            let mut batch = Batch::new(Time::from_secs(1));
            batch.put(key, Expect::Any, &VALUE[..64], Time::NEVER);
            store.apply(batch, Completion::new(failed.clone()));
        }
        let (mut time, mut done) = (0.0, 0);
        while done < writes {
            let mut versions = Vec::new();
            for some in keys.chunks(500) {
                let (mut asked, mut found) = (Keys::new(), Found::new());
                some.iter().for_each(|key| asked.push(key));
                store.get(&asked, &mut found).map_err(|error| anyhow::anyhow!("{error:?}"))?;
                versions.extend((0..some.len()).map(|at| found.at(at).map_or(0, |record| record.version)));
            }
            start.wait();
            let begun = Instant::now();
            for (key, version) in keys.iter().zip(versions) {
                let mut batch = Batch::new(Time::from_secs(1));
                batch.put(key, Expect::Version(version), &VALUE[..64], Time::NEVER);
                store.apply(batch, Completion::new(failed.clone()));
            }
            time += begun.elapsed().as_secs_f64();
            done += RECORDS;
        }
        let failed = *failed.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(failed == 0, "{failed} conditional writes failed");
        #[expect(clippy::cast_precision_loss, reason = "counts of writes")]
        Ok(done as f64 / time)
    };
    thread::scope(|scope| {
        let half = &half;
        let both = [scope.spawn(move || half(0)), scope.spawn(move || half(1))];
        both.into_iter().try_fold(0.0, |sum, one| {
            Ok(sum + one.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??)
        })
    })
}
