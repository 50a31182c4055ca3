//! The writer thread: drains the queue, one transaction and one wait for the disk for many batches.
//!
//! Every expectation of a batch is looked at before its first write, so a batch that fails has nothing to
//! undo, and how many records there are is known without counting them.
use crate::{
    file::{Database, USED_BYTES, unwritten},
    sweep::{Sweep, SweepSql},
};
use countersign_plugin_api::{Batch, Change, Completion, Record, StoreError, Time, log};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Statement, params};
use std::{
    mem,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

/// A batch on its way.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) done: Completion,
}

/// The most batches in one transaction.
pub(crate) const GROUP: usize = 256;
/// How long the queue must be empty before the sweep goes on by itself, and by how many rows.
const IDLE: Duration = Duration::from_millis(50);
const IDLE_ROWS: usize = 1000;
/// While there is work, the sweep looks at so many rows for each batch.
const ROWS_PER_BATCH: usize = 2;
/// What a new record may cost in pages beyond its own bytes.
const NEW_RECORD_BYTES: u64 = 4096;

/// What outlives a connection.
pub(crate) struct Writer {
    database: Database,
    max_bytes: Option<u64>,
    sweep: Sweep,
    /// The rows that a batch meets, one for each of its operations.
    met: Vec<Option<Met>>,
    /// Whether the last transaction failed: a fault is logged when it comes and when it goes.
    failing: bool,
}

/// A row as it was before a batch.
struct Met {
    version: u64,
    expires_at: Time,
    bytes: u64,
}

/// Read and written inside each transaction, so that two processes never give out the same version.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counter {
    version: u64,
    records: u64,
}

type Outcome = Result<(), StoreError>;

impl Writer {
    pub(crate) fn new(database: Database, max_bytes: Option<u64>) -> Self {
        Self { database, max_bytes, sweep: Sweep::default(), met: Vec::new(), failing: false }
    }

    /// Works until the queue is closed and empty. A connection that fails is replaced, so that whatever was
    /// wrong with the disk, nothing needs to be started again when it has passed.
    pub(crate) fn run(mut self, first: Connection, jobs: &Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut open = Some(first);
        loop {
            let db = open.take().map_or_else(|| self.database.writer(), Ok);
            match db.and_then(|db| self.serve(&db, &mut group, jobs)) {
                Ok(Served::All) => return,
                Ok(Served::UntilFailure) => {}
                Err(error) => {
                    self.fails(&error);
                    group.drain(..).for_each(|job| job.done.finish(Err(unwritten(&error))));
                    // Opened again only when there is something to write, and before it is refused.
                    let Ok(job) = jobs.recv() else { return };
                    group.push(job);
                }
            }
        }
    }

