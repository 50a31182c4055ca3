//! What `bench/primitives` measures here.
use crate::{
    config::Mfa,
    records::{Factor, Id},
    routes, totp,
};
use countersign_plugin_api::{Handler, Secret, Time};
use std::sync::Arc;

/// What answers the route at `path`, as it is configured by default, without a library between.
pub fn handler(path: &str) -> Option<impl Handler> {
    let (_, handle) = routes::routes().into_iter().find(|(route, _)| route.path == path)?;
    Some(routes::Endpoint::new(Arc::new(Mfa::default()), handle))
}

/// An account with one authenticator, and the moment at which a code is shown.
pub struct Totp {
    factors: [Factor; 1],
    wall: Time,
}

impl Totp {
    /// A key of as many bytes as it has.
    pub fn new(key: &[u8], wall: Time) -> Self {
        let factor = Factor {
            id: Id([0; 16]),
            label: String::new(),
            key: Secret::new(key.to_vec()),
            created_at: Time::EPOCH,
            last_used_at: None,
            last_step: 0,
        };
        Self { factors: [factor], wall }
    }

    /// The step of a code: three steps are computed, whichever it is.
    pub fn step(&self, code: u32) -> Option<u64> {
        totp::matching(&self.factors, code, self.wall, 1).map(|(_, step)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_right() {
        assert!(handler("/totp/verify").is_some() && handler("/totp").is_none());
        // RFC 6238, appendix B.
        let totp = Totp::new(b"12345678901234567890", Time::from_secs(1_111_111_109));
        assert_eq!(totp.step(81_804), Some(1_111_111_109 / 30));
        assert_eq!(totp.step(81_805), None);
    }
}
