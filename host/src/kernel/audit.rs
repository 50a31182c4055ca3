//! Audit rows: who, whose, what, from where, with which result; written with the change they tell of.
use super::{Kernel, execute::Ignored};
use super::{
    call::{Aftermath, Call, Paged, Value},
    place::HOST,
};
use crate::metrics::{AUDIT_ROWS, EVENTS, SESSIONS, labels};
use countersign_plugin_api::{
    Batch, Caller, Completion, Event, Expect, MAX_OPS, Refusal, Secret, StoreError, Time,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

/// Where a call comes from.
#[derive(Clone, Default)]
pub struct Origin {
    /// The client's address, as far as it can be trusted; empty for the command line.
    pub peer: String,
    /// The id under which the log speaks of the request.
    pub request: String,
    /// The languages that whoever asks reads, the best first.
    pub(crate) language: String,
    /// Who acts when no session does, such as `cli`.
    pub actor: String,
    /// The cookies of plugins that came along, by plugin and name; none with a bearer token.
    pub(crate) cookies: Vec<(String, Secret<String>)>,
}

/// One event, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// What, with the name of the part that says so: `mfa.totp.verified`.
    pub event: String,
    /// Whether it succeeded.
    pub success: bool,
    /// The account it concerns.
    pub subject: String,
    /// Who did it: an account, or `cli`.
    pub actor: String,
    /// The session that did it.
    pub session: String,
    /// From where.
    pub peer: String,
    /// The request.
    pub request: String,
    /// What else is worth knowing.
    pub fields: BTreeMap<String, String>,
}

/// The group of all audit rows: a home of its own, with ascending keys.
pub(crate) const GROUP: &str = ":audit";

/// What the name of every row starts with; the second of the event and what tells rows of one second apart follow.
const PREFIX: &[u8] = b"row";

/// The events after the row `after`, in the order of their seconds. Looks at `limit` rows.
pub(crate) fn page(call: &Call<'_>, after: Option<&[u8]>, limit: usize) -> Result<Paged<Record>, Refusal> {
    let Paged { records, next } = call.scan_page(HOST, call.place(GROUP), PREFIX, after, limit)?;
    let read = |(name, value): (Vec<u8>, Value)| {
        let record = serde_json::from_slice(&value).map_err(|_| StoreError::Corrupt)?;
        Ok((name, record))
    };
    Ok(Paged { records: records.into_iter().map(read).collect::<Result<_, Refusal>>()?, next })
}

/// Where the rows of an instant start: the name to read after.
pub(crate) fn since(at: Time) -> Vec<u8> {
    [PREFIX, &at.secs().to_be_bytes()].concat()
}

/// Whether it can be the name of a row, or where rows start.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX) && name.len() <= PREFIX.len() + 16
}

/// The full name of an event: a plugin's has the plugin's before it.
pub(super) fn name(view: &str, event: &Event<'_>) -> String {
    if view == HOST { event.name.into() } else { format!("{view}.{}", event.name) }
}

/// The key and the value of an event that `caller` has caused.
pub(super) fn row(
    call: &Call<'_>,
    view: &str,
    event: &Event<'_>,
    caller: Option<&Caller>,
) -> (Vec<u8>, Vec<u8>) {
    let kernel = call.kernel;
    let handle = call.handle().filter(|handle| handle.subject == event.subject);
    let (actor, session) = match (caller, handle) {
        (Some(Caller { subject, session }), _) => (&subject.id, &*session.id),
        // A program that proves a challenge shows no session: it has the handle of the one that waits.
        (None, Some(handle)) => (&handle.subject, &*handle.session),
        (None, None) => (&call.origin.actor, ""),
    };
    let record = Record {
        at: call.now().secs(),
        event: name(view, event),
        success: event.success,
        subject: event.subject.into(),
        actor: actor.clone(),
        session: session.into(),
        peer: call.origin.peer.clone(),
        request: call.origin.request.clone(),
        fields: event.fields.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
    };
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(&call.now().secs().to_be_bytes());
    name.extend_from_slice(&kernel.next_row());
    let key = call.place(GROUP).key(HOST, &name);
    (key, serde_json::to_vec(&record).unwrap_or_default())
}

/// Records an event of the caller at most once a minute and account: what somebody can repeat at will, such as being
/// refused, would otherwise fill the record.
pub(crate) fn seldom(call: &Call<'_>, event: &Event<'_>) -> Result<(), Refusal> {
    let actor = call.caller().map_or("", |caller| caller.subject.id.as_str());
    let key = call.host_key(event.subject, format!("recorded:{}:{actor}", event.name).as_bytes());
    seldom_at(call, key, event)
}

