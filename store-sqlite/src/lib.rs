//! A durable store on SQLite, as a Countersign plugin.
//!
//! ```toml
//! [store]
//! use = "sqlite"
//!
//! [store.sqlite]
//! path      = "data/countersign.db"
//! # max_bytes = "8 GiB"     # absent: as large as the disk allows
//! ```
//!
//! A write that is acknowledged has been synchronised to the disk (WAL, `synchronous = FULL`). One thread
//! writes; it puts all batches that wait into one transaction, so that many share one wait for the disk, and
//! nobody who asks waits for it on a thread of theirs. Readers have connections of their own and never wait
//! for the writer.
//!
//! What it does not do: it never makes the file smaller (pages of deleted records are used again), and it
//! copies nothing to another machine. While it runs, back it up with SQLite's own means (`VACUUM INTO`,
//! `.backup`), not by copying the file.
//!
//! `store` is the contract, `writer` the thread, `sweep` how it finds what has expired, `file` the
//! database on the disk.
#![forbid(unsafe_code)]

mod file;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use countersign_plugin_api::{Error, Location, Plugin, Registrar, Result, Size, export_plugin};
use serde::Deserialize;
use store::Sqlite;

export_plugin!(Config, "store-sqlite");

/// The table `[store.sqlite]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    path: Location,
    max_bytes: Option<Size>,
}

/// Below this, the largest batch would hardly fit.
const LEAST_BYTES: u64 = 4 << 20;

impl Plugin for Config {
    fn check(&self) -> Result<()> {
        if self.path.file_name().is_none() {
            return Err(Error::new("`path` must name a file"));
        }
        if self.max_bytes.is_some_and(|most| most.0 < LEAST_BYTES) {
            return Err(Error::new("`max_bytes` must be at least \"4 MiB\", or absent"));
        }
        Ok(())
    }

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        let store = Sqlite::open(&self.path, self.max_bytes.map(|most| most.0))?;
        kernel.store("sqlite", store)
    }
}
