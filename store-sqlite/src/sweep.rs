//! What has expired, found a few rows at a time by a walk through all keys, over and over.
use countersign_plugin_api::Time;
use rusqlite::{Connection, Statement, params};

/// Where the walk is, and whether it is worth going on: it rests while nothing can have expired.
pub(crate) struct Sweep {
    /// The largest instant that a batch has named: the store's time.
    latest: Time,
    /// The key it has come to; empty at the start.
    cursor: Vec<u8>,
    /// No record expires before this, as far as this process knows.
    earliest: Time,
    /// The same, of those that this round has met and those written meanwhile: what `earliest` is after it.
    earliest_met: Time,
}

impl Default for Sweep {
    fn default() -> Self {
        // What the file holds is not known, so there is a first round.
        let earliest = Time::EPOCH;
        Self { latest: Time::EPOCH, cursor: Vec::new(), earliest, earliest_met: Time::NEVER }
    }
}

impl Sweep {
    pub(crate) fn see(&mut self, now: Time) {
        self.latest = self.latest.max(now);
    }
    pub(crate) fn written(&mut self, expires_at: Time) {
        self.earliest = self.earliest.min(expires_at);
        self.earliest_met = self.earliest_met.min(expires_at);
    }
    pub(crate) fn is_due(&self) -> bool {
        self.latest > Time::EPOCH && self.earliest <= self.latest
    }
    /// After a transaction that was not committed: what this round has met may still be there.
    pub(crate) fn start_over(&mut self) {
        *self = Self { latest: self.latest, ..Self::default() };
    }

    /// Looks at the next `most` rows, deletes those that have expired, and answers how many.
    pub(crate) fn go_on(&mut self, sql: &mut SweepSql<'_>, most: usize) -> rusqlite::Result<u64> {
        let (mut looked_at, mut expired, mut last) = (0, false, Vec::new());
        let mut rows = sql.next.query(params![self.cursor, most])?;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            row.get_ref(0)?.as_blob()?.clone_into(&mut last);
            match Time::from_secs(row.get(1)?) {
                time if time <= self.latest => expired = true,
                time => self.earliest_met = self.earliest_met.min(time),
            }
        }
        drop(rows);
        let gone =
            if expired { sql.delete.execute(params![self.cursor, last, self.latest.secs()])? } else { 0 };
        self.cursor = last;
        if looked_at < most {
            self.cursor.clear();
            self.earliest = std::mem::replace(&mut self.earliest_met, Time::NEVER);
        }
        Ok(gone as u64)
    }
}

/// The statements of the walk.
pub(crate) struct SweepSql<'a> {
    next: Statement<'a>,
    delete: Statement<'a>,
}

impl<'a> SweepSql<'a> {
    pub(crate) fn new(db: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            next: db.prepare("SELECT key, expires_at FROM record WHERE key > ?1 ORDER BY key LIMIT ?2")?,
            delete: db.prepare("DELETE FROM record WHERE key > ?1 AND key <= ?2 AND expires_at <= ?3")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }
    fn database() -> Connection {
        let db = Connection::open_in_memory().expect("a database in memory");
        db.execute_batch(include_str!("schema.sql")).expect("the schema");
        db
    }
    fn put(db: &Connection, sweep: &mut Sweep, key: u8, expires_at: Time) {
        let sql = "INSERT OR REPLACE INTO record VALUES (?1, 1, ?2, x'')";
        db.execute(sql, params![[key].as_slice(), expires_at.secs()]).expect("a put");
        sweep.written(expires_at);
    }
    fn held(db: &Connection) -> Vec<u8> {
        let mut statement = db.prepare("SELECT key FROM record ORDER BY key").expect("a statement");
        let keys = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("a query");
        keys.map(|key| key.expect("a key")[0]).collect()
    }

    #[test]
    fn it_goes_on_where_it_stopped_and_rests_when_nothing_can_have_expired() {
        let (db, mut sweep) = (database(), Sweep::default());
        let mut sql = SweepSql::new(&db).expect("the statements");
        for n in 0..10 {
            put(&db, &mut sweep, n, if n % 2 == 0 { at(10) } else { at(20) });
        }
        assert!(!sweep.is_due(), "no batch has told the time");
        sweep.see(at(9));
        assert!(sweep.is_due(), "what the file holds is not known yet");
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(0));
        assert!(!sweep.is_due());
        sweep.see(at(10));
        sweep.see(at(3));
        assert!(sweep.is_due());
        assert_eq!(sweep.go_on(&mut sql, 3), Ok(2), "0 and 2 of 0, 1, 2");
        put(&db, &mut sweep, 0, at(10));
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(3), "4, 6 and 8; 0 lies behind the cursor");
        assert_eq!(held(&db), [0, 1, 3, 5, 7, 9]);
        assert!(sweep.is_due());
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(1), "0 in the next round");
        assert!(!sweep.is_due());
        sweep.see(at(20));
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(5));
        assert!(!sweep.is_due());
    }

    #[test]
    fn only_what_expires_at_that_very_instant_or_before_goes() {
        let (db, mut sweep) = (database(), Sweep::default());
        let mut sql = SweepSql::new(&db).expect("the statements");
        put(&db, &mut sweep, 1, at(10));
        put(&db, &mut sweep, 2, at(11));
        sweep.see(at(10));
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(1));
        assert_eq!(held(&db), [2]);
    }

    #[test]
    fn after_a_failure_it_knows_nothing_but_the_time() {
        let (db, mut sweep) = (database(), Sweep::default());
        let mut sql = SweepSql::new(&db).expect("the statements");
        for n in 0..4 {
            put(&db, &mut sweep, n, at(10));
        }
        sweep.see(at(10));
        db.execute_batch("BEGIN").expect("a transaction");
        assert_eq!(sweep.go_on(&mut sql, 4), Ok(4));
        assert_eq!(sweep.go_on(&mut sql, 4), Ok(0));
        db.execute_batch("ROLLBACK").expect("a failure");
        sweep.start_over();
        assert!(sweep.is_due());
        assert_eq!(sweep.go_on(&mut sql, 100), Ok(4));
    }
}
