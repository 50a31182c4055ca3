//! `store`: all that lies in a store, counted, checked, and moved to another, or under another key.
mod check;
mod copy;
mod records;
mod reseal;
mod stats;

use super::{Failure, Report, check::settings};

pub(super) use reseal::count;

use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Look after the store.
///
/// Each works while the host runs, and without one.
#[derive(Subcommand)]
pub(super) enum Store {
    /// Show how much it holds, and of what.
    ///
    /// Bytes are those of keys and values, without what the store needs besides; values are encrypted, so kinds are
    /// told by their keys. Records that have expired count until the store discards them.
    #[command(after_help = "Example:\n  countersign store stats --json")]
    Stats,
    /// Read every record, and say what is wrong with any.
    ///
    /// Each must open under the keys of the host, be of a known format, and accounts and the directory of their
    /// addresses must agree. Exit status 1 if anything is found. How a store keeps its files it knows itself: for
    /// SQLite, `sqlite3 FILE 'PRAGMA integrity_check'`.
    #[command(after_help = "Example:\n  countersign store check")]
    Check,
    /// Move everything to another store.
    ///
    /// The other store is that of another configuration, which must have the same keys. Records are copied as they
    /// are, encrypted, and then all are compared, again and again until nothing differs: then the copy is what this store was
    /// when the last comparison began. A host that is written to all the time never gets there, and the exit
    /// status is 1: stop it and say this again with --force, which copies what has changed since.
    #[command(after_help = "\
Example: from memory to SQLite
  countersign store copy --to sqlite.toml")]
    Copy {
        /// The configuration whose store it goes to.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Make the other store the same as this one, whatever it holds.
        #[arg(long)]
        force: bool,
    },
    /// Encrypt everything with a new key.
    ///
    /// A new sealing key is added to the key file, a running host takes it over, and every record is written anew under
    /// it. The old one opens what is left until `keys retire` removes it. If this is interrupted, say it again:
    /// it goes on with the key that it made. Backups made before need the old key.
    #[command(after_help = "\
Example:
  countersign store reseal && sleep 60 && countersign keys retire 1f3a5c77")]
    Reseal,
}

pub(super) fn run(file: &Path, command: &Store, json: bool) -> Result<Report, Failure> {
    let config = settings(file)?;
    match command {
        Store::Stats => stats::run(&config),
        Store::Check => check::run(&config),
        Store::Reseal => reseal::run(&config, json),
        Store::Copy { to, force } => copy::run(&config, to, *force, json),
    }
}
