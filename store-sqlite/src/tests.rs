//! The store on real files: the contract, two owners of one file, and what is left when it is dropped.
mod faults;

use crate::{Config, store::Sqlite};
use countersign_plugin_api::{
    Batch, Completion, Expect, Found, Keys, Latency, Page, Plugin, Record, Store, StoreError, Time, Usage,
    conformance::store as kit, kernel::OnDone,
};
use rusqlite::Connection;
use std::{
    fs, panic,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
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

/// For what a thread of the store does in its own time, and soon.
fn eventually(happened: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !happened() {
        if started.elapsed() > Duration::from_mins(1) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
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

#[test]
fn beyond_a_bound_that_was_lowered_only_growth_is_refused() {
    let scratch = Scratch::new();
    let (old, large) = (scratch.open(), "x".repeat(60_000));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(apply(&old, put(1, key, &large, Time::NEVER)), Ok(()));
    }
    drop(old);
    let store = Sqlite::open(&scratch.path(), Some(100_000)).expect("it opens");
    assert_eq!(apply(&store, put(1, "e", "", Time::NEVER)), Err(StoreError::Full));
    assert_eq!(apply(&store, put(1, "a", &format!("{large}x"), Time::NEVER)), Err(StoreError::Full));
    assert_eq!(apply(&store, put(1, "a", &large.replace('x', "y"), Time::NEVER)), Ok(()));
    let mut batch = put(1, "e", &large, Time::NEVER);
    batch.delete(b"a", Expect::Any);
    assert_eq!(apply(&store, batch), Ok(()));
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
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let writer = thread::current().name() == Some("sqlite-writer");
        PANICS.fetch_add(usize::from(writer), Ordering::Relaxed);
        hook(info);
    }));
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    let lock = scratch.beside();
    lock.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    store.apply(put(1, "a", "x", Time::NEVER), Completion::new(Arc::new(Owner(store.clone()))));
    drop(store);
    lock.execute_batch("ROLLBACK").expect("the write lock is given back");
    // The thread that drops the store is the writer itself; whoever opens next finds what it wrote.
    let opened = scratch.open();
    assert!(eventually(|| value(&opened, "a") == Ok(Some("x".into()))));
    // A panic there would be caught and swallowed: a thread that waits for itself is one.
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
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
    assert!(eventually(|| store.usage().map(|usage| usage.records) == Ok(live)));
    let mut page = Page::new();
    store.scan(b"", None, 1000, &mut page).expect("a scan");
    assert_eq!(page.len() as u64, live);
    assert!(page.iter().all(|(_, record)| record.expires_at > Time::from_secs(150)));
    // What is found before the next start counts there too.
    drop(store);
    assert_eq!(scratch.open().usage().map(|usage| usage.records), Ok(live));
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
