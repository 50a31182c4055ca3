//! Linearizability of the stores: whatever several threads saw, they could have seen one after the other.
//!
//! Histories are checked as Wing and Gong did (1993), with the memory of Lowe (2017): an operation may be taken next if
//! none of those that are left was over before it began; what was tried with the same rest on the same state is not
//! tried again.
mod checker;
mod model;

use super::Run;
use anyhow::{Context, Result};
use countersign_host::kernel::Candidate;
use countersign_plugin_api::{
    Batch, Completion, Expect, Found, Keys, MAX_SCAN, Page, Store, StoreError, Time,
    kernel::{LogSink, OnDone},
};
use countersign_test_kit::Artifacts;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Barrier, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

const THREADS: usize = 4;
const EACH: usize = 4;
const KEYS: usize = 3;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let histories = run.scale.of(10_000, 50);
    let dir = tempfile::tempdir()?;
    for (name, table) in [
        ("memory", json!({ "max_records": 10_000_000, "max_bytes": "1 GiB", "volatile": true })),
        ("sqlite", json!({ "path": dir.path().join("linear.db") })),
    ] {
        let store = open(&format!("store-{name}"), &table)?;
        let mut wrong = Vec::new();
        let (mut writes, mut conflicts) = (0, 0);
        for n in 0..histories {
            let history = history(&store, n, run.seed)?;
            writes += history.iter().filter(|event| event.outcome == Outcome::Wrote).count();
            conflicts += history.iter().filter(|event| event.outcome == Outcome::Conflicted).count();
            if !checker::is_linearizable(&history) {
                wrong.push(format!("{history:?}"));
            }
        }
        let first = wrong.first().map(|history| format!(", the first: {history}")).unwrap_or_default();
        let measured = format!(
            "{} anomalies in {histories}, with {writes} writes and {conflicts} conflicts{first}",
            wrong.len()
        );
        let figure = format!("{name}: histories of {THREADS} threads, none anomalous");
        run.report.check(
            ("linear", "R49"),
            figure,
            measured,
            wrong.is_empty() && writes > 0 && conflicts > 0,
        );

        let steps = run.scale.of(100_000, 1_000);
        let seen = model::differs(&store, steps, run.seed)?;
        let measured = seen.clone().unwrap_or_else(|| format!("{steps} steps"));
        run.report.check(
            ("linear", "R49"),
            format!("{name}: random batches, expiry and scans as a model has them"),
            measured,
            seen.is_none(),
        );
    }
    Ok(())
}

/// The store that a plugin registers with that table.
pub(super) fn open(plugin: &str, table: &Value) -> Result<Arc<dyn Store>> {
    let told = |why: String| anyhow::anyhow!("{plugin}: {why}");
    let loaded =
        Candidate::read(&Artifacts::get().plugin(plugin), None).map_err(told)?.open().map_err(told)?;
    let collected = loaded.register(&table.to_string(), Path::new("/"), LogSink::new(|_, _, _| ()));
    let mut collected = collected.map_err(|error| told(error.to_string()))?;
    Ok(collected.stores.pop().context("no store")?.1)
}

// ---- histories ----

/// What the value of a record is known by: the number of the write, which is also its text.
type Write = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    /// All keys at one instant, by `get` or by `scan`.
    Look,
    /// Each key with what is expected of it, and what it becomes.
    Change(Vec<(usize, Expected, Option<Write>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Any,
    Absent,
    /// The record of that write.
    This(Write),
    /// What no record is.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Wrote,
    Conflicted,
    /// May have been written, or not.
    Unsure,
    Saw(Vec<Option<Write>>),
}

#[derive(Debug, Clone)]
struct Event {
    operation: Operation,
    outcome: Outcome,
    began: u64,
    ended: u64,
}

#[derive(Default)]
struct Done(Mutex<Option<Result<(), StoreError>>>, Condvar);

impl OnDone for Done {
    fn done(&self, outcome: Result<(), StoreError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.1.notify_one();
    }
}

/// Applies a batch, and waits for what came of it.
pub(super) fn apply(store: &Arc<dyn Store>, batch: Batch) -> Result<(), StoreError> {
    let done = Arc::new(Done::default());
    store.apply(batch, Completion::new(done.clone()));
    let mut outcome = done.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(outcome) = outcome.take() {
            return outcome;
        }
        outcome = done.1.wait(outcome).unwrap_or_else(PoisonError::into_inner);
    }
}

