//! Logging from a plugin: lines go to the host's log, under the plugin's name.
//!
//! A library has statics of its own, so a logging crate inside a plugin would write to nobody. These
//! functions work on any thread of the plugin once it is loaded, and do nothing before.
use crate::abi;
use std::fmt::Display;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// Worth knowing.
    Info,
    /// Worth knowing when looking for a fault.
    Debug,
}

impl Level {
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Writes an error to the host's log. Never a secret.
pub fn error(message: impl Display) {
    abi::log(Level::Error, &message.to_string());
}
/// Writes a warning to the host's log. Never a secret.
pub fn warn(message: impl Display) {
    abi::log(Level::Warn, &message.to_string());
}
/// Writes an information to the host's log. Never a secret.
pub fn info(message: impl Display) {
    abi::log(Level::Info, &message.to_string());
}
/// Writes a debugging line to the host's log. Never a secret.
pub fn debug(message: impl Display) {
    abi::log(Level::Debug, &message.to_string());
}
