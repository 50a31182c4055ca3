//! The store: a queue to the writer, and connections for reading.
use crate::{
    file::{Database, USED_BYTES, unwritten},
    writer::{Job, Writer},
};
use countersign_plugin_api::{
    Batch, Completion, Error, Found, Keys, Latency, MAX_SCAN, Page, Record, Result, Store, StoreError, Time,
    Usage,
};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// The most batches that wait; beyond that the answer is `Unavailable`, at once.
pub(crate) const QUEUE: usize = 1024;
/// The most connections that are kept for reading.
const READERS: usize = 32;

macro_rules! select {
    ($at:literal) => { concat!("SELECT version, expires_at, value, ", $at, " FROM record WHERE key = ?", $at) };
    ($at:literal $($more:literal)+) => { concat!(select!($at), " UNION ALL ", select!($($more)+)) };
}

/// What reads one key, two, and so on; each row says which of them it is. One statement is of one instant by itself, and
/// three keys cost it 20,000 instructions instead of the 22,500 of three statements in a transaction.
const SELECT: [&str; 4] = [select!(1), select!(1 2), select!(1 2 3), select!(1 2 3 4)];

/// Records in an SQLite database.
pub(crate) struct Sqlite {
    database: Database,
    max_bytes: u64,
    readers: Mutex<Vec<Connection>>,
    /// Both are there until the store is dropped.
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens the database, or makes it where there is none.
    pub(crate) fn open(path: &Path, max_bytes: Option<u64>) -> Result<Self> {
        let (database, db) = Database::open(path)?;
        let writer = Writer::new(database.clone(), max_bytes);
        let (queue, jobs) = sync_channel(QUEUE);
        let writer = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || writer.run(db, &jobs))
            .map_err(|error| Error::new(format_args!("the writer does not start: {error}")))?;
        Ok(Self {
            database,
            max_bytes: max_bytes.unwrap_or(0),
            readers: Mutex::default(),
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    /// Reads with a connection that nobody else uses meanwhile.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = kept.map_or_else(|| self.database.reader(), Ok).map_err(|error| unwritten(&error))?;
        // A connection that has failed is closed: the next one may find things better.
        let answer = read(&db).map_err(|error| unwritten(&error))?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(db);
        }
        Ok(answer)
    }
}

/// What is still in the queue is written and told before this returns.
impl Drop for Sqlite {
    fn drop(&mut self) {
        self.queue.take();
        // The last owner may be a completion, on the writer's own thread, which cannot wait for itself.
        let writer = self.writer.take().filter(|writer| writer.thread().id() != thread::current().id());
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Store for Sqlite {
    fn latency(&self) -> Latency {
        Latency::Quick
    }

    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        if keys.len() > MAX_SCAN {
            return Err(StoreError::Unavailable);
        }
        self.read(|db| {
            // Several statements need a transaction to be of one instant.
            let is_long = keys.len() > SELECT.len();
            if is_long {
                db.prepare_cached("BEGIN")?.execute([])?;
            }
            for first in (0..keys.len()).step_by(SELECT.len()) {
                let some = keys.iter().skip(first).take(SELECT.len());
                let (asked, mut answered) = (some.len(), 0);
                let mut statement = db.prepare_cached(SELECT[asked - 1])?;
                let mut rows = statement.query(params_from_iter(some))?;
                // To ask whether a row comes after the last one would be 500 instructions more.
                while answered < asked
                    && let Some(row) = rows.next()?
                {
                    let at: usize = row.get(3)?;
                    (answered + 1..at).for_each(|_| found.push(None));
                    found.push(Some(record(row)?));
                    answered = at;
                }
                (answered..asked).for_each(|_| found.push(None));
            }
            if is_long {
                db.prepare_cached("COMMIT")?.execute([])?;
            }
            Ok(())
        })
    }

    fn apply(&self, batch: Batch, done: Completion) {
        let Some(queue) = self.queue.as_ref().filter(|_| batch.is_within_bounds()) else {
            return done.finish(Err(StoreError::Unavailable));
        };
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            queue.try_send(Job { batch, done })
        {
            job.done.finish(Err(StoreError::Unavailable));
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let from = after.filter(|after| *after >= prefix);
        let sql = match from {
            Some(_) => {
                "SELECT version, expires_at, value, key FROM record WHERE key > ?1 ORDER BY key LIMIT ?2"
            }
            None => {
                "SELECT version, expires_at, value, key FROM record WHERE key >= ?1 ORDER BY key LIMIT ?2"
            }
        };
        self.read(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query((from.unwrap_or(prefix), limit.min(MAX_SCAN)))?;
            while let Some(row) = rows.next()? {
                let key = row.get_ref(3)?.as_blob()?;
                if !key.starts_with(prefix) {
                    break;
                }
                page.push(key, record(row)?);
            }
            Ok(())
        })
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let (records, bytes) = self.read(|db| {
            let records = db
                .prepare_cached("SELECT records FROM counter WHERE id = 1")?
                .query_row([], |row| row.get(0));
            let bytes = db.prepare_cached(USED_BYTES)?.query_row([], |row| row.get(0));
            Ok((records.optional()?.unwrap_or(0), bytes?))
        })?;
        Ok(Usage { records, bytes, max_records: 0, max_bytes: self.max_bytes })
    }
}

fn record<'a>(row: &'a Row<'_>) -> rusqlite::Result<Record<'a>> {
    let (version, expires_at) = (row.get(0)?, Time::from_secs(row.get(1)?));
    Ok(Record { value: row.get_ref(2)?.as_blob()?, version, expires_at })
}
