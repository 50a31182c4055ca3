//! What the host counts, for Prometheus.
//!
//! ```text
//! requests, events, hashes, tries ─→ catalog: atomics ─┐
//! store, outbox, plugins, process ──── asked now ──────┴─→ scrape ─→ GET /metrics, on a listener of its own
//! ```
//!
//! No label holds what a client chooses: routes are patterns, statuses and problems are ours, events and plugins have
//! the names that their authors gave them. Nothing tells of one account. `docs/metrics.md` lists all of them.
//!
//! The counts belong to the process and not to a host: a reload goes on counting.
mod catalog;
mod family;
mod process;
mod scrape;

pub(crate) use catalog::*;
pub(crate) use family::labels;
pub(crate) use scrape::app;
