//! The project's own commands, as a library: the end-to-end tests build and reach the host in the same way.
//!
//! # Modules
//!
//! [`fixtures`]: plugins for the tests · [`tools`]: what is installed from outside · [`mod@test`], [`ci`], [`demo`], [`dist`], [`siege`], [`fuzz`], [`sanitize`], [`mod@bench`]: one
//! command each · [`site`]: the documentation as HTML · [`qr`]: a screen for the demo · and from the test kit, [`project`]: where things are, and how children
//! are started · [`artifacts`]: the binary and the plugin libraries · [`server`], [`http`], [`totp`]: the host as a child, a
//! client, an authenticator
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands that talk to a person")]

pub mod bench;
pub mod ci;
pub mod demo;
pub mod dist;
pub mod fixtures;
pub mod fuzz;
pub mod qr;
pub mod sanitize;
pub mod siege;
pub mod site;
pub mod test;
pub mod tools;

pub use countersign_test_kit::{artifacts, http, project, server, totp};
