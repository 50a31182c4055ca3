//! Conditional writes that hold together.
use crate::{
    abi::flat::{Flat, Item},
    answers::Record,
    store::{MAX_KEY, MAX_OPS, MAX_VALUE},
    units::Time,
};

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
    pub(crate) flat: Flat,
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
    pub(crate) fn read(flat: Flat) -> Option<Self> {
        let known = flat.is_sound()
            && flat.at(0).is_some_and(|head| head.tag == 0)
            && flat.iter().skip(1).all(|i| (KEEP..=PUT).contains(&i.tag) && i.code <= VERSION);
        let batch = Self { flat };
        (known && batch.is_within_bounds()).then_some(batch)
    }
}
