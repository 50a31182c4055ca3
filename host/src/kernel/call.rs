//! One attempt at one call: what it has read, what it wants written, and who is calling.
//!
//! The kernel keeps the read set. A record that was read and is written expects the version that was read; one
//! that was read and not written is required unchanged, as long as anything is written at all. Nobody copies
//! versions by hand, so nobody forgets one.
use super::{
    Kernel,
    audit::{self, Origin},
    clock::Clock,
    hashing::{Cost, Job, Lane},
    outbox,
    place::{HOST, Place},
    token,
};
use countersign_plugin_api::{
    Caller, Claims, Draft, Event, Found, Keys, Page, Problem, Refusal, Secret, StoreError, Time, Token,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    ops::Deref,
    sync::Arc,
    time::Duration,
};

mod memo;
mod outcome;

pub(super) use memo::Memo;
pub(super) use outcome::Aftermath;

/// The decoys of one group: enough that calls at the same time hardly meet in one, and no more than a few pages.
const DECOYS: u8 = 64;
const MINUTE: Duration = Duration::from_mins(1);

/// A record as it was read, or as it is to be written. Whoever asks for it again within a call shares it; it is wiped with
/// the last of them.
#[derive(Clone)]
pub(crate) struct Value(Arc<Secret<Vec<u8>>>);

impl Value {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Secret::new(bytes)))
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Records with their names, in ascending order of these.
pub(crate) struct Paged<T> {
    pub(crate) records: Vec<(Vec<u8>, T)>,
    /// The name after which there may be more.
    pub(crate) next: Option<Vec<u8>>,
}

struct Seen {
    version: u64,
    value: Value,
}

enum Write {
    Put { value: Value, expires_at: Time, blind: bool },
    Delete,
}

struct Row {
    key: Vec<u8>,
    value: Value,
    expires_at: Time,
    /// Nobody reads it. It takes the time that a row would take, and the place of an earlier one of its kind.
    decoy: bool,
}

#[derive(Default)]
struct State {
    /// `None`: read, and absent.
    reads: BTreeMap<Vec<u8>, Option<Seen>>,
    writes: BTreeMap<Vec<u8>, Write>,
    /// New rows under keys of their own: events, and messages that wait to be sent.
    rows: Vec<Row>,
    /// The messages among them.
    outgoing: Vec<outbox::Outgoing>,
    /// Somebody has asked for a message.
    asked: bool,
    /// The keys of the events among them.
    events: Vec<Vec<u8>>,
    /// What happened in them, and whether it succeeded.
    named: Vec<(String, bool)>,
    /// Sessions that were made, by the label that counts them.
    sessions: Vec<&'static str>,
    /// Events that name no account: they are counted, and have no row of their own.
    counted: Vec<(String, bool)>,
    random: Option<StdRng>,
    /// Hashes that were asked for and are not known yet: this attempt decides nothing.
    pending: Option<Job>,
    /// Accounts whose sessions a credential event has ended, where sessions are not records of ours.
    ended: Vec<String>,
    /// A session row whose activity is worth recording when nothing else is written.
    touch: Option<(Vec<u8>, Value, Time)>,
}

/// One attempt.
pub(crate) struct Call<'k> {
    pub(crate) kernel: &'k Kernel,
    pub(crate) origin: &'k Origin,
    memo: &'k Memo,
    now: Time,
    wall: Time,
    state: RefCell<State>,
    caller: OnceCell<Caller>,
    /// The account that knows the browser that asks.
    known_to: OnceCell<String>,
    handle: OnceCell<Claims>,
}