/// The same, remembered under a key that does not tell whether there is an account.
pub(crate) fn seldom_at(call: &Call<'_>, key: Vec<u8>, event: &Event<'_>) -> Result<(), Refusal> {
    let due = call.read(key.clone())?.is_none();
    if due {
        call.put(key, &[1], call.now() + MINUTE, false)?;
    }
    // What is only counted is always counted.
    if due || event.subject.is_empty() {
        call.audit(HOST, event);
    }
    Ok(())
}

const MINUTE: Duration = Duration::from_mins(1);
/// Kinds beyond these are counted together: whoever names them has no limit.
const MOST_KINDS: usize = 256;
/// How many rows are kept in a store that forgets everything at a restart anyway.
const VOLATILE_ROWS: usize = 10_000;

/// What is known of the record beside its rows.
pub(super) struct Book {
    /// Events that name no account since the last row about them, by name and whether they succeeded.
    counts: Mutex<BTreeMap<(String, bool), u64>>,
    /// The keys of the rows in a volatile store, oldest first; all of them, since it was empty at the start.
    rows: Option<Mutex<VecDeque<Vec<u8>>>>,
}

impl Book {
    pub(super) fn new(volatile: bool) -> Self {
        Self { counts: Mutex::default(), rows: volatile.then(Mutex::default) }
    }

    /// Counts events that name no account.
    pub(super) fn count(&self, events: Vec<(String, bool)>) {
        events.into_iter().for_each(|(name, success)| self.add(name, success, 1));
    }

    fn add(&self, mut name: String, success: bool, count: u64) {
        let mut counts = self.counts.lock();
        if counts.len() >= MOST_KINDS && !counts.contains_key(&(name.clone(), success)) {
            name = "other".into();
        }
        *counts.entry((name, success)).or_default() += count;
    }

    /// Notes rows that were written; answers the keys of those that are too many.
    fn kept(&self, keys: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let Some(rows) = &self.rows else { return Vec::new() };
        let mut rows = rows.lock();
        rows.extend(keys);
        // In batches of their own, as large as they may be.
        let over = rows.len().saturating_sub(VOLATILE_ROWS);
        if over < MAX_OPS { Vec::new() } else { rows.drain(..over).collect() }
    }
}

impl Kernel {
    /// Events are durable: those without an account are counted, and a volatile store keeps the newest rows.
    pub(super) fn recorded(&self, aftermath: Aftermath) {
        let Aftermath { events, named, counted, sessions, .. } = aftermath;
        sessions.into_iter().for_each(|kind| SESSIONS.count(kind));
        for (name, success) in named.iter().chain(&counted) {
            let result = if *success { "success" } else { "failure" };
            EVENTS.count(&labels([("event", name), ("result", result)]));
        }
        AUDIT_ROWS.add("", events.len() as u64);
        self.book.count(counted);
        for keys in self.book.kept(events).chunks(MAX_OPS) {
            let mut batch = Batch::new(self.now());
            keys.iter().for_each(|key| batch.delete(key, Expect::Any));
            // A row too many is no harm: nobody waits for it.
            self.store.apply(batch, Completion::new(Arc::new(Ignored)));
        }
    }

    /// Once a minute, writes down how many events there were that name no account, until the kernel is dropped.
    pub(crate) async fn keep_record(kernel: Weak<Self>) {
        loop {
            tokio::time::sleep(MINUTE).await;
            let Some(kernel) = kernel.upgrade() else { return };
            kernel.write_counts().await;
        }
    }

    /// Writes down what was counted, a row for each kind.
    pub(crate) async fn write_counts(&self) {
        let counts = std::mem::take(&mut *self.book.counts.lock());
        let origin = Origin { actor: "host".into(), ..Origin::default() };
        for ((name, success), count) in counts {
            let text = count.to_string();
            let event = Event { success, ..Event::success(&name, "") }.with("count", &text);
            if let Err(refusal) = self
                .run(&origin, |call| {
                    call.audit_row(HOST, &event, None);
                    Ok(())
                })
                .await
            {
                tracing::warn!(target: "countersign::audit", because = refusal.log(), count, name, "a count is not on record yet");
                // One that may have been written is written again: too many is seen, and too few is not.
                self.book.add(name, success, count);
            }
        }
    }
}
