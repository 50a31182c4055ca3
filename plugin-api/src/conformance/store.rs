//! The store contract, clause by clause.
//!
//! ```no_run
//! # use countersign_plugin_api::{Store, conformance::store};
//! # use std::sync::Arc;
//! # fn run(open: impl Fn() -> Arc<dyn Store>) {
//! let scratch: Arc<dyn Store> = open();
//! for (name, clause) in store::CLAUSES {
//!     match clause(&scratch) {
//!         Ok(()) => println!("ok      {name}"),
//!         Err(broken) => println!("BROKEN  {broken}"),
//!     }
//! }
//! # }
//! ```
//!
//! The store is a scratch one: it need not be empty, but nobody else may write to it meanwhile, and what the
//! clauses write stays there. Run them one after another, because each moves the store's time forward, and
//! with room for some 10,000 records and 16 MiB. Two clauses need more than a store and stand beside the table:
//! [`full_only_when_it_grows`], which wants a small one, and [`acknowledged_writes_survive_reopening`], which
//! opens it twice.
//!
//! What no kit inside one process can show is durability across `kill -9` and power loss.
mod expectations;
mod limits;
mod races;
mod reads;
#[cfg(test)]
mod tests;
mod time;
mod trial;
mod versions;

pub use expectations::{
    absent_expects_no_live_record, any_expects_nothing, batches_apply_wholly_or_not_at_all,
    deletion_removes_the_record, requirements_write_nothing, version_expects_exactly_that_record,
};
pub use limits::{
    bounds_are_allowed, full_only_when_it_grows, out_of_bounds_is_refused_unwritten,
    usage_counts_what_is_held,
};
pub use races::{
    every_batch_is_finished_once, no_reader_sees_part_of_a_batch, no_update_is_lost, one_of_many_creates,
};
pub use reads::{
    get_answers_each_key_in_order, scan_follows_byte_order, scan_pages_through_everything,
    scan_stays_under_its_prefix,
};
pub use time::{acknowledged_writes_survive_reopening, only_the_expired_vanishes};
pub use versions::{versions_are_never_reused, versions_come_from_one_counter};

use crate::Store;
use std::{fmt, sync::Arc};

/// A clause of the contract that a store does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The name of the clause's function.
    pub clause: &'static str,
    /// What the contract says.
    pub expected: String,
    /// What the store did.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}; saw {}", self.clause, self.expected, self.seen)
    }
}
impl std::error::Error for Broken {}

/// One clause, run on a scratch store.
pub type Clause = fn(&Arc<dyn Store>) -> Result<(), Broken>;

macro_rules! clauses {
    ($($clause:ident),* $(,)?) => {
        /// Every clause that needs nothing but a store, by name.
        pub const CLAUSES: &[(&str, Clause)] = &[$((stringify!($clause), $clause),)*];
    };
}
clauses![
    get_answers_each_key_in_order,
    any_expects_nothing,
    absent_expects_no_live_record,
    version_expects_exactly_that_record,
    deletion_removes_the_record,
    requirements_write_nothing,
    batches_apply_wholly_or_not_at_all,
    versions_are_never_reused,
    versions_come_from_one_counter,
    scan_follows_byte_order,
    scan_stays_under_its_prefix,
    scan_pages_through_everything,
    bounds_are_allowed,
    out_of_bounds_is_refused_unwritten,
    usage_counts_what_is_held,
    only_the_expired_vanishes,
    one_of_many_creates,
    no_update_is_lost,
    no_reader_sees_part_of_a_batch,
    every_batch_is_finished_once,
];

/// Runs every clause and answers all that are broken.
pub fn check_all(store: &Arc<dyn Store>) -> Result<(), Vec<Broken>> {
    let broken: Vec<Broken> = CLAUSES.iter().filter_map(|(_, clause)| clause(store).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}
