//! The project's own commands, as a library: the end-to-end tests build and reach the host in the same way.
//!
//! # Modules
//!
//! [`project`]: where things are, and how children are started · [`artifacts`]: the binary, the plugin
//! libraries, the fixtures · [`tools`]: what is installed from outside · [`mod@test`], [`ci`], [`demo`]: one command
//! each · [`server`]: the host as a child · [`http`], [`totp`], [`qr`]: a client, an authenticator and a screen, as
//! small as they can be
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands that talk to a person")]

pub mod artifacts;
pub mod ci;
pub mod demo;
pub mod http;
pub mod project;
pub mod qr;
pub mod server;
pub mod test;
pub mod tools;
pub mod totp;
