//! What a store is asked for, and what it answers: keys, records, pages.
use crate::{
    abi::flat::{Flat, Item},
    units::Time,
};
use std::{borrow::Cow, ops::Range};

/// The keys of one read.
#[derive(Clone, Default)]
pub struct Keys<'a>(pub(crate) Cow<'a, Flat>);

impl Keys<'_> {
    /// No keys yet, with room for a few.
    pub fn new() -> Self {
        Self(Cow::Owned(Flat::with_capacity(4, 256)))
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
pub struct Found(pub(crate) Flat);

impl Found {
    /// Empty, with room for a few small records: what a session check reads.
    pub fn new() -> Self {
        Self(Flat::with_capacity(4, 1024))
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
pub struct Page(pub(crate) Flat);

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
