//! How the command line reaches a host: through a socket while one runs, else by being one for a moment.
//!
//! ```text
//! command ─→ Operation ─┬─ a host runs ──→ data_dir/control.sock ─→ perform(its kernel)
//!                       └─ none runs ────→ lock data_dir ─────────→ perform(a kernel of our own)
//! ```
//!
//! Either way one process alone works on a data directory, and the same code does the work.
mod client;
mod data_dir;
mod diagnosis;
mod operation;
mod server;
mod store;

pub(crate) use client::ask;
pub(crate) use data_dir::DataDir;
pub(crate) use diagnosis::{Diagnosis, Mail};
pub(crate) use operation::{Act, Operation, Refused, perform};
pub(crate) use server::Control;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";
/// Bytes of a request.
const MAX_REQUEST: u64 = 16 << 10;
/// Bytes of an answer: a page of accounts is well within.
const MAX_ANSWER: u64 = 4 << 20;
