//! Tokens, seals and time steps in the host's and the plugin's own code; stores and a bare call through their libraries.
use anyhow::{Context, Result, ensure};
use countersign_host::kernel::{
    Candidate,
    primitives::{Sealer, Tokens},
};
use countersign_plugin_api::{
    Batch, Completion, Expect, Found, Keys, Store, StoreError, Time,
    kernel::{Collected, LogSink, OnDone},
};
use countersign_test_kit::Artifacts;
use criterion::{Criterion, measurement::Measurement};
use mfa::primitives::Totp;
use serde_json::{Value, json};
use std::{hint::black_box, path::Path, sync::Arc};

/// What a plugin registers with that table.
pub(crate) fn collected(plugin: &str, table: &Value) -> Result<Collected> {
    let told = |why: String| anyhow::anyhow!("{plugin}: {why}");
    let opened =
        Candidate::read(&Artifacts::get().plugin(plugin), None).map_err(told)?.open().map_err(told)?;
    let log = LogSink::new(|_, _, _| ());
    opened.register(&table.to_string(), Path::new("/"), log).map_err(|error| told(error.to_string()))
}

pub(crate) fn all<M: Measurement>(criterion: &mut Criterion<M>) -> Result<()> {
    secrets(criterion);
    let memory = store("store-memory", &json!({ "volatile": true }))?;
    crossing(criterion, &*memory);
    reads(criterion, "memory store", &*memory)?;
    writes(criterion, &*memory);
    let dir = tempfile::tempdir()?;
    let sqlite = store("store-sqlite", &json!({ "path": dir.path().join("store.db") }))?;
    reads(criterion, "SQLite store", &*sqlite)
}

fn secrets<M: Measurement>(criterion: &mut Criterion<M>) {
    let mut group = criterion.benchmark_group("secrets");
    let totp = Totp::new(b"12345678901234567890", Time::from_secs(1_800_000_000));
    group.bench_function("TOTP, three steps of one factor", |b| b.iter(|| totp.step(black_box(287_082))));
    let tokens = Tokens::default();
    let token = tokens.sign();
    group.bench_function("challenge token, signed", |b| b.iter(|| tokens.sign()));
    group.bench_function("challenge token, opened", |b| b.iter(|| tokens.opens(black_box(&token))));
    let sealer = Sealer::default();
    for len in [20, 300] {
        let plain = vec![7; len];
        let sealed = sealer.seal(&plain);
        group.bench_function(format!("{len} bytes sealed"), |b| b.iter(|| sealer.seal(black_box(&plain))));
        let mut copy = sealed.clone();
        group.bench_function(format!("{len} bytes opened"), |b| {
            b.iter(|| {
                copy.copy_from_slice(&sealed);
                sealer.open(&mut copy)
            });
        });
    }
    group.finish();
}

fn crossing<M: Measurement>(criterion: &mut Criterion<M>, store: &dyn Store) {
    let mut group = criterion.benchmark_group("crossing");
    group.bench_function("a call with nothing to say", |b| b.iter(|| black_box(store).latency()));
    let (mut keys, mut found) = (Keys::new(), Found::new());
    keys.push(&[9; 24]);
    group.bench_function("a key lent, and the answer that it is not there", |b| {
        b.iter(|| {
            found.clear();
            store.get(black_box(&keys), &mut found)
        });
    });
    group.bench_function("an answer that the plugin fills and the host frees", |b| {
        b.iter(|| black_box(store).usage());
    });
    group.bench_function("a batch given away, and refused", |b| {
        b.iter(|| {
            let mut batch = Batch::new(Time::from_secs(1));
            batch.put(&[9; 24], Expect::Version(1), &[7; 64], Time::NEVER);
            store.apply(batch, Completion::new(Arc::new(Ignored)));
        });
    });
    group.finish();
}

fn store(plugin: &str, table: &Value) -> Result<Arc<dyn Store>> {
    Ok(collected(plugin, table)?.stores.pop().context("no store")?.1)
}

/// One in a thousand homes, with what is read of one account.
fn key(home: u64, record: u8) -> [u8; 40] {
    let mut key = [record; 40];
    key[..8].copy_from_slice(&home.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

const HOMES: u64 = 1000;
const RECORDS: u8 = 3;
const VALUE: [u8; 300] = [7; 300];

fn reads<M: Measurement>(criterion: &mut Criterion<M>, name: &str, store: &dyn Store) -> Result<()> {
    for home in 0..HOMES {
        let mut batch = Batch::new(Time::from_secs(1));
        for record in 0..RECORDS {
            batch.put(&key(home, record), Expect::Absent, &VALUE, Time::NEVER);
        }
        let (done, outcome) = Told::pair();
        store.apply(batch, done);
        ensure!(outcome.recv()? == Ok(()), "{name}: a batch failed");
    }
    let mut group = criterion.benchmark_group(name);
    let mut home = 0;
    group.bench_function(format!("{RECORDS} records of an account read"), |b| {
        b.iter(|| {
            home = (home + 7) % HOMES;
            let (mut keys, mut found) = (Keys::new(), Found::new());
            (0..RECORDS).for_each(|record| keys.push(&key(home, record)));
            store.get(&keys, &mut found).map(|()| found.len())
        });
    });
    group.finish();
    Ok(())
}

fn writes<M: Measurement>(criterion: &mut Criterion<M>, store: &dyn Store) {
    let mut group = criterion.benchmark_group("memory store");
    let mut home = 0;
    for records in [1, RECORDS] {
        group.bench_function(format!("{records} written"), |b| {
            b.iter(|| {
                home = (home + 7) % HOMES;
                let mut batch = Batch::new(Time::from_secs(1));
                for record in 0..records {
                    batch.put(&key(home, record), Expect::Any, &VALUE[..64], Time::NEVER);
                }
                store.apply(batch, Completion::new(Arc::new(Ignored)));
            });
        });
    }
    group.finish();
}

struct Ignored;

impl OnDone for Ignored {
    fn done(&self, _: Result<(), StoreError>) {}
}

struct Told(std::sync::mpsc::SyncSender<Result<(), StoreError>>);

impl Told {
    fn pair() -> (Completion, std::sync::mpsc::Receiver<Result<(), StoreError>>) {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        (Completion::new(Arc::new(Self(sender))), receiver)
    }
}

impl OnDone for Told {
    fn done(&self, outcome: Result<(), StoreError>) {
        let _ = self.0.send(outcome);
    }
}
