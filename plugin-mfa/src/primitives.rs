//! What `bench/primitives` measures here.
use crate::{
    records::{Factor, Id},
    totp,
};
use countersign_plugin_api::{Secret, Time};

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
        // RFC 6238, appendix B.
        let totp = Totp::new(b"12345678901234567890", Time::from_secs(1_111_111_109));
        assert_eq!(totp.step(81_804), Some(1_111_111_109 / 30));
        assert_eq!(totp.step(81_805), None);
    }
}
