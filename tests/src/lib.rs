//! Support for end-to-end tests: the real binary with the real libraries, in a directory of its own.
//!
//! ```no_run
//! use countersign_tests::{Site, api, oathtool};
//! use serde_json::json;
//!
//! let host = Site::with_store("sqlite").start();
//! let mut browser = host.browser();
//! let user = json!({ "email": "a@example.org", "password": "correct horse battery staple" });
//! assert_eq!(browser.post(&api("/register"), &user).expect("an answer").status, 201);
//! host.kill();
//! ```
//!
//! Tools that the tests compare with (`oathtool`, `zbarimg`, `rsvg-convert`, `faketime`, `sqlite3`, `openssl`) come
//! from Debian, the SMTP server from PyPI; `cargo xtask test` installs what is missing. Anything that goes wrong in
//! here ends the test.
//!
//! # Modules
//!
//! [`Site`]: a host's directory · [`Host`]: a running one · [`Clock`]: what time it believes it is ·
//! [`oathtool`], [`scan_qr`], [`sqlite3`]: independent tools · [`smtp`]: a mail server that can be at
//! fault · [`Authority`]: certificates, right and wrong · [`damage`]: libraries that nobody could build

mod authority;
mod clock;
pub mod damage;
mod host;
mod site;
pub mod smtp;
mod tools;

pub use authority::{Authority, Certificate};
pub use clock::Clock;
pub use host::Host;
pub use site::Site;
pub use tools::{oathtool, scan_qr, sqlite3};
pub use xtask::{
    artifacts::Artifacts,
    http::{Client, Credentials, Reply, exchange},
};

/// A path of the contract.
pub fn api(path: &str) -> String {
    format!("/api/auth{path}")
}
