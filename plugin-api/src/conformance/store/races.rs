//! What must hold when many threads write and read at once.
use super::{
    Broken,
    trial::{Outcome, Trial},
};
use crate::{Completion, Expect, MAX_OPS, MAX_SCAN, Store, StoreError, Time};
use std::{
    panic::resume_unwind,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

const THREADS: usize = 8;

/// Runs `part` on every thread at once and answers the first that is broken.
fn at_once(part: impl Fn(usize) -> Result<(), Broken> + Sync) -> Result<(), Broken> {
    let start = Barrier::new(THREADS);
    let run = |n| {
        start.wait();
        part(n)
    };
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)))
    })
}

/// Of many that create the same record at once, one does.
pub fn one_of_many_creates(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("one_of_many_creates", store);
    for round in 0..20 {
        let (key, created) = (t.key(round.to_string()), AtomicUsize::new(0));
        at_once(|n| {
            let mut batch = t.batch();
            batch.put(&t.key_at(1 + n as u64, "beside"), Expect::Any, b"x", Time::NEVER);
            batch.put(&key, Expect::Absent, &[u8::try_from(n).unwrap_or_default()], Time::NEVER);
            match t.submit(batch)? {
                Ok(()) => created.fetch_add(1, Ordering::Relaxed),
                Err(StoreError::Conflict) => 0,
                other => return Err(t.broken("Ok or Conflict", format_args!("{other:?}"))),
            };
            Ok(())
        })?;
        t.same("one creation", 1, created.into_inner())?;
    }
    Ok(())
}

/// Many count up one record by reading and conditionally writing it: the sum is exact.
pub fn no_update_is_lost(store: &Arc<dyn Store>) -> Result<(), Broken> {
    const ROUNDS: u64 = 20;
    let t = Trial::new("no_update_is_lost", store);
    let (sum, own) = (t.key_at(1, "sum"), |n: usize| t.key_at(2 + n as u64, "own"));
    t.put(&sum, &0u64.to_be_bytes(), Time::NEVER)?;
    let number = |value: &[u8]| value.try_into().map_or(u64::MAX, u64::from_be_bytes);
    for round in 1..=ROUNDS {
        let all_have_read = Barrier::new(THREADS);
        at_once(|n| {
            // All hold the same version when the first of them writes: whoever wins, the others must lose.
            let mut held = t.read(&sum);
            all_have_read.wait();
            loop {
                let seen = held?.ok_or_else(|| t.broken("the sum", "no record"))?;
                let next = (number(&seen.value) + 1).to_be_bytes();
                let mut batch = t.batch();
                // A second record in the same batch must count along.
                batch.put(&own(n), Expect::Any, &round.to_be_bytes(), Time::NEVER);
                batch.put(&sum, Expect::Version(seen.version), &next, Time::NEVER);
                match t.submit(batch)? {
                    Ok(()) => return Ok(()),
                    Err(StoreError::Conflict) => held = t.read(&sum),
                    other => return Err(t.broken("Ok or Conflict", format_args!("{other:?}"))),
                }
            }
        })?;
    }
    let seen = t.read(&sum)?.map(|held| number(&held.value));
    t.same("the sum of all steps", Some(THREADS as u64 * ROUNDS), seen)?;
    let own: Vec<_> = (0..THREADS).map(own).collect();
    t.same("each thread's own count", vec![Some(ROUNDS.to_be_bytes().to_vec()); THREADS], t.values(&own)?)
}

/// A reader meets all records of a batch, or none: by `get` and by a scan of one page, both across homes.
pub fn no_reader_sees_part_of_a_batch(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("no_reader_sees_part_of_a_batch", store);
    let near = t.key("")[..6].to_vec();
    let keys: Vec<_> = (0..6u8).map(|n| [&near[..], &[n * 41, n], b"x"].concat()).collect();
    let (over, writers) = (AtomicBool::new(false), AtomicUsize::new(THREADS / 2));
    let write = |n: usize, round: u8| {
        let mut batch = t.batch();
        let value = [u8::try_from(n).unwrap_or_default(), round];
        for key in &keys {
            if round % 5 == 4 {
                batch.delete(key, Expect::Any);
            } else {
                batch.put(key, Expect::Any, &value, Time::NEVER);
            }
        }
        t.accepts("a batch on all keys", batch)
    };
    let look = || {
        let got = t.values(&keys)?;
        let whole = got.iter().all(|value| *value == got[0]);
        t.holds("one value under all keys, or none", whole, format_args!("{got:?}"))?;
        let page = t.scan(&near, None, MAX_SCAN)?;
        let page: Vec<_> = page.into_iter().map(|(_, held)| held.value).collect();
        let whole = page.is_empty() || page.len() == keys.len() && page.iter().all(|value| *value == page[0]);
        t.holds("all records of the page alike, or none", whole, format_args!("{page:?}"))
    };
    at_once(|n| {
        let going = || !over.load(Ordering::Relaxed);
        let writes = n < THREADS / 2;
        let outcome = if writes {
            (0..50).take_while(|_| going()).try_for_each(|round| write(n, round))
        } else {
            std::iter::repeat(()).take_while(|()| going()).try_for_each(|()| look())
        };
        // Readers go on until the last writer is done; whatever is broken ends it for all.
        if writes && writers.fetch_sub(1, Ordering::Relaxed) == 1 || outcome.is_err() {
            over.store(true, Ordering::Relaxed);
        }
        outcome
    })
}

/// Each batch is finished exactly once, with many under way and whatever becomes of them.
pub fn every_batch_is_finished_once(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("every_batch_is_finished_once", store);
    let under_way: Vec<_> = (0..200u64)
        .map(|n| {
            let mut batch = t.batch();
            let expect = if n % 3 == 0 { Expect::Version(u64::MAX) } else { Expect::Any };
            batch.put(&t.key_at(n, "once"), expect, b"x", Time::NEVER);
            if n % 10 == 9 {
                (0..=MAX_OPS).for_each(|at| batch.require(&t.key(at.to_string()), Expect::Any));
            }
            let outcome = Outcome::new();
            store.apply(batch, Completion::new(outcome.clone()));
            (n, outcome)
        })
        .collect();
    for (n, outcome) in &under_way {
        let told =
            outcome.wait().ok_or_else(|| t.broken("every batch to be finished", "one that never was"))?;
        let seen = t.read(&t.key_at(*n, "once"))?.is_some();
        let right = match (n % 10 == 9, n % 3 == 0) {
            (true, _) => told == Err(StoreError::Unavailable) && !seen,
            (_, true) => told == Err(StoreError::Conflict) && !seen,
            // A queue may be full: then nothing was written.
            _ => told == Ok(()) && seen || told == Err(StoreError::Unavailable) && !seen,
        };
        let seen = format_args!("{told:?} for batch {n}, its record there: {seen}");
        t.holds("the outcome that was told", right, seen)?;
    }
    let times: Vec<_> = under_way.iter().map(|(_, outcome)| outcome.times()).collect();
    t.holds("each batch finished once", times.iter().all(|times| *times == 1), format_args!("{times:?}"))
}
