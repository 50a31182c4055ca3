//! The store seam: read, conditional write and scan over versioned records.
//!
//! # Why not methods like `get_otp` and `set_lockout`?
//!
//! Because none of them can fail and none is atomic with another, a code could be spent twice and a failure
//! lost between two calls; each new factor would break every store; and every store would see secrets. A
//! conditional batch is the only way to write here, and what a record means is not the store's business:
//! it sees opaque keys and sealed values.
use crate::abi::completion::Completion;
use crate::{
    abi::objects::DONE,
    answers::{Found, Keys, Page},
    batch::Batch,
};
use std::fmt;

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
/// The contract, each clause of which the kit in `conformance::store` tests (feature `conformance`):
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
