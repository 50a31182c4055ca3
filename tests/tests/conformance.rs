//! The store kit through the real libraries, as a host opens them.
use countersign_host::kernel::Candidate;
use countersign_plugin_api::{
    Store,
    conformance::store::{Broken, acknowledged_writes_survive_reopening, check_all, full_only_when_it_grows},
    kernel::LogSink,
};
use countersign_tests::{Artifacts, fixture};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

/// The store that a plugin registers with that table.
fn open(plugin: &str, table: &Value) -> Arc<dyn Store> {
    let library = Artifacts::get().plugin(plugin);
    let loaded = Candidate::read(&library, None).expect("a sound library").open().expect("a plugin");
    let sink = LogSink::new(|_, _, _| ());
    let mut collected = loaded.register(&table.to_string(), Path::new("/"), sink).expect("it registers");
    let (name, store) = collected.stores.pop().expect("a store");
    assert_eq!(plugin, format!("store-{name}"));
    store
}

fn memory(max_records: u64) -> Arc<dyn Store> {
    open("store-memory", &json!({ "max_records": max_records, "max_bytes": "64 MiB", "volatile": true }))
}

#[track_caller]
fn kept(outcome: Result<(), Broken>) {
    assert!(outcome.is_ok(), "{}", outcome.expect_err("just seen"));
}

#[test]
fn memory_keeps_every_clause() {
    assert_eq!(check_all(&memory(1_000_000)), Ok(()));
    kept(full_only_when_it_grows(&memory(64), 64));
}

#[test]
fn sqlite_keeps_every_clause() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = json!({ "path": dir.path().join("kit.db") });
    assert_eq!(check_all(&open("store-sqlite", &table)), Ok(()));
    kept(acknowledged_writes_survive_reopening(&|| open("store-sqlite", &table)));
}

#[test]
fn the_kit_notices_a_store_that_breaks_the_contract() {
    let faulty = {
        let library = fixture("store-faulty");
        let loaded = Candidate::read(&library, None).expect("a sound library").open().expect("a plugin");
        let table = json!({ "fault": "conflicts" }).to_string();
        loaded
            .register(&table, Path::new("/"), LogSink::new(|_, _, _| ()))
            .expect("it registers")
            .stores
            .remove(0)
            .1
    };
    let broken = check_all(&faulty).expect_err("it must be noticed");
    assert!(broken.iter().any(|broken| broken.clause == "any_expects_nothing"), "{broken:?}");
}
