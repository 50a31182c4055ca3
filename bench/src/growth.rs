//! Rows about growth: what an operation costs a store that holds the records of so many accounts.
use crate::{
    plot::{Line, Plot},
    process::own_cpu,
    report::{Row, median, micros},
    stores::{Gate, open},
};
use anyhow::{Context, Result};
use countersign_plugin_api::{Batch, Expect, Found, Keys, MAX_OPS, Store, Time};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tempfile::tempdir;

/// Records of an account that a verification reads and writes: state, session, audit.
const RECORDS: u8 = 3;
/// What they are about as long as.
const VALUE: [u8; 120] = [7; 120];
/// What counts is the median of so many.
const ROUNDS: u64 = 5;
/// Cost may grow by this from the fewest accounts to the most.
const FLAT: f64 = 1.5;

/// Costs at each of these numbers of accounts, on either store.
pub(crate) fn rows(accounts: &[u64], operations: u64) -> Result<(Vec<Row>, Plot)> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for store in ["sqlite", "memory"] {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for &accounts in accounts {
            let cost = cost(store, accounts, operations)?;
            #[expect(clippy::cast_precision_loss, reason = "counts of accounts")]
            let x = accounts as f64;
            reads.push((x, micros(cost.read)));
            writes.push((x, micros(cost.write)));
        }
        for (what, points) in [("a read of 3 records", reads), ("3 records read and written", writes)] {
            rows.push(row(&format!("{what}, {store}"), &points));
            lines.push(Line { name: format!("{store}: {what}"), points });
        }
    }
    let title = "CPU of an operation of a store (µs) by the accounts that it holds".into();
    Ok((rows, Plot { name: "accounts".into(), title, lines }))
}

fn row(name: &str, points: &[(f64, f64)]) -> Row {
    let of = |at: Option<&(f64, f64)>| at.map_or((0.0, 0.0), |point| *point);
    let ((few, before), (many, after)) = (of(points.first()), of(points.last()));
    let grown = after / before;
    let measured = format!("{before:.1} µs with {few} accounts, {after:.1} µs with {many}");
    let row = Row::figure(name, &format!("≤ {FLAT} × as much"), measured, Some(grown <= FLAT));
    Row { ratio: Some(grown), ..row }
}

struct Cost {
    read: Duration,
    write: Duration,
}

fn cost(store: &str, accounts: u64, operations: u64) -> Result<Cost> {
    let dir = tempdir()?;
    let table = match store {
        "sqlite" => json!({ "path": dir.path().join("growth.db") }),
        _ => json!({ "max_records": 100_000_000, "max_bytes": "16 GiB", "volatile": true }),
    };
    let store = open(&format!("store-{store}"), &table)?;
    fill(&*store, accounts)?;
    // A step that has no factor in common with the number of accounts comes to all of them, in no order; with few of
    // them again and again, so that as much is done whatever their number.
    let of = |number: u64| number.wrapping_mul(7_368_787) % accounts;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let numbers = round * operations..(round + 1) * operations;
        let before = own_cpu();
        for number in numbers.clone() {
            read(&*store, of(number), accounts)?;
        }
        let between = own_cpu();
        let gate = Arc::new(Gate::default());
        for number in numbers {
            let account = of(number);
            let versions = read(&*store, account, accounts)?;
            let mut batch = Batch::new(Time::from_secs(1));
            for (record, version) in (0..RECORDS).zip(versions) {
                batch.put(&key(account, accounts, record), Expect::Version(version), &VALUE, Time::NEVER);
            }
            gate.submit(&*store, batch);
        }
        gate.wait()?;
        reads.push(between.saturating_sub(before).as_secs_f64());
        writes.push(own_cpu().saturating_sub(between).as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of operations")]
    let each = |rounds| Duration::from_secs_f64(median(rounds) / operations as f64);
    Ok(Cost { read: each(reads), write: each(writes) })
}

/// The homes of that many accounts, as far apart as hashes are, in ascending order.
fn key(account: u64, accounts: u64, record: u8) -> [u8; 24] {
    let mut key = [record; 24];
    key[..8].copy_from_slice(&(account * (u64::MAX / accounts)).to_be_bytes());
    key
}

fn fill(store: &dyn Store, accounts: u64) -> Result<()> {
    let gate = Arc::new(Gate::default());
    let some = MAX_OPS / usize::from(RECORDS);
    for first in (0..accounts).step_by(some) {
        let mut batch = Batch::new(Time::from_secs(1));
        for account in first..(first + some as u64).min(accounts) {
            for record in 0..RECORDS {
                batch.put(&key(account, accounts, record), Expect::Absent, &VALUE, Time::NEVER);
            }
        }
        gate.submit(store, batch);
    }
    gate.wait()
}

fn read(store: &dyn Store, account: u64, accounts: u64) -> Result<Vec<u64>> {
    let names: Vec<_> = (0..RECORDS).map(|record| key(account, accounts, record)).collect();
    let (mut keys, mut found) = (Keys::new(), Found::new());
    names.iter().for_each(|key| keys.push(key));
    store.get(&keys, &mut found).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let version = |at| found.at(at).map(|record| record.version).context("a record is missing");
    (0..names.len()).map(version).collect()
}
