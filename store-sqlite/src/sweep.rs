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
