//! Support for end-to-end tests: the test kit (the real binary with the real libraries, in a directory of its own),
//! and what only the project's own tests need.
//!
//! Tools that the tests compare with (`oathtool`, `zbarimg`, `rsvg-convert`, `faketime`, `sqlite3`, `openssl`,
//! `chromium`) come from Debian, the SMTP server from PyPI, the rules for pages (axe-core) from npm; `cargo xtask test` installs what is missing. Anything that goes wrong in
//! here ends the test.
//!
//! # Modules
//!
//! [`oathtool`], [`scan_qr`], [`sqlite3`], [`at_terminal`]: independent tools · [`Chromium`]: a browser ·
//! [`smtp`]: a mail server that can be at fault ·
//! [`receiver`]: the same for webhooks · [`markdown`]: the pages of the documentation ·
//! [`proxy`]: nginx and Caddy, with what stands before and behind them ·
//! [`Description`]: what `/openapi.json` says · [`Authority`]: certificates, right and wrong · [`damage`]: libraries that nobody could build · [`fixture`]: plugins
//! that are bad on purpose · [`Future`]: the interface of tomorrow

mod authority;
mod chromium;
pub mod damage;
mod future;
pub mod markdown;
mod openapi;
pub mod proxy;
pub mod receiver;
pub mod smtp;
mod tools;

pub use authority::{Authority, Certificate};
pub use chromium::{Chromium, View, axe};
pub use countersign_test_kit::{
    Artifacts, Client, Clock, Credentials, Host, Mail, Mailbox, NONE, PASSWORD, Reply, Site, User,
    http::exchange,
};
pub use future::Future;
pub use openapi::Description;
pub use tools::{at_terminal, oathtool, scan_picture, scan_qr, sqlite3};
pub use xtask::fixtures::{example, fixture};

/// A path of the contract.
pub fn api(path: &str) -> String {
    format!("/api/auth{path}")
}
