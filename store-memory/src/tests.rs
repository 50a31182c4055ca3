//! The store and its table: the contract, the bounds, and what the ledger says.
use crate::{
    Config,
    shard::{Amount, OVERHEAD, cost},
    store::{HOME, Memory, SHARDS, shard_of},
};
use countersign_plugin_api::{
    Batch, Completion, Expect, MAX_SCAN, Page, Plugin, Store, StoreError, Time, conformance::store as kit,
    kernel::OnDone,
};
use std::{
    sync::{Arc, mpsc},
    thread,
};

struct Told(mpsc::Sender<Result<(), StoreError>>);
impl OnDone for Told {
    fn done(&self, outcome: Result<(), StoreError>) {
        let _ = self.0.send(outcome);
    }
}

fn batch(now: u64, fill: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new(Time::from_secs(now));
    fill(&mut batch);
    batch
}
fn put(now: u64, key: &[u8], len: usize, expires_at: Time) -> Batch {
    batch(now, |batch| batch.put(key, Expect::Any, &vec![0; len], expires_at))
}
/// What a scan meets, counted afresh.
fn recount(memory: &Memory) -> Amount {
    let (mut held, mut after) = (Amount::default(), None::<Vec<u8>>);
    loop {
        let mut page = Page::new();
        memory.scan(b"", after.as_deref(), MAX_SCAN, &mut page).expect("a scan");
        let Some((last, _)) = page.len().checked_sub(1).and_then(|at| page.at(at)) else { return held };
        after = Some(last.to_vec());
        for (key, record) in page.iter() {
            held += Amount { records: 1, bytes: cost(key, record.value) };
        }
    }
}
fn ledger(memory: &Memory) -> Amount {
    let usage = memory.usage().expect("usage");
    Amount { records: usage.records, bytes: usage.bytes }
}

#[test]
fn keeps_the_contract() {
    let store: Arc<dyn Store> = Arc::new(Memory::new(1_000_000, 64 << 20));
    assert_eq!(kit::check_all(&store), Ok(()));
}

#[test]
fn is_full_by_records_and_by_bytes() {
    let by_records: Arc<dyn Store> = Arc::new(Memory::new(50, 64 << 20));
    assert_eq!(kit::full_only_when_it_grows(&by_records, 50), Ok(()));
    let by_bytes: Arc<dyn Store> = Arc::new(Memory::new(1_000_000, 100 << 10));
    assert_eq!(kit::full_only_when_it_grows(&by_bytes, 100), Ok(()));
}

#[test]
fn the_outcome_is_told_before_apply_returns() {
    let (told, outcomes) = mpsc::channel();
    let memory = Memory::new(1, 1 << 20);
    memory.apply(put(1, b"a", 1, Time::NEVER), Completion::new(Arc::new(Told(told.clone()))));
    memory.apply(put(1, b"b", 1, Time::NEVER), Completion::new(Arc::new(Told(told))));
    assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), [Ok(()), Err(StoreError::Full)]);
}

#[test]
fn bytes_count_keys_values_and_overhead() {
    let memory = Memory::new(10, 1 << 20);
    let steps = [
        (put(1, b"key", 100, Time::NEVER), 103 + OVERHEAD, 1),
        (put(1, b"key", 7, Time::NEVER), 10 + OVERHEAD, 1),
        (put(1, b"other", 0, Time::NEVER), 15 + 2 * OVERHEAD, 2),
        (batch(1, |batch| batch.delete(b"key", Expect::Any)), 5 + OVERHEAD, 1),
        (batch(1, |batch| batch.delete(b"key", Expect::Any)), 5 + OVERHEAD, 1),
        (batch(1, |batch| batch.require(b"other", Expect::Any)), 5 + OVERHEAD, 1),
        (batch(1, |batch| batch.delete(b"other", Expect::Any)), 0, 0),
    ];
    for (batch, bytes, records) in steps {
        assert_eq!(memory.apply_now(&batch), Ok(()));
        assert_eq!(ledger(&memory), Amount { records, bytes });
    }
}