impl<'k> Call<'k> {
    pub(super) fn new(kernel: &'k Kernel, origin: &'k Origin, memo: &'k Memo) -> Self {
        let (now, wall) = (kernel.clock.now(), Clock::wall());
        Self {
            kernel,
            origin,
            memo,
            now,
            wall,
            state: RefCell::default(),
            caller: OnceCell::new(),
            known_to: OnceCell::new(),
            handle: OnceCell::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }
    pub(crate) fn wall(&self) -> Time {
        self.wall
    }
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }
    /// Says who is calling; once for each attempt.
    pub(crate) fn set_caller(&self, caller: Caller) {
        let _ = self.caller.set(caller);
    }
    /// Says that an account knows the browser that asks: its hashes do not wait behind those of strangers.
    pub(crate) fn set_known_to(&self, account: &str) {
        let _ = self.known_to.set(account.into());
    }
    fn lane(&self) -> Lane {
        let known = self.caller().map(|caller| &caller.subject.id).or(self.known_to.get());
        known.map_or_else(|| Lane::from_afar(&self.origin.peer), |account| Lane::Known(account.clone()))
    }
    /// The token that came along of a session, when a plugin has opened one.
    pub(crate) fn handle(&self) -> Option<&Claims> {
        self.handle.get()
    }
    /// Says that one did.
    pub(super) fn brings(&self, claims: &Claims) {
        if !claims.session.is_empty() {
            let _ = self.handle.set(claims.clone());
        }
    }
    /// The place of a subject.
    pub(crate) fn place(&self, subject: &str) -> Place {
        self.kernel.places.of(subject)
    }

    /// Reads records by their store keys, those that are not known yet at one instant. What this attempt wants
    /// written reads back as written.
    pub(crate) fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Value>>, Refusal> {
        self.fetch(keys)?;
        let state = self.state.borrow();
        Ok(keys
            .iter()
            .map(|key| match (state.writes.get(key), state.reads.get(key)) {
                (Some(Write::Put { value, .. }), _) | (None, Some(Some(Seen { value, .. }))) => {
                    Some(value.clone())
                }
                _ => None,
            })
            .collect())
    }

    /// Reads one record.
    pub(crate) fn read(&self, key: Vec<u8>) -> Result<Option<Value>, Refusal> {
        Ok(self.get(std::slice::from_ref(&key))?.pop().flatten())
    }

