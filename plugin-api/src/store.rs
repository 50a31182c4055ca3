//! The store seam: read, conditional write and scan over versioned records.
//!
//! # Why not methods like `get_otp` and `set_lockout`?
//!
//! Because none of them can fail and none is atomic with another, a code could be spent twice and a failure
//! lost between two calls; each new factor would break every store; and every store would see secrets. A
//! conditional batch is the only way to write here, and what a record means is not the store's business:
//! it sees opaque keys and sealed values.
use crate::abi::{
    completion::Completion,
    flat::{Flat, Item},
    objects::{DONE, FAULT, StoreFace},
};
use crate::units::Time;
use std::{borrow::Cow, fmt, ops::Range};

/// The longest key, in bytes; the shortest is 1.
pub const MAX_KEY: usize = 512;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 64 << 10;
/// The most operations in one batch, each key once.
pub const MAX_OPS: usize = 32;
/// The most keys in one `get`, and records in one `scan`.
pub const MAX_SCAN: usize = 1000;

/// Versioned records under byte keys.
///
/// The contract, each clause of which [`conformance::store`](crate::conformance::store) tests:
///
/// - **Atomicity**: a batch is applied wholly or not at all, and no reader sees a part of it.
/// - **Versions** come from one counter for the whole store, from 1 up, and are never used twice for one
///   key, not even after the record was deleted. All records of a batch may share one.
/// - **Durability**: when `done` is finished with `Ok`, the write survives `kill -9` and power loss. (A
///   volatile store is the documented exception, and the operator must ask for it.)
/// - **Order**: a scan answers in ascending byte order of keys, strictly after `after`.
/// - **Bounds**: keys of 1 to [`MAX_KEY`] bytes, values up to [`MAX_VALUE`], batches up to [`MAX_OPS`]
///   operations with each key once, scans up to [`MAX_SCAN`]; whoever breaks them gets `Unavailable`. A
///   store at its own capacity answers `Full` to a batch that grows it, never to one that does not, and
///   never evicts what has not expired.
/// - **Time**: `expires_at` is permission to discard from that instant on, never a duty. The instant is the
///   largest [`Batch::now`] that the store has seen; a store has no clock of its own.
/// - **Threads**: any number at once.
/// - **Errors**: see [`StoreError`].
pub trait Store: Send + Sync + 'static {
    /// Whether reads may wait on a network, or always return at once.
    fn latency(&self) -> Latency;
    /// Reads all keys at one instant and pushes one answer for each key, in order.
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError>;
    /// Applies the batch. `done` is finished exactly once, from any thread, when the outcome is durable.
    fn apply(&self, batch: Batch, done: Completion);
    /// Pushes the records under `prefix`, in ascending order of keys, strictly after `after`, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError>;
    /// What is held, and what could be.
    fn usage(&self) -> Result<Usage, StoreError>;
}

/// Whether a read may keep its thread waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Memory, or a local file's page cache: reads run on the thread that asks.
    Quick,
    /// A network: reads run on a pool.
    Waits,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// An expectation failed, and nothing was written.
    Conflict,
    /// Nothing was written, or nothing could be read.
    Unavailable,
    /// The write may have happened: callers grant nothing on it.
    Unknown,
    /// The batch would grow the store beyond its capacity, and nothing was written.
    Full,
    /// What was read is not what was written.
    Corrupt,
}

impl StoreError {
    pub(crate) fn code(outcome: Result<(), Self>) -> u32 {
        match outcome {
            Ok(()) => DONE,
            Err(Self::Conflict) => 1,
            Err(Self::Unavailable) => 2,
            Err(Self::Unknown) => 3,
            Err(Self::Full) => 4,
            Err(Self::Corrupt) => 5,
        }
    }
    pub(crate) fn from_code(code: u32) -> Result<(), Self> {
        Err(match code {
            DONE => return Ok(()),
            1 => Self::Conflict,
            2 => Self::Unavailable,
            4 => Self::Full,
            5 => Self::Corrupt,
            // Also what a newer store might say: the safe reading is that nothing is known.
            _ => Self::Unknown,
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "the store holds another version",
            Self::Unavailable => "the store is unavailable",
            Self::Unknown => "the store did not confirm the write",
            Self::Full => "the store is full",
            Self::Corrupt => "the store holds a record that does not read back",
        })
    }
}
impl std::error::Error for StoreError {}

