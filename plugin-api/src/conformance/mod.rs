//! The kits that every implementation of a seam passes, ours and a stranger's: one function a clause.
pub mod delivery;
pub mod store;