    fn serve(
        &mut self,
        db: &Connection,
        group: &mut Vec<Job>,
        jobs: &Receiver<Job>,
    ) -> rusqlite::Result<Served> {
        let mut sql = Sql::new(db)?;
        loop {
            if group.is_empty() {
                match jobs.recv_timeout(if self.sweep.is_due() { IDLE } else { Duration::MAX }) {
                    Ok(job) => group.push(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(Served::All),
                }
            }
            group.extend(jobs.try_iter().take(GROUP - group.len()));
            let (outcomes, failure) = self.transact(&mut sql, group);
            group.drain(..).zip(outcomes).for_each(|(job, outcome)| job.done.finish(outcome));
            let Some(error) = failure else {
                self.works();
                continue;
            };
            self.fails(&error);
            self.sweep.start_over();
            if !db.is_autocommit() && sql.rollback.execute([]).is_err() {
                return Ok(Served::UntilFailure);
            }
            // Somebody else's long write and a full disk leave the connection as it was.
            if !matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull)) {
                return Ok(Served::UntilFailure);
            }
        }
    }

    /// One transaction: the outcome of each batch, and what went wrong with all of them.
    fn transact(&mut self, sql: &mut Sql<'_>, group: &[Job]) -> (Vec<Outcome>, Option<rusqlite::Error>) {
        let mut outcomes = Vec::with_capacity(group.len());
        if let Err(error) = self.write(sql, group, &mut outcomes) {
            return (vec![Err(unwritten(&error)); group.len()], Some(error));
        }
        match sql.commit.execute([]) {
            Ok(_) => (outcomes, None),
            Err(error) => {
                // From COMMIT on a write may have happened. What had failed before wrote nothing; but it may
                // have failed by a write that is now in doubt.
                let doubt = |outcome: Outcome| {
                    outcome.map_err(|_| StoreError::Unavailable).and(Err(StoreError::Unknown))
                };
                (outcomes.into_iter().map(doubt).collect(), Some(error))
            }
        }
    }

    fn write(
        &mut self,
        sql: &mut Sql<'_>,
        group: &[Job],
        outcomes: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        sql.begin.execute([])?;
        let before =
            sql.counter.query_row([], |row| Ok(Counter { version: row.get(0)?, records: row.get(1)? }))?;
        let mut counter = before;
        for job in group {
            outcomes.push(self.apply(sql, &job.batch, &mut counter)?);
        }
        if self.sweep.is_due() {
            let rows = if group.is_empty() { IDLE_ROWS } else { ROWS_PER_BATCH * group.len() };
            counter.records = counter.records.saturating_sub(self.sweep.go_on(&mut sql.sweep, rows)?);
        }
        if counter != before {
            sql.count.execute(params![counter.version, counter.records])?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        sql: &mut Sql<'_>,
        batch: &Batch,
        counter: &mut Counter,
    ) -> rusqlite::Result<Outcome> {
        self.sweep.see(batch.now());
        self.met.clear();
        for op in batch.ops() {
            let met = sql.meet(op.key)?;
            let record = |met: &Met| Record { value: &[], version: met.version, expires_at: met.expires_at };
            if !op.expect.holds(met.as_ref().map(record), batch.now()) {
                return Ok(Err(StoreError::Conflict));
            }
            self.met.push(met);
        }
        if let Some(most) = self.max_bytes
            && self.is_too_much(sql, batch, most)?
        {
            return Ok(Err(StoreError::Full));
        }
        counter.version += u64::from(!batch.is_read_only());
        for (op, met) in batch.ops().zip(&self.met) {
            match op.change {
                Change::Put { value, expires_at } => {
                    self.sweep.written(expires_at);
                    let put = if met.is_some() { &mut sql.update } else { &mut sql.insert };
                    put.execute(params![op.key, counter.version, expires_at.secs(), value])?;
                    counter.records += u64::from(met.is_none());
                }
                Change::Delete if met.is_some() => {
                    sql.delete.execute([op.key])?;
                    counter.records = counter.records.saturating_sub(1);
                }
                Change::Delete | Change::Keep => {}
            }
        }
        Ok(Ok(()))
    }

    /// Whether a batch grows the store beyond its bound. Pages are counted, so it is about the bound, not
    /// exactly; but whether a batch grows the store at all is exact.
    fn is_too_much(&self, sql: &mut Sql<'_>, batch: &Batch, most: u64) -> rusqlite::Result<bool> {
        let (mut added, mut removed, mut records) = (0, 0, 0i32);
        for (op, met) in batch.ops().zip(&self.met) {
            if let Change::Put { value, .. } = op.change {
                added += (op.key.len() + value.len()) as u64;
                records += 1;
            }
            if let (Change::Put { .. } | Change::Delete, Some(met)) = (op.change, met) {
                removed += met.bytes;
                records -= 1;
            }
        }
        if added <= removed && records <= 0 {
            return Ok(false);
        }
        let used: u64 = sql.used.query_row([], |row| row.get(0))?;
        let new = u64::try_from(records).unwrap_or(0) * NEW_RECORD_BYTES;
        Ok(used + added.saturating_sub(removed) + new > most)
    }

    fn fails(&mut self, error: &rusqlite::Error) {
        if !mem::replace(&mut self.failing, true) {
            log::error(format_args!("the database cannot be written: {error}"));
        }
    }
    fn works(&mut self) {
        if mem::replace(&mut self.failing, false) {
            log::info("the database can be written again");
        }
    }
}

enum Served {
    All,
    UntilFailure,
}

/// The statements of one connection, prepared once.
struct Sql<'a> {
    begin: Statement<'a>,
    commit: Statement<'a>,
    rollback: Statement<'a>,
    counter: Statement<'a>,
    count: Statement<'a>,
    meet: Statement<'a>,
    insert: Statement<'a>,
    update: Statement<'a>,
    delete: Statement<'a>,
    used: Statement<'a>,
    sweep: SweepSql<'a>,
}

impl<'a> Sql<'a> {
    fn new(db: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            // At once for writing: to begin with reading and then find another writer would be a deadlock.
            begin: db.prepare("BEGIN IMMEDIATE")?,
            commit: db.prepare("COMMIT")?,
            rollback: db.prepare("ROLLBACK")?,
            counter: db.prepare("SELECT version, records FROM counter WHERE id = 1")?,
            count: db.prepare("UPDATE counter SET version = ?1, records = ?2 WHERE id = 1")?,
            meet: db.prepare("SELECT version, expires_at, length(value) FROM record WHERE key = ?1")?,
            insert: db
                .prepare("INSERT INTO record (key, version, expires_at, value) VALUES (?1, ?2, ?3, ?4)")?,
            update: db
                .prepare("UPDATE record SET version = ?2, expires_at = ?3, value = ?4 WHERE key = ?1")?,
            delete: db.prepare("DELETE FROM record WHERE key = ?1")?,
            used: db.prepare(USED_BYTES)?,
            sweep: SweepSql::new(db)?,
        })
    }

    fn meet(&mut self, key: &[u8]) -> rusqlite::Result<Option<Met>> {
        let met = |row: &rusqlite::Row<'_>| {
            let bytes = key.len() as u64 + row.get::<_, u64>(2)?;
            Ok(Met { version: row.get(0)?, expires_at: Time::from_secs(row.get(1)?), bytes })
        };
        self.meet.query_row([key], met).optional()
    }
}