/// The keys of one read.
#[derive(Clone, Default)]
pub struct Keys<'a>(Cow<'a, Flat>);

impl Keys<'_> {
    /// No keys yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) {
        self.push_parts(&[key]);
    }
    /// Adds a key that is given in parts.
    pub fn push_parts(&mut self, key: &[&[u8]]) {
        self.0.to_mut().push_parts(&Item::default(), key, 0, |_| ());
    }
    /// How many keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.0.iter().map(|item| item.a)
    }
}

/// What must be true of a key for its batch to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// No record, or one that has expired by [`Batch::now`].
    Absent,
    /// A record of exactly this version.
    Version(u64),
}

impl Expect {
    /// The one definition of an expectation, for stores that look before they write.
    pub fn holds(self, record: Option<Record<'_>>, now: Time) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => record.is_none_or(|record| record.expires_at <= now),
            Self::Version(version) => record.is_some_and(|record| record.version == version),
        }
    }
}

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Nothing: only the expectation counts.
    Keep,
    /// The record goes, if there is one.
    Delete,
    /// The record becomes this.
    Put {
        /// At most [`MAX_VALUE`] bytes.
        value: &'a [u8],
        /// From when on the store may discard it.
        expires_at: Time,
    },
}

/// One operation of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// 1 to [`MAX_KEY`] bytes.
    pub key: &'a [u8],
    /// What must be true.
    pub expect: Expect,
    /// What is done.
    pub change: Change<'a>,
}

const KEEP: u32 = 1;
const DELETE: u32 = 2;
const PUT: u32 = 3;
const ANY: u32 = 0;
const ABSENT: u32 = 1;
const VERSION: u32 = 2;

/// Conditional writes that hold together.
#[derive(Clone)]
pub struct Batch {
    flat: Flat,
}

impl Batch {
    /// An empty batch for the instant `now`.
    pub fn new(now: Time) -> Self {
        let mut flat = Flat::with_capacity(8, 512);
        // The instant travels as the first item, so that a batch is flat data like everything else.
        flat.push(Item { tag: 0, x: now.secs(), ..Item::default() });
        Self { flat }
    }
    /// The instant for which "absent" and "expired" are decided.
    pub fn now(&self) -> Time {
        Time::from_secs(self.flat.at(0).map_or(0, |item| item.x))
    }
    /// How many operations.
    pub fn len(&self) -> usize {
        self.flat.len() - 1
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether it changes nothing: it has no operation, or expectations only.
    pub fn is_read_only(&self) -> bool {
        self.flat.iter().skip(1).all(|item| item.tag == KEEP)
    }
    /// Writes a record.
    pub fn put(&mut self, key: &[u8], expect: Expect, value: &[u8], expires_at: Time) {
        self.put_with(key, expect, expires_at, value.len(), |out| out.copy_from_slice(value));
    }
    /// Writes a record of `len` bytes, filled in place.
    pub fn put_with(
        &mut self,
        key: &[u8],
        expect: Expect,
        expires_at: Time,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let item = Self::item(PUT, expect, expires_at);
        self.flat.push_parts(&item, &[key], len, fill);
    }
    /// Deletes a record.
    pub fn delete(&mut self, key: &[u8], expect: Expect) {
        self.flat.push_parts(&Self::item(DELETE, expect, Time::EPOCH), &[key], 0, |_| ());
    }
    /// Only an expectation; nothing is written under this key.
    pub fn require(&mut self, key: &[u8], expect: Expect) {
        self.flat.push_parts(&Self::item(KEEP, expect, Time::EPOCH), &[key], 0, |_| ());
    }
    /// The operations in order.
    pub fn ops(&self) -> impl ExactSizeIterator<Item = Op<'_>> + Clone {
        self.flat.iter().skip(1).map(|item| Op {
            key: item.a,
            expect: match item.code {
                ANY => Expect::Any,
                ABSENT => Expect::Absent,
                _ => Expect::Version(item.y),
            },
            change: match item.tag {
                PUT => Change::Put { value: item.b, expires_at: Time::from_secs(item.x) },
                DELETE => Change::Delete,
                _ => Change::Keep,
            },
        })
    }

