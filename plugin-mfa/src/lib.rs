//! Multi-factor authentication as a Countersign plugin.
#![forbid(unsafe_code)]
