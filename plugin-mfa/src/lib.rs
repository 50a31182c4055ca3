//! Multi-factor authentication as a Countersign plugin: TOTP (RFC 6238), recovery codes, the challenges that
//! a login meets, the budget of guesses, and the gate that every way to a session passes.
//!
//! # The way of the data
//!
//! ```text
//! first factor proven ─→ gate ─→ no active factor: proceed
//!                          └──→ a challenge in the account's state, a signed handle to the client
//! code + handle ─→ routes ─→ one read: State ─→ budget, challenge, totp/recovery decide
//!                                                      └─→ one Decision: State', session, audit event
//! ```
//!
//! All that is known of an account lies in one record, `records::State`, so any two decisions about one
//! account are serial: a code that was spent, a failure that was counted and a lock that was set are never
//! lost to a race. What is spent is spent in the write that grants the session.
//!
//! # What this plugin does not do
//!
//! It keeps no passwords and no sessions, opens no socket and has no clock: those are the host's.
//!
//! # Modules
//!
//! `config` the plugin itself · `routes` the endpoints · `operations` the same for administrators, in process ·
//! `gate` logins and standings · `records` the state and its form. The rest decides, each a pure function: `challenge` · `totp` · `enrolment` ·
//! `recovery` · `email_otp` · `links` · `trust` · `budget` · `quota` · `policy` · `password` ·
//! `common` · `import`. `notice` tells the owner; `pages` are what people see, `form` is what
//! the page of a mailed link sends back. `base32` spells.
#![forbid(unsafe_code)]

mod base32;
mod budget;
mod challenge;
mod common;
mod config;
mod email_otp;
mod enrolment;
mod form;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod import;
mod links;
mod notice;
mod operations;
mod pages;
mod password;
mod policy;
#[cfg(any(primitives, test))]
#[doc(hidden)]
pub mod primitives;
mod quota;
mod records;
mod recovery;
mod routes;
#[cfg(test)]
mod tests;
mod totp;
mod trust;

use config::Mfa;
use countersign_plugin_api::{Error, Plugin, Registrar, Result, export_plugin};
use std::sync::Arc;

export_plugin!(Mfa, "mfa");

impl Plugin for Mfa {
    fn check(&self) -> Result<()> {
        if self.lockout.max_duration < self.lockout.duration {
            return Err(Error::new("lockout.max_duration must not be shorter than lockout.duration"));
        }
        Ok(())
    }

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        let config = Arc::new(self);
        for (route, handle) in routes::routes() {
            kernel.route(&route, routes::Endpoint::new(Arc::clone(&config), handle))?;
        }
        pages::register(&config, kernel)?;
        for (name, handle) in &operations::OPERATIONS {
            kernel.operation(name, routes::Endpoint::new(Arc::clone(&config), *handle))?;
        }
        kernel.gate(records::STATE, gate::MfaGate::new(config))
    }
}