    /// Whether it stays inside the bounds of the contract: at most [`MAX_OPS`] operations, keys of 1 to
    /// [`MAX_KEY`] bytes and each once, values up to [`MAX_VALUE`].
    pub fn is_within_bounds(&self) -> bool {
        let ops = self.ops();
        ops.len() <= MAX_OPS
            && ops.clone().enumerate().all(|(at, op)| {
                (1..=MAX_KEY).contains(&op.key.len())
                    && !matches!(op.change, Change::Put { value, .. } if value.len() > MAX_VALUE)
                    && !ops.clone().take(at).any(|before| before.key == op.key)
            })
    }

    fn item(tag: u32, expect: Expect, expires_at: Time) -> Item<'static> {
        let (code, y) = match expect {
            Expect::Any => (ANY, 0),
            Expect::Absent => (ABSENT, 0),
            Expect::Version(version) => (VERSION, version),
        };
        Item { tag, code, x: expires_at.secs(), y, a: &[], b: &[] }
    }

    /// From the other side: every item must be understood, and the bounds kept.
    fn read(flat: Flat) -> Option<Self> {
        let known = flat.is_sound()
            && flat.at(0).is_some_and(|head| head.tag == 0)
            && flat.iter().skip(1).all(|i| (KEEP..=PUT).contains(&i.tag) && i.code <= VERSION);
        let batch = Self { flat };
        (known && batch.is_within_bounds()).then_some(batch)
    }
}

/// A record as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What was put.
    pub value: &'a [u8],
    /// Counted from 1.
    pub version: u64,
    /// From when on it may be gone.
    pub expires_at: Time,
}

/// Answers to `get`, one for each key. Reusable: [`clear`](Found::clear) keeps the memory.
#[derive(Clone, Default)]
pub struct Found(Flat);

impl Found {
    /// Empty, with room for a few small records.
    pub fn new() -> Self {
        Self(Flat::with_capacity(4, 512))
    }
    /// Forgets all answers.
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// How many answers.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The next answer: a record, or none.
    pub fn push(&mut self, record: Option<Record<'_>>) {
        let item = record.map_or(Item::default(), |record| record.item(&[]));
        self.0.push(item);
    }
    /// The answer to the key at `index`.
    pub fn at(&self, index: usize) -> Option<Record<'_>> {
        self.0.at(index).and_then(|item| Record::read(&item))
    }
    /// Rewrites a value in its place: `edit` answers the part to keep, or `None` to fail.
    pub fn rewrite(&mut self, index: usize, edit: impl FnOnce(&mut [u8]) -> Option<Range<usize>>) -> bool {
        self.0.rewrite_b(index, edit)
    }
    /// Makes the answer at `index` "none".
    pub fn forget(&mut self, index: usize) {
        self.0.retag(index, 0);
    }
}

/// Answers to `scan`: keys and records.
#[derive(Clone, Default)]
pub struct Page(Flat);

impl Page {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }
    /// The next record.
    pub fn push(&mut self, key: &[u8], record: Record<'_>) {
        self.0.push(record.item(key));
    }
    /// How many records.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The record at `index` and its key.
    pub fn at(&self, index: usize) -> Option<(&[u8], Record<'_>)> {
        self.0.at(index).and_then(|item| Some((item.a, Record::read(&item)?)))
    }
    /// Keys and records in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        self.0.iter().filter_map(|item| Some((item.a, Record::read(&item)?)))
    }
    /// Rewrites a value in its place, as [`Found::rewrite`] does.
    pub fn rewrite(&mut self, index: usize, edit: impl FnOnce(&mut [u8]) -> Option<Range<usize>>) -> bool {
        self.0.rewrite_b(index, edit)
    }
}

const RECORD: u32 = 1;

