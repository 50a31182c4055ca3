//! What an attempt amounts to: one conditional batch, and what follows once it is durable.
use super::{Call, State, Write};
use crate::kernel::{outbox::Outgoing, seal::Seal};
use countersign_plugin_api::{Batch, Expect, MAX_OPS, Problem, Refusal, Time};

/// What is to be done when a batch is durable.
#[derive(Default)]
pub(in crate::kernel) struct Aftermath {
    /// Messages to be sent.
    pub(in crate::kernel) outgoing: Vec<Outgoing>,
    /// Whether somebody has asked for a message, to whomever.
    pub(in crate::kernel) asked: bool,
    /// The keys of events that were written.
    pub(in crate::kernel) events: Vec<Vec<u8>>,
    /// What happened in them, and whether it succeeded.
    pub(in crate::kernel) named: Vec<(String, bool)>,
    /// Sessions that were made, by the label that counts them.
    pub(in crate::kernel) sessions: Vec<&'static str>,
    /// Events that are counted.
    pub(in crate::kernel) counted: Vec<(String, bool)>,
}

impl Call<'_> {
    /// The conditional batch that this attempt amounts to, unless it writes nothing; and what follows from it.
    pub(in crate::kernel) fn into_batch(self) -> Result<(Option<Batch>, Aftermath), Refusal> {
        let state = self.state.into_inner();
        if state.writes.is_empty() && state.rows.iter().all(|row| row.decoy) {
            return Ok((None, Aftermath { counted: state.counted, ..Aftermath::default() }));
        }
        let mut batch = Batch::new(self.now);
        let seal = &self.kernel.seal;
        let put = |batch: &mut Batch, key: &[u8], expect, value: &[u8], expires_at| {
            batch.put_with(key, expect, expires_at, Seal::len(value.len()), |out| seal.seal(key, value, out));
        };
        let seen = |key: &Vec<u8>| match state.reads.get(key) {
            Some(Some(seen)) => Expect::Version(seen.version),
            _ => Expect::Absent,
        };
        for (key, write) in &state.writes {
            match write {
                Write::Put { value, expires_at, blind } => {
                    let expect = if *blind { Expect::Any } else { seen(key) };
                    put(&mut batch, key, expect, value, *expires_at);
                }
                Write::Delete => batch.delete(key, seen(key)),
            }
        }
        for key in state.reads.keys().filter(|key| !state.writes.contains_key(*key)) {
            batch.require(key, seen(key));
        }
        for row in &state.rows {
            let expect = if row.decoy { Expect::Any } else { Expect::Absent };
            put(&mut batch, &row.key, expect, &row.value, row.expires_at);
        }
        if self.kernel.clock.mark_is_due(self.now) && batch.len() < MAX_OPS {
            let key = self.kernel.clock_key();
            put(&mut batch, &key, Expect::Any, &self.now.secs().to_be_bytes(), Time::NEVER);
        }
        if batch.is_within_bounds() {
            let State { outgoing, asked, events, named, sessions, counted, .. } = state;
            Ok((Some(batch), Aftermath { outgoing, asked, events, named, sessions, counted }))
        } else {
            Err(Refusal::new(Problem::PluginFault).because("a decision is larger than a batch may be"))
        }
    }

    /// The activity of the session that only read, as a batch of its own.
    pub(in crate::kernel) fn touched(&self) -> Option<Batch> {
        let mut state = self.state.borrow_mut();
        let (key, value, expires_at) = state.touch.take()?;
        let version = state.reads.get(&key)?.as_ref()?.version;
        let mut batch = Batch::new(self.now);
        let len = Seal::len(value.len());
        batch.put_with(&key, Expect::Version(version), expires_at, len, |out| {
            self.kernel.seal.seal(&key, &value, out);
        });
        Some(batch)
    }
}
