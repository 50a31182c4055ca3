//! The store on real files: the contract, two owners of one file, and what goes wrong with a disk.
use crate::{
    Config,
    store::{QUEUE, Sqlite},
    writer::GROUP,
};
use countersign_plugin_api::{
    Batch, Completion, Expect, Found, Keys, Latency, Page, Plugin, Record, Store, StoreError, Time, Usage,
    conformance::store as kit, kernel::OnDone,
};
use rusqlite::Connection;
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

/// A directory of a test's own, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("store-sqlite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
    /// In a directory that is not there yet.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("store.db")
    }
    fn open(&self) -> Sqlite {
        Sqlite::open(&self.path(), None).expect("a scratch store opens")
    }
    /// A connection that is not the store's.
    fn beside(&self) -> Connection {
        Connection::open(self.path()).expect("the file is an SQLite database")
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Told(mpsc::Sender<Result<(), StoreError>>);
impl OnDone for Told {
    fn done(&self, outcome: Result<(), StoreError>) {
        let _ = self.0.send(outcome);
    }
}

fn submit(store: &Sqlite, batch: Batch) -> mpsc::Receiver<Result<(), StoreError>> {
    let (told, outcome) = mpsc::channel();
    store.apply(batch, Completion::new(Arc::new(Told(told))));
    outcome
}
fn apply(store: &Sqlite, batch: Batch) -> Result<(), StoreError> {
    submit(store, batch).recv().expect("every batch is finished")
}
fn put(now: u64, key: &str, value: &str, expires_at: Time) -> Batch {
    let mut batch = Batch::new(Time::from_secs(now));
    batch.put(key.as_bytes(), Expect::Any, value.as_bytes(), expires_at);
    batch
}
fn read<T>(store: &Sqlite, key: &str, of: impl Fn(Record<'_>) -> T) -> Result<Option<T>, StoreError> {
    let (mut keys, mut found) = (Keys::new(), Found::new());
    keys.push(key.as_bytes());
    store.get(&keys, &mut found).map(|()| found.at(0).map(of))
}
fn value(store: &Sqlite, key: &str) -> Result<Option<String>, StoreError> {
    read(store, key, |record| String::from_utf8_lossy(record.value).into_owned())
}

#[test]
fn keeps_the_contract() {
    let scratch = Scratch::new();
    let store: Arc<dyn Store> = Arc::new(scratch.open());
    assert_eq!(kit::check_all(&store), Ok(()));
}

#[test]
fn keeps_what_it_has_acknowledged() {
    let scratch = Scratch::new();
    assert_eq!(kit::acknowledged_writes_survive_reopening(&|| Arc::new(scratch.open())), Ok(()));
}

#[test]
fn is_full_at_its_bound_only() {
    let scratch = Scratch::new();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&scratch.path(), Some(512 << 10)).expect("opens"));
    assert_eq!(kit::full_only_when_it_grows(&store, 512), Ok(()));
}

/// Two owners of one file, each asked in turn.
struct InTurn([Sqlite; 2], AtomicUsize);
impl InTurn {
    fn next(&self) -> &Sqlite {
        &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
    }
}
impl Store for InTurn {
    fn latency(&self) -> Latency {
        self.next().latency()
    }
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        self.next().get(keys, found)
    }
    fn apply(&self, batch: Batch, done: Completion) {
        self.next().apply(batch, done);
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        self.next().scan(prefix, after, limit, page)
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        self.next().usage()
    }
}

#[test]
fn two_owners_of_one_file_are_one_store() {
    let scratch = Scratch::new();
    let store: Arc<dyn Store> = Arc::new(InTurn([scratch.open(), scratch.open()], AtomicUsize::new(0)));
    assert_eq!(kit::versions_are_never_reused(&store), Ok(()));
    assert_eq!(kit::versions_come_from_one_counter(&store), Ok(()));
    assert_eq!(kit::one_of_many_creates(&store), Ok(()));
    assert_eq!(kit::no_update_is_lost(&store), Ok(()));
    assert_eq!(kit::usage_counts_what_is_held(&store), Ok(()));
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
fn dropping_the_store_writes_what_waits() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let waiting: Vec<_> =
        (0..500).map(|n| submit(&store, put(1, &n.to_string(), "x", Time::NEVER))).collect();
    drop(store);
    assert!(waiting.iter().all(|outcome| outcome.try_recv() == Ok(Ok(()))));
    let left: Vec<_> = fs::read_dir(&scratch.0).expect("the directory").collect();
    assert_eq!(left.len(), 1, "the log was brought home and removed: {left:?}");
    assert_eq!(scratch.open().usage().map(|usage| usage.records), Ok(500));
}

#[test]
fn the_last_owner_may_be_a_completion() {
    struct Owner(
        #[expect(dead_code, reason = "held, so that it is dropped with the completion")] Arc<Sqlite>,
    );
    impl OnDone for Owner {
        fn done(&self, _outcome: Result<(), StoreError>) {}
    }
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let lock = scratch.beside();
    lock.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    store.apply(put(1, "a", "x", Time::NEVER), Completion::new(Arc::new(Owner(store.clone()))));
    drop(store);
    lock.execute_batch("ROLLBACK").expect("the write lock is given back");
    // The thread that drops the store is the writer itself; whoever opens next finds what it wrote.
    let opened = scratch.open();
    while value(&opened, "a") == Ok(None) {
        std::thread::yield_now();
    }
}

#[test]
fn what_has_expired_is_deleted_and_nothing_else() {
    let scratch = Scratch::new();
    let store = scratch.open();
    for n in 0..300u64 {
        let expires_at = if n % 3 == 0 { Time::NEVER } else { Time::from_secs(n) };
        assert_eq!(apply(&store, put(0, &format!("{n:03}"), "x", expires_at)), Ok(()));
    }
    assert_eq!(store.usage().map(|usage| usage.records), Ok(300), "nothing has expired at the epoch");
    assert_eq!(apply(&store, put(150, "000", "y", Time::NEVER)), Ok(()));
    // 100 that never expire, and two of every three from 151 to 299.
    let live = 100 + (151..300).filter(|n| n % 3 != 0).count() as u64;
    while store.usage().expect("usage").records > live {
        std::thread::yield_now();
    }
    let mut page = Page::new();
    store.scan(b"", None, 1000, &mut page).expect("a scan");
    assert_eq!(page.len() as u64, live);
    assert!(page.iter().all(|(_, record)| record.expires_at > Time::from_secs(150)));
    // What is found before the next start counts there too.
    drop(store);
    assert_eq!(scratch.open().usage().map(|usage| usage.records), Ok(live));
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

#[test]
fn a_table_must_name_a_file_and_nothing_unknown() {
    for (table, word) in [
        ("{}", "path"),
        (r#"{"path":""}"#, "must name a file"),
        (r#"{"path":"/"}"#, "must name a file"),
        (r#"{"path":"a.db","max_bytes":"1 MiB"}"#, "at least"),
        (r#"{"path":"a.db","max_bytes":"much"}"#, "much"),
        (r#"{"path":"a.db","mode":"fast"}"#, "mode"),
    ] {
        let config = serde_json::from_str::<Config>(table).map_err(|error| error.to_string());
        let error = config.and_then(|config| config.check().map_err(|error| error.to_string()));
        let error = error.expect_err(table);
        assert!(error.contains(word), "{error}");
    }
    for table in [r#"{"path":"a.db"}"#, r#"{"path":"/data/a.db","max_bytes":"8 GiB"}"#] {
        let config: Config = serde_json::from_str(table).expect(table);
        assert_eq!(config.check(), Ok(()));
    }
}