impl<'a> Record<'a> {
    fn item<'b>(&self, key: &'b [u8]) -> Item<'b>
    where
        'a: 'b,
    {
        Item { tag: RECORD, code: 0, x: self.version, y: self.expires_at.secs(), a: key, b: self.value }
    }
    fn read(item: &Item<'a>) -> Option<Self> {
        (item.tag == RECORD).then(|| Self {
            value: item.b,
            version: item.x,
            expires_at: Time::from_secs(item.y),
        })
    }
}

/// What a store holds, and what it could; a bound of 0 means that there is none but the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Records held, expired ones that are still there included.
    pub records: u64,
    /// Bytes held: keys, values and what each record costs besides, or the size of the file.
    pub bytes: u64,
    /// The most records.
    pub max_records: u64,
    /// The most bytes.
    pub max_bytes: u64,
}

// ---- across the boundary ----

const RANGE_AFTER: u32 = 1;

/// A plugin's store as flat data.
pub(crate) struct Exported<T>(pub(crate) T);

impl<T: Store> StoreFace for Exported<T> {
    fn latency(&self) -> u32 {
        u32::from(self.0.latency() == Latency::Waits)
    }
    fn get(&self, keys: &Flat, found: &mut Flat) -> u32 {
        let mut answers = Found(std::mem::take(found));
        let outcome = self.0.get(&Keys(Cow::Borrowed(keys)), &mut answers);
        *found = answers.0;
        StoreError::code(outcome)
    }
    fn apply(&self, batch: Flat, done: Completion) {
        match Batch::read(batch) {
            Some(batch) => self.0.apply(batch, done),
            // A batch that this library does not understand, or that breaks the contract.
            None => done.finish(Err(StoreError::Unavailable)),
        }
    }
    fn scan(&self, range: &Flat, page: &mut Flat) -> u32 {
        let Some(item) = range.at(0) else { return StoreError::code(Err(StoreError::Unavailable)) };
        let after = (item.code == RANGE_AFTER).then_some(item.b);
        let limit = usize::try_from(item.x).unwrap_or(MAX_SCAN).min(MAX_SCAN);
        let mut answers = Page(std::mem::take(page));
        let outcome = self.0.scan(item.a, after, limit, &mut answers);
        *page = answers.0;
        StoreError::code(outcome)
    }
    fn usage(&self, usage: &mut Flat) -> u32 {
        StoreError::code(self.0.usage().map(|told| {
            usage.push(Item { x: told.records, y: told.max_records, ..Item::default() });
            usage.push(Item { x: told.bytes, y: told.max_bytes, ..Item::default() });
        }))
    }
}

/// A store in another library, as the plain trait.
pub(crate) struct Imported(pub(crate) crate::abi::objects::StoreObject);

impl Store for Imported {
    fn latency(&self) -> Latency {
        if self.0.latency() == 0 { Latency::Quick } else { Latency::Waits }
    }
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        let before = found.len();
        read(self.0.get(&keys.0, &mut found.0), &found.0)?;
        if found.len() == before + keys.len() { Ok(()) } else { Err(StoreError::Corrupt) }
    }
    fn apply(&self, batch: Batch, done: Completion) {
        self.0.apply(batch.flat, done);
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let mut range = Flat::with_capacity(1, 128);
        range.push(Item {
            tag: 0,
            code: u32::from(after.is_some()),
            x: limit as u64,
            y: 0,
            a: prefix,
            b: after.unwrap_or_default(),
        });
        read(self.0.scan(&range, &mut page.0), &page.0)
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        let mut told = Flat::with_capacity(2, 0);
        read(self.0.usage(&mut told), &told)?;
        match (told.at(0), told.at(1)) {
            (Some(records), Some(bytes)) => {
                Ok(Usage { records: records.x, max_records: records.y, bytes: bytes.x, max_bytes: bytes.y })
            }
            _ => Err(StoreError::Corrupt),
        }
    }
}

/// The outcome of a read: an unsound answer is corrupt, and a fault means that nothing was read.
fn read(code: u32, answer: &Flat) -> Result<(), StoreError> {
    if code == FAULT {
        return Err(StoreError::Unavailable);
    }
    StoreError::from_code(code)?;
    if answer.is_sound() { Ok(()) } else { Err(StoreError::Corrupt) }
}
