//! Where records live: `home (8) ‖ view ‖ "/" ‖ tag (8) ‖ name`.
//!
//! Home and tag are halves of a keyed hash of the subject, so nobody can aim at a home, no personal data
//! stands in a key, and everything about one subject lies on the same few pages whatever view it is in.
use super::keys::{Ring, Role};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The place of a subject, or of whatever groups records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(pub(crate) [u8; 16]);

/// The view of the host's own records.
pub(crate) const HOST: &str = "host";

/// Makes places.
#[derive(Clone)]
pub(super) struct Places(Hmac<Sha256>);

impl Places {
    pub(super) fn new(ring: &Ring) -> Result<Self, String> {
        let key = ring.active(Role::Index).ok_or("the key file has no active key with role `index`")?;
        let mac = Hmac::new_from_slice(key.derive("place").expose()).map_err(|error| error.to_string())?;
        Ok(Self(mac))
    }

    pub(super) fn of(&self, subject: &str) -> Place {
        let mut mac = self.0.clone();
        mac.update(subject.as_bytes());
        let full = mac.finalize().into_bytes();
        let mut place = [0; 16];
        place.copy_from_slice(&full[..16]);
        Place(place)
    }
}

impl Place {
    /// The store's key of a record.
    pub(crate) fn key(self, view: &str, name: &[u8]) -> Vec<u8> {
        let (home, tag) = self.0.split_at(8);
        [home, view.as_bytes(), b"/", tag, name].concat()
    }

    /// How long the part before a record's name is.
    pub(crate) fn prefix_len(view: &str) -> usize {
        16 + view.len() + 1
    }
}
