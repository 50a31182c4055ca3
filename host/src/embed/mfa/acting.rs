//! Who acts. Nothing is done for an account because somebody has named it.
use super::super::{Authentication, Challenged};
use countersign_plugin_api::{Secret, SessionMode};

/// Whoever proves a second factor: a login that waits, or somebody who is signed in and steps up.
#[derive(Clone)]
pub struct Acting(pub(super) Proof);

#[derive(Clone)]
pub(super) enum Proof {
    Ticket(Secret<String>),
    Challenge(Secret<String>),
}

impl Acting {
    /// Whoever brings the challenge of a program's login ([`FirstFactor::bearer`](super::super::FirstFactor::bearer)).
    /// Any other challenge is worth nothing without the session that waits.
    pub fn challenge(token: &Secret<String>) -> Self {
        Self(Proof::Challenge(token.clone()))
    }
}

impl From<&Authentication> for Acting {
    fn from(own: &Authentication) -> Self {
        Self(Proof::Ticket(own.ticket().clone()))
    }
}

impl From<&Challenged> for Acting {
    fn from(login: &Challenged) -> Self {
        match login.pending.mode() {
            SessionMode::Bearer => Self::challenge(&login.challenge),
            SessionMode::Cookie => Self::from(&login.pending),
        }
    }
}