    fn fetch(&self, keys: &[Vec<u8>]) -> Result<(), Refusal> {
        let mut state = self.state.borrow_mut();
        let missing: Vec<&Vec<u8>> = keys.iter().filter(|key| !state.reads.contains_key(*key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut asked = Keys::new();
        missing.iter().for_each(|key| asked.push(key));
        let mut found = Found::new();
        self.kernel.store.get(&asked, &mut found)?;
        for (at, key) in missing.into_iter().enumerate() {
            let Some(record) = found.at(at) else {
                state.reads.insert(key.clone(), None);
                continue;
            };
            let (version, expired) = (record.version, record.expires_at <= self.now);
            if expired {
                state.reads.insert(key.clone(), None);
                continue;
            }
            if !found.rewrite(at, |sealed| self.kernel.seal.open(key, sealed)) {
                return Err(self.unreadable());
            }
            let value = found.at(at).map(|record| record.value.to_vec()).unwrap_or_default();
            state.reads.insert(key.clone(), Some(Seen { version, value: Value::new(value) }));
        }
        Ok(())
    }

    /// What a record is answered with that nobody can read; it is told, and counted, as this call will not be kept.
    fn unreadable(&self) -> Refusal {
        tracing::error!(target: "countersign::store", "a record does not open under its key: it was swapped, damaged, or sealed with a key that is gone");
        let event = Event::failure("record.unreadable", "");
        self.kernel.book.count(vec![(audit::name(HOST, &event), event.success)]);
        StoreError::Corrupt.into()
    }

    /// Records of one view and place whose names start with `prefix`: names and values, ascending, after
    /// `after`. What is found does not join the read set.
    pub(crate) fn scan(
        &self,
        view: &str,
        place: Place,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Value)>, Refusal> {
        self.scan_page(view, place, prefix, after, limit).map(|page| page.records)
    }

    /// The same, and where the next page starts: records that have expired fill a page as well.
    pub(crate) fn scan_page(
        &self,
        view: &str,
        place: Place,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Paged<Value>, Refusal> {
        let start = place.key(view, prefix);
        let after = after.map(|name| place.key(view, name));
        let mut page = Page::new();
        self.kernel.store.scan(&start, after.as_deref(), limit, &mut page)?;
        let name = |key: &[u8]| key[Place::prefix_len(view)..].to_vec();
        let last = page.len().checked_sub(1).filter(|_| page.len() >= limit);
        let next = last.and_then(|last| page.at(last)).map(|(key, _)| name(key));
        let mut records = Vec::with_capacity(page.len());
        for at in 0..page.len() {
            let Some((key, record)) = page.at(at) else { continue };
            if record.expires_at <= self.now {
                continue;
            }
            let key = key.to_vec();
            if !page.rewrite(at, |sealed| self.kernel.seal.open(&key, sealed)) {
                return Err(self.unreadable());
            }
            let value = page.at(at).map(|(_, record)| record.value.to_vec()).unwrap_or_default();
            records.push((name(&key), Value::new(value)));
        }
        Ok(Paged { records, next })
    }

    /// Records of everybody as they are stored, sealed, after a key. They do not join the read set.
    pub(crate) fn stored(&self, after: Option<&[u8]>, limit: usize) -> Result<Page, Refusal> {
        let mut page = Page::new();
        self.kernel.store.scan(&[], after, limit, &mut page)?;
        Ok(page)
    }

    /// Writes a record that was read in this call, or, `blind`, whatever is there.
    pub(crate) fn put(
        &self,
        key: Vec<u8>,
        value: &[u8],
        expires_at: Time,
        blind: bool,
    ) -> Result<(), Refusal> {
        self.was_read(&key, blind)?;
        let value = Value::new(value.to_vec());
        self.state.borrow_mut().writes.insert(key, Write::Put { value, expires_at, blind });
        Ok(())
    }

    /// Deletes a record that was read in this call.
    pub(crate) fn delete(&self, key: Vec<u8>) -> Result<(), Refusal> {
        self.was_read(&key, false)?;
        self.state.borrow_mut().writes.insert(key, Write::Delete);
        Ok(())
    }

    fn was_read(&self, key: &[u8], blind: bool) -> Result<(), Refusal> {
        if blind || self.state.borrow().reads.contains_key(key) {
            return Ok(());
        }
        Err(Refusal::new(Problem::PluginFault)
            .because("a record is written that was not read; read it first, or say put_blind"))
    }

    /// Records an event in the same write. One that names no account is counted, and what is written beside it takes
    /// as long as if it named one.
    pub(crate) fn audit(&self, view: &str, event: &Event<'_>) {
        self.audit_by(self.caller(), view, event);
    }

    /// The same of an event that makes the session of its own caller.
    pub(crate) fn audit_by(&self, caller: Option<&Caller>, view: &str, event: &Event<'_>) {
        if event.subject.is_empty() {
            self.state.borrow_mut().counted.push((audit::name(view, event), event.success));
            let (_, value) = audit::row(self, view, event, caller);
            self.row(self.decoy_key(audit::GROUP), value, self.now + MINUTE, true);
        } else {
            self.state.borrow_mut().named.push((audit::name(view, event), event.success));
            self.audit_row(view, event, caller);
        }
    }

    fn row(&self, key: Vec<u8>, value: Vec<u8>, expires_at: Time, decoy: bool) {
        self.state.borrow_mut().rows.push(Row { key, value: Value::new(value), expires_at, decoy });
    }

    /// One of the few keys that decoys among the rows of a group have.
    fn decoy_key(&self, group: &str) -> Vec<u8> {
        let slot = self.kernel.next_row()[3] % DECOYS;
        self.host_key(group, &[b"decoy".as_slice(), &[0; 13], &[slot]].concat())
    }

    /// Records an event in a row of its own, whatever it names.
    pub(crate) fn audit_row(&self, view: &str, event: &Event<'_>, caller: Option<&Caller>) {
        let (key, value) = audit::row(self, view, event, caller);
        let expires_at = self.now + self.kernel.settings.audit_retention;
        self.state.borrow_mut().events.push(key.clone());
        self.row(key, value, expires_at, false);
    }

    /// A session is made by this write, or completed.
    pub(crate) fn count_session(&self, kind: &'static str) {
        self.state.borrow_mut().sessions.push(kind);
    }

    /// Signs a token of the host's own.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let kernel = self.kernel;
        let claims = Claims { purpose: format!("{HOST}/{}", claims.purpose), ..claims.clone() };
        token::sign(&kernel.ring(), &kernel.settings.audience, &claims, self.now)
            .ok_or_else(|| Refusal::new(Problem::PluginFault).because("a token cannot be signed"))
    }

    /// Opens a token of the host's own.
    pub(crate) fn open(&self, purpose: &str, token: &str) -> Option<Token> {
        let (kernel, purpose) = (self.kernel, format!("{HOST}/{purpose}"));
        token::open(&kernel.ring(), &kernel.settings.audience, &purpose, token, self.now)
    }

    /// Has a message sent, once this call is durable. One to nobody is written and not sent.
    pub(crate) fn message(&self, draft: &Draft<'_>) -> Result<(), Refusal> {
        self.state.borrow_mut().asked |= !draft.notice;
        let Some((message, value)) = outbox::row(self, draft)? else { return Ok(()) };
        let expires_at = outbox::kept_until(draft.expires_at);
        if draft.to == Draft::NOBODY {
            self.row(self.decoy_key(outbox::GROUP), value, expires_at, true);
        } else {
            self.row(message.key.clone(), value, expires_at, false);
            self.state.borrow_mut().outgoing.push(message);
        }
        Ok(())
    }

    /// The cookie of a plugin in the browser that asks.
    pub(crate) fn cookie(&self, plugin: &str, name: &str) -> Option<Secret<String>> {
        let full = format!("{plugin}-{name}");
        self.origin.cookies.iter().find(|(cookie, _)| *cookie == full).map(|(_, value)| value.clone())
    }

    /// Random bytes, the same at each attempt of one call.
    pub(crate) fn random(&self, out: &mut [u8]) {
        let mut state = self.state.borrow_mut();
        state.random.get_or_insert_with(|| StdRng::from_seed(self.memo.seed())).fill_bytes(out);
    }

    /// Peppered Argon2id hashes. The first time it refuses, and the call is tried again when they are ready.
    pub(crate) fn hash(&self, secrets: &[&[u8]], salt: &[u8], cost: Cost) -> Result<Vec<[u8; 32]>, Refusal> {
        let hash = |secret: &&[u8]| Some(self.kernel.pepper(&self.memo.hash_of(secret, salt, cost)?));
        let hashes: Option<Vec<[u8; 32]>> = secrets.iter().map(hash).collect();
        if let Some(hashes) = hashes {
            return Ok(hashes);
        }
        let secrets = secrets.iter().map(|secret| Secret::new(secret.to_vec())).collect();
        let job = Job { secrets, salt: salt.to_vec(), cost, lane: self.lane() };
        self.state.borrow_mut().pending = Some(job);
        Err(Refusal::new(Problem::Busy).because("a hash is being computed"))
    }

    /// Notes that the sessions of an account are to end once this is durable.
    pub(crate) fn end_sessions_of(&self, subject: &str) {
        self.state.borrow_mut().ended.push(subject.into());
    }
    /// The accounts whose sessions are to end.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.state.borrow().ended.clone()
    }

    /// Remembers that a session was active; recorded when the call writes nothing else.
    pub(crate) fn touch(&self, key: Vec<u8>, value: Vec<u8>, expires_at: Time) {
        self.state.borrow_mut().touch = Some((key, Value::new(value), expires_at));
    }

    pub(super) fn take_pending(&self) -> Option<Job> {
        self.state.borrow_mut().pending.take()
    }

    /// The key of one of the host's own records.
    pub(crate) fn host_key(&self, subject: &str, name: &[u8]) -> Vec<u8> {
        self.place(subject).key(HOST, name)
    }
}
