//! The host's HTTP/1.1: what stands between a socket and a handler.
//!
//! ```no_run
//! use axum::{Router, response::IntoResponse, routing::post};
//! use countersign_host::http::{App, Call, Failure, Server, ServerLimits, Site};
//! use std::sync::Arc;
//! use tokio::sync::watch;
//!
//! async fn echo(call: Call) -> Result<impl IntoResponse, Failure> {
//!     let body: std::collections::BTreeMap<String, String> = call.json()?;
//!     Ok(body.len().to_string())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let site = Site::new("https://auth.example.org", &[], |peer| peer.is_loopback())?;
//! let app = App::new(site, Router::new().route("/api/auth/echo", post(echo)));
//! let (reload, apps) = watch::channel(Arc::new(app));
//! let server = Server::bind("127.0.0.1:8080".parse()?, ServerLimits::default())?;
//! server.run(apps, async { let _ = tokio::signal::ctrl_c().await; }).await;
//! # drop(reload);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! ```text
//! socket ─→ slots ─→ wire ─→ door ─→ hyper ─→ App: guard ─→ limits ─→ router ─→ Call ─→ handler
//!           room?    time,   a       parses        host,     body,     404,             │
//!           503      framing place                 site,     depth     405              │ Response or Failure
//!                                                  media                                │
//! client ←─ wire ←── hyper ←────────────────── headers, problem document, log line ←────┘
//! ```
//!
//! Every error is a problem document (RFC 9457), with two kinds of exception, both before there is a request
//! to answer: bytes that are no HTTP get hyper's bare 400 or 431, and a connection that is too slow gets none.
//!
//! # What a handler can rely on
//!
//! - The `Host` is ours, and an unsafe request was not caused by another site. A request with
//!   `Authorization: Bearer` is exempt from the latter, so its cookies must count for nothing:
//!   [`Cookie::credential`] sees to that.
//! - The body is complete, at most 16 KiB, said to be JSON, and not deeply nested.
//! - It runs to its end although the client may have gone, except when draining takes too long.
//! - If it panics, the client gets 503 and the others notice nothing.

mod app;
mod connection;
mod cookies;
mod door;
mod eager;
mod flow;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod guard;
mod limits;
mod log;
mod peer;
mod problem;
mod request;
mod server;
mod site;
mod slots;
mod wire;

pub use app::App;
pub(crate) use app::Arrival;
pub use cookies::{Cookie, Credential};
pub use limits::{MAX_BODY, MAX_DEPTH, MAX_HEAD};
pub(crate) use log::Pattern;
pub use log::RequestId;
pub use problem::{Failure, refused};
pub use request::Call;
pub(crate) use request::decode;
pub use server::{Server, ServerLimits};
pub(crate) use site::Refuse;
pub use site::Site;

#[cfg(test)]
mod tests;