/// A run of some threads on fresh keys.
fn history(store: &Arc<dyn Store>, number: usize, seed: u64) -> Result<Vec<Event>> {
    let mut home =
        seed.wrapping_add(number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec();
    home.push(b'/');
    // Two of them in one home and one beside it, which may be under another lock.
    let keys: Vec<Vec<u8>> =
        (0..KEYS).map(|n| [&home[..], &[u8::try_from(n).unwrap_or(0)]].concat()).collect();
    let (clock, writes, start) = (AtomicU64::new(0), AtomicU64::new(1), Barrier::new(THREADS));
    let thread = |thread: usize| {
        let mut random = StdRng::seed_from_u64(seed ^ (number * THREADS + thread) as u64);
        let mut known: HashMap<usize, (u64, Write)> = HashMap::new();
        let mut events = Vec::new();
        start.wait();
        for _ in 0..EACH {
            let event = if random.random_bool(0.4) {
                look(store, &home, &keys, &clock, random.random_bool(0.5), &mut known)
            } else {
                change(store, &keys, &clock, &writes, &mut random, &known)
            };
            events.push(event?);
        }
        Ok::<_, anyhow::Error>(events)
    };
    let mut all = Vec::new();
    thread::scope(|scope| {
        let thread = &thread;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || thread(n))).collect();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok(all)
    })
}

fn look(
    store: &Arc<dyn Store>,
    home: &[u8],
    keys: &[Vec<u8>],
    clock: &AtomicU64,
    scans: bool,
    known: &mut HashMap<usize, (u64, Write)>,
) -> Result<Event> {
    let number = |value: &[u8]| value.try_into().map_or(0, u64::from_be_bytes);
    let mut seen = vec![None; KEYS];
    let began = clock.fetch_add(1, SeqCst);
    if scans {
        let mut page = Page::new();
        store.scan(home, None, MAX_SCAN, &mut page)?;
        for (key, record) in (0..page.len()).filter_map(|at| page.at(at)) {
            let at = keys.iter().position(|known| known == key).context("a strange key")?;
            seen[at] = Some((record.version, number(record.value)));
        }
    } else {
        let (mut asked, mut found) = (Keys::new(), Found::new());
        keys.iter().for_each(|key| asked.push(key));
        store.get(&asked, &mut found)?;
        for (at, seen) in seen.iter_mut().enumerate() {
            *seen = found.at(at).map(|record| (record.version, number(record.value)));
        }
    }
    let ended = clock.fetch_add(1, SeqCst);
    for (at, seen) in seen.iter().enumerate() {
        match seen {
            Some(seen) => known.insert(at, *seen),
            None => known.remove(&at),
        };
    }
    let seen = seen.into_iter().map(|seen| seen.map(|(_, write)| write)).collect();
    Ok(Event { operation: Operation::Look, outcome: Outcome::Saw(seen), began, ended })
}

fn change(
    store: &Arc<dyn Store>,
    keys: &[Vec<u8>],
    clock: &AtomicU64,
    writes: &AtomicU64,
    random: &mut StdRng,
    known: &HashMap<usize, (u64, Write)>,
) -> Result<Event> {
    let mut batch = Batch::new(Time::from_secs(1));
    let mut changes = Vec::new();
    let (first, many) = (random.random_range(0..KEYS), random.random_range(1..=2));
    for n in 0..many {
        let at = (first + n) % KEYS;
        let (expect, expected) = match (random.random_range(0..10), known.get(&at)) {
            (0..2, _) => (Expect::Any, Expected::Any),
            (2..9, Some((version, write))) => (Expect::Version(*version), Expected::This(*write)),
            (9, _) => (Expect::Version(u64::MAX), Expected::Never),
            _ => (Expect::Absent, Expected::Absent),
        };
        match random.random_range(0..6) {
            0 => {
                batch.require(&keys[at], expect);
                // What is only required stays what it is.
                changes.push((at, expected, Some(0)));
            }
            1 => {
                batch.delete(&keys[at], expect);
                changes.push((at, expected, None));
            }
            _ => {
                let write = writes.fetch_add(1, SeqCst);
                batch.put(&keys[at], expect, &write.to_be_bytes(), Time::NEVER);
                changes.push((at, expected, Some(write)));
            }
        }
    }
    let began = clock.fetch_add(1, SeqCst);
    let told = apply(store, batch);
    let ended = clock.fetch_add(1, SeqCst);
    let outcome = match told {
        Ok(()) => Outcome::Wrote,
        Err(StoreError::Conflict) => Outcome::Conflicted,
        Err(StoreError::Unknown) => Outcome::Unsure,
        Err(error) => anyhow::bail!("a batch: {error}"),
    };
    Ok(Event { operation: Operation::Change(changes), outcome, began, ended })
}
