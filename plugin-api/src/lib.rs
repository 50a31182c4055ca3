//! What a Countersign plugin is written against: plain traits and data.
//!
//! A plugin is a dynamic library that an auth host loads. It registers a store, a delivery, routes or a gate,
//! and is handed plain Rust: no FFI type, no unsafe code, no async runtime. This is a whole one:
//!
//! ```no_run
//! //! Prints each message to stderr instead of sending it. Development only.
//! #![forbid(unsafe_code)]
//!
//! use countersign_plugin_api::{Delivery, Message, Plugin, Registrar, Result, Undelivered, export_plugin};
//! use serde::Deserialize;
//!
//! export_plugin!(Stderr, "delivery-stderr");
//!
//! /// The plugin's configuration is the plugin; unknown keys are refused.
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Stderr {
//!     prefix: String,
//! }
//!
//! impl Plugin for Stderr {
//!     fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
//!         kernel.delivery("stderr", self)
//!     }
//! }
//!
//! impl Delivery for Stderr {
//!     fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
//!         eprintln!("{} to {}: {}", self.prefix, message.to, message.text.expose());
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib"]`, and nothing says `panic = "abort"`: a panic must unwind,
//! because the boundary turns it into an error.
//!
//! # The way of the data
//!
//! ```text
//! request ─→ Handler::handle(&Request, &dyn Context) ─→ Decision ─→ one conditional batch ─→ Store::apply
//!                     ↑ reads through Context::get                            │ durable
//! response ←──────────┴── asked again when a record it read has changed ←─────┘
//! ```
//!
//! A handler reads and decides; the kernel acts. What it returns is data, so it can be tested as a function.
//!
//! # What this crate does not do
//!
//! It opens no socket, starts no thread and knows no factor. Loading plugins is the host's part, for which
//! [`kernel`] holds the other side of the boundary.
//!
//! # Modules
//!
//! [`plugin`](Plugin), [`Registrar`] · [`Store`] and its data · [`Handler`], [`Context`], [`Decision`] ·
//! [`Gate`] · [`Delivery`] · [`Secret`], [`Location`] · [`Refusal`], [`Error`] · [`log`] · [`manifest`] · [`kernel`]

mod abi;
mod about;
mod answers;
mod batch;
mod bridge;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod decision;
mod delivery;
mod error;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod http;
pub mod kernel;
mod location;
pub mod log;
pub mod manifest;
mod plugin;
mod secret;
mod session;
mod store;
mod store_bridge;
mod units;

pub use abi::completion::Completion;
pub use about::{About, Content, Header, Response};
pub use answers::{Found, Keys, Page, Record};
pub use batch::{Batch, Change, Expect, Op};
pub use context::{Claims, Context, Name, Token};
pub use decision::{Act, Answer, Decision, Draft, Event};
pub use delivery::{Delivery, Message, Undelivered};
pub use error::{Error, Problem, Refusal, Result};
pub use gate::{Gate, Login, Standing, Verdict};
pub use http::{Access, Handler, Request, Route};
pub use location::Location;
pub use log::Level;
pub use plugin::{Plugin, Registrar};
pub use secret::{Secret, Wipe};
pub use session::{Caller, Session, SessionKind, SessionMode, Subject};
pub use store::{Latency, MAX_KEY, MAX_OPS, MAX_SCAN, MAX_VALUE, Store, StoreError, Usage};
pub use units::{Size, Span, Time};

/// For the expansions of this crate's macros alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::module::{Export, LibHeader, header};
}
