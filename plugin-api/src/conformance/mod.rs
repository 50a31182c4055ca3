//! The kits that every implementation of a seam passes, ours and a stranger's: one function a clause.
mod bare;
pub mod delivery;
pub mod gate;
pub mod handler;
pub mod store;
