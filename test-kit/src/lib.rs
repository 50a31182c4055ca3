//! A real Countersign host for the tests of whoever builds on it: a plugin, a client, a site behind its
//! forward-auth. The binary, its plugins, sockets and mail are what an installation has; only the clock is moved,
//! and that from outside.
//!
//! ```
//! use countersign_test_kit::{Host, NONE};
//! use serde_json::json;
//!
//! let host = Host::start();
//! let mut ann = host.user_fixture("ann@example.org");
//! host.setup_totp(&mut ann);
//!
//! // The password alone opens nothing.
//! let mut browser = host.mfa_pending_session(&ann);
//! browser.ask("GET /me", NONE).refused(403, "mfa-required");
//! // What her app shows does.
//! host.complete_mfa(&mut browser, &ann);
//! assert_eq!(browser.ask("GET /me", NONE).expect(200)["user"]["email"], "ann@example.org");
//!
//! // A code by mail, from the mail.
//! let mut browser = host.mfa_pending_session(&ann);
//! browser.ask("POST /mfa/otp/send", json!({})).expect(202);
//! let mail = host.site().mailbox().take_where(&ann.email, |mail| mail.subject.contains("code"));
//! browser.ask("POST /mfa/otp/verify", json!({ "code": mail.code() })).expect(200);
//! ```
//!
//! # The data's way
//!
//! A test ──HTTP──→ `countersign serve`, a child process in a directory of its own, on an address of its own ──SMTP──→
//! a [`Mailbox`] in the test. The directory is made by `countersign init`, changed by [`Site::set`], and gone when the
//! [`Host`] is dropped; so is the process. What goes wrong in here ends the test with a sentence.
//!
//! The binary and its libraries are those in the directory that `COUNTERSIGN_ARTIFACTS` names. Without it they are
//! built from the sources that this crate came with, once in a process.
//!
//! # What it does not do
//!
//! It opens no door in the host: there is no test mode, and no build of it for tests. Nothing here is linked into the
//! binary or into a plugin. Where time has to pass, `faketime` moves the host's clock (Debian package `faketime`),
//! which the host tolerates with `--allow-preload` alone.
//!
//! # Modules
//!
//! [`Site`]: a host's directory · [`Host`]: a running one, and on it what brings [`User`]s into every state · [`Client`]:
//! a browser or a program, [`Reply`]: what it is answered · [`Mailbox`], [`Mail`] · [`Clock`] · [`totp`]: an authenticator
//! · [`Artifacts`], [`project`], [`server`], [`http`]: what these are made of

pub mod artifacts;
mod clock;
mod host;
pub mod http;
mod mail;
pub mod project;
pub mod server;
mod site;
pub mod totp;
mod user;

pub use artifacts::Artifacts;
pub use clock::Clock;
pub use host::Host;
pub use http::{Client, Credentials, Reply};
pub use mail::{Mail, Mailbox};
pub use site::Site;
pub use user::{PASSWORD, User};

/// No body, for [`Client::ask`].
pub const NONE: serde_json::Value = serde_json::Value::Null;
