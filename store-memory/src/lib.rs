//! A bounded store in memory, as a Countersign plugin.
#![forbid(unsafe_code)]
