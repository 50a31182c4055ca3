//! A store as flat data, and back.
use crate::{
    abi::{
        completion::Completion,
        flat::{Flat, Item},
        objects::{FAULT, StoreFace, StoreObject},
    },
    answers::{Found, Keys, Page},
    batch::Batch,
    store::{Latency, MAX_SCAN, Store, StoreError, Usage},
};
use std::borrow::Cow;

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
pub(crate) struct Imported(pub(crate) StoreObject);

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
