//! What goes wrong: a full queue, a full disk, a database that breaks and is mended while the store runs.
use super::{Scratch, Told, apply, put, read, submit, value};
use crate::{
    file::Database,
    store::QUEUE,
    writer::{GROUP, Job, Writer},
};
use countersign_plugin_api::{Batch, Completion, Expect, StoreError, Time};
use std::{
    sync::{Arc, mpsc},
    thread,
};

#[test]
fn a_full_disk_is_unavailable_and_leaves_the_connection_as_it_was() {
    let scratch = Scratch::new();
    let (database, db) = Database::open(&scratch.path()).expect("it opens");
    // As good as a disk with room for so many pages, for as long as this connection is the writer's.
    db.query_row("PRAGMA max_page_count = 30", [], |_| Ok(())).expect("a pragma");
    let (queue, jobs) = mpsc::channel();
    let writer = thread::spawn(move || Writer::new(database, None).run(db, &jobs));
    let apply = |batch| {
        let (told, outcome) = mpsc::channel();
        queue.send(Job { batch, done: Completion::new(Arc::new(Told(told))) }).expect("the writer works");
        outcome.recv().expect("every batch is finished")
    };
    let large = "x".repeat(60_000);
    assert_eq!(apply(put(1, "a", &large, Time::NEVER)), Ok(()));
    for _ in 0..3 {
        assert_eq!(apply(put(1, "b", &large, Time::NEVER)), Err(StoreError::Unavailable));
        assert_eq!(apply(put(1, "c", "small", Time::NEVER)), Ok(()), "there is room for this");
    }
    let mut batch = Batch::new(Time::from_secs(1));
    batch.delete(b"a", Expect::Any);
    assert_eq!(apply(batch), Ok(()));
    assert_eq!(apply(put(1, "b", &large, Time::NEVER)), Ok(()));
    drop(queue);
    writer.join().expect("the writer ends when its queue does");
}

#[test]
fn a_full_queue_is_answered_at_once() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let held = scratch.beside();
    held.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    // The writer waits with a group in its hands, the queue fills up, and then the answer is there at once.
    let mut waiting = Vec::new();
    let answered_at_once = (0..10 * (QUEUE + GROUP)).find(|n| {
        let outcome = submit(&store, put(1, &n.to_string(), "x", Time::NEVER));
        let told = outcome.try_recv();
        waiting.push(outcome);
        told == Ok(Err(StoreError::Unavailable))
    });
    waiting.pop();
    assert!(answered_at_once.is_some_and(|n| n >= QUEUE && n == waiting.len()), "{answered_at_once:?}");
    held.execute_batch("ROLLBACK").expect("the write lock is given back");
    for (n, outcome) in waiting.iter().enumerate() {
        let told = outcome.recv().expect("every batch is finished");
        let there = value(&store, &n.to_string()).expect("a read").is_some();
        assert_eq!(there, told.is_ok(), "{told:?} for {n}");
    }
    assert_eq!(apply(&store, put(1, "after", "x", Time::NEVER)), Ok(()));
}

#[test]
fn it_works_again_when_what_was_wrong_has_passed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    assert_eq!(apply(&store, put(1, "a", "before", Time::NEVER)), Ok(()));
    scratch.beside().execute_batch("ALTER TABLE record RENAME TO away").expect("a broken database");
    for _ in 0..3 {
        assert_eq!(apply(&store, put(1, "a", "meanwhile", Time::NEVER)), Err(StoreError::Unavailable));
        assert_eq!(value(&store, "a"), Err(StoreError::Unavailable));
    }
    scratch.beside().execute_batch("ALTER TABLE away RENAME TO record").expect("a mended database");
    assert_eq!(value(&store, "a"), Ok(Some("before".into())));
    assert_eq!(apply(&store, put(1, "a", "after", Time::NEVER)), Ok(()));
    assert_eq!(value(&store, "a"), Ok(Some("after".into())));
}

#[test]
fn a_commit_that_fails_is_unknown_and_what_had_failed_before_it_is_not() {
    let scratch = Scratch::new();
    let store = scratch.open();
    // A constraint that SQLite looks at only when it commits.
    let broken = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER orphan AFTER INSERT ON record BEGIN INSERT INTO child VALUES (1); END;";
    let beside = scratch.beside();
    beside.execute_batch(&format!("BEGIN IMMEDIATE; {broken}")).expect("a broken database");
    // Both wait for the lock, so they are in one transaction or in two; either way the second wrote nothing.
    let first = submit(&store, put(1, "a", "x", Time::NEVER));
    let mut conflicting = put(1, "b", "x", Time::NEVER);
    conflicting.require(b"a", Expect::Version(77));
    let second = submit(&store, conflicting);
    beside.execute_batch("COMMIT").expect("the write lock is given back");
    assert_eq!(first.recv(), Ok(Err(StoreError::Unknown)));
    let second = second.recv().expect("every batch is finished");
    assert!(matches!(second, Err(StoreError::Unavailable | StoreError::Conflict)), "{second:?}");
    assert_eq!(value(&store, "a"), Ok(None));
    beside.execute_batch("DROP TRIGGER orphan").expect("a mended database");
    assert_eq!(apply(&store, put(1, "a", "after", Time::NEVER)), Ok(()));
    assert_eq!(read(&store, "a", |record| record.version), Ok(Some(1)), "nothing was counted either");
}

#[test]
fn a_record_that_cannot_be_ours_is_corrupt() {
    let scratch = Scratch::new();
    let store = scratch.open();
    assert_eq!(apply(&store, put(1, "a", "x", Time::NEVER)), Ok(()));
    scratch.beside().execute_batch("UPDATE record SET version = -1").expect("a broken record");
    assert_eq!(value(&store, "a"), Err(StoreError::Corrupt));
    assert_eq!(apply(&store, put(1, "a", "y", Time::NEVER)), Err(StoreError::Corrupt));
    assert_eq!(apply(&store, put(1, "b", "y", Time::NEVER)), Ok(()));
}
