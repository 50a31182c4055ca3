//! A durable store on SQLite, as a Countersign plugin.
#![forbid(unsafe_code)]
