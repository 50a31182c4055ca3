//! A bounded store in memory, as a Countersign plugin.
//!
//! ```toml
//! [store]
//! use = "memory"
//!
//! [store.memory]
//! max_records = 1_000_000
//! max_bytes   = "64 MiB"
//! volatile    = true       # must be said: a restart forgets everything
//! ```
//!
//! For development, tests, and hosts whose accounts live elsewhere. Reads and writes return at once and touch
//! no disk. What it holds is bounded by records and by bytes; only what has expired is ever discarded to make
//! room, and when that does not suffice, a batch that grows the store is answered `Full`.
//!
//! `store` is the contract, `shard` one of the 64 parts that the records are spread over.
#![forbid(unsafe_code)]

mod shard;
mod store;
#[cfg(test)]
mod tests;

use countersign_plugin_api::{
    Error, MAX_KEY, MAX_VALUE, Plugin, Registrar, Result, Size, export_plugin, log,
};
use serde::Deserialize;
use store::Memory;

export_plugin!(Config, "store-memory");

/// The table `[store.memory]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "million")]
    max_records: u64,
    #[serde(default = "megabytes")]
    max_bytes: Size,
    #[serde(default)]
    volatile: bool,
}

fn million() -> u64 {
    1_000_000
}
fn megabytes() -> Size {
    Size(64 << 20)
}

impl Plugin for Config {
    fn check(&self) -> Result<()> {
        let least = (MAX_KEY + MAX_VALUE) as u64 + shard::OVERHEAD;
        if !self.volatile {
            return Err(Error::new(
                "a store in memory forgets every account, session and factor when the host restarts: say \
                 `volatile = true` if that is what you want, or use a durable store",
            ));
        }
        if self.max_records == 0 {
            return Err(Error::new("`max_records` is 0: nothing could be stored"));
        }
        if self.max_bytes.0 < least {
            return Err(Error::new(format_args!(
                "`max_bytes` must be at least {least} bytes, which is one record of the largest size"
            )));
        }
        Ok(())
    }

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        kernel.store("memory", Memory::new(self.max_records, self.max_bytes.0))?;
        log::warn("the store is in memory only: a restart forgets every account, session and factor");
        Ok(())
    }
}
