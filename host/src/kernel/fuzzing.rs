//! Libraries and tokens, as strangers make them.
pub use super::{elf::fuzzing::elf, token::fuzzing::token};