#[test]
fn a_full_store_discards_what_has_expired_and_nothing_else() {
    let memory = Memory::new(20, 1 << 20);
    for n in 0..20u8 {
        let expires_at = if n < 5 { Time::from_secs(100) } else { Time::from_secs(200) };
        assert_eq!(memory.apply_now(&put(1, &[n; 9], 1, expires_at)), Ok(()));
    }
    assert_eq!(memory.apply_now(&put(99, b"new 0", 1, Time::NEVER)), Err(StoreError::Full));
    for n in 0..5 {
        let key = format!("new {n}");
        assert_eq!(memory.apply_now(&put(100, key.as_bytes(), 1, Time::NEVER)), Ok(()), "{key}");
    }
    // An older instant does not turn back the store's time, and a later one has room to make once more.
    assert_eq!(memory.apply_now(&put(50, b"new 5", 1, Time::NEVER)), Err(StoreError::Full));
    assert_eq!(ledger(&memory), recount(&memory));
    assert_eq!(memory.apply_now(&put(200, b"new 5", 1, Time::NEVER)), Ok(()));
    assert_eq!(ledger(&memory).records, 6);
}

#[test]
fn what_has_expired_goes_while_others_are_written() {
    let memory = Memory::new(1_000_000, 64 << 20);
    for n in 0..20_000u64 {
        let key = [&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..], b"session"].concat();
        assert_eq!(memory.apply_now(&put(n, &key, 8, Time::from_secs(n + 100))), Ok(()));
    }
    let held = ledger(&memory);
    assert_eq!(held, recount(&memory));
    assert!(held.records < 2_000, "100 live, {} held", held.records);
}

#[test]
fn the_ledger_is_exact_whatever_runs_at_once() {
    const MOST: u64 = 120;
    let memory = Memory::new(MOST, 1 << 20);
    thread::scope(|scope| {
        for seed in 0..4u64 {
            let memory = &memory;
            scope.spawn(move || {
                let mut random = seed + 1;
                for round in 0..3_000u64 {
                    let batch = batch(round, |batch| {
                        for _ in 0..3 {
                            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let key = [(random >> 56) as u8 & 0xFE; 9];
                            let len = (random >> 40) as usize % 64;
                            if batch.ops().any(|op| op.key == key) {
                                continue;
                            }
                            match random >> 33 & 3 {
                                0 => batch.delete(&key, Expect::Any),
                                1 => batch.put(&key, Expect::Absent, &vec![0; len], Time::NEVER),
                                2 => batch.put(&key, Expect::Any, &vec![0; len], Time::from_secs(round + 9)),
                                _ => batch.put(&key, Expect::Any, &vec![0; len], Time::NEVER),
                            }
                        }
                    });
                    let _ = memory.apply_now(&batch);
                    assert!(ledger(memory).records <= MOST);
                }
            });
        }
    });
    assert_eq!(ledger(&memory), recount(&memory));
}

#[test]
fn a_short_key_lies_under_the_prefix_it_starts_with() {
    for key in [&b"a"[..], b"a\0", b"abcdefg", b"abcdefgh", b"abcdefghi", b"\xff\xff"] {
        assert!((shard_of(key) as usize) < SHARDS);
        let longer = [key, b"12345678"].concat();
        assert!(key.len() < HOME || shard_of(key) == shard_of(&longer));
    }
}

fn checked(table: &str) -> Result<(), String> {
    let config: Config = serde_json::from_str(table).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())
}

#[test]
fn volatility_must_be_said() {
    for table in ["{}", r#"{"volatile":false}"#, r#"{"max_records":10,"max_bytes":"1 GiB"}"#] {
        let error = checked(table).expect_err(table);
        assert!(error.contains("volatile = true") && error.contains("restart"), "{error}");
    }
    assert_eq!(checked(r#"{"volatile":true}"#), Ok(()));
    assert_eq!(checked(r#"{"volatile":true,"max_records":1000000,"max_bytes":"64 MiB"}"#), Ok(()));
}

#[test]
fn bounds_that_hold_nothing_and_unknown_keys_are_refused() {
    for (table, word) in [
        (r#"{"volatile":true,"max_records":0}"#, "max_records"),
        (r#"{"volatile":true,"max_bytes":"64 KiB"}"#, "max_bytes"),
        (r#"{"volatile":true,"max_bytes":"64 MB"}"#, "64 MB"),
        (r#"{"volatile":true,"max_record":1}"#, "max_record"),
        (r#"{"volatile":"yes"}"#, "boolean"),
    ] {
        let error = checked(table).expect_err(table);
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = include_str!("../../docs/configuration.toml");
    let shown = |key: &str| reference.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let table = format!(
        r#"{{"volatile":true,"max_records":{},"max_bytes":{}}}"#,
        shown("max_records = ").replace('_', ""),
        shown("max_bytes = ")
    );
    let (shown, own) = (serde_json::from_str::<Config>(&table), serde_json::from_str::<Config>("{}"));
    let values = |config: Config| (config.max_records, config.max_bytes.0);
    assert_eq!(shown.map(values).ok(), own.map(values).ok(), "{table}");
}
