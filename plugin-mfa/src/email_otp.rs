//! Codes by mail: six digits, for one challenge, and only the newest counts.
//!
//! A code by mail completes a login that began with a password, and does nothing else. The mailbox is one
//! factor: whoever came in by it, or set the password anew by it, proves nothing more with a code from there.
use crate::{records::Id, totp::CODES};
use countersign_plugin_api::{Secret, Time};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// A code that was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// What it was sent for.
    pub(crate) challenge: Id,
    /// What the kernel makes of account, challenge and code: a stored code could be tried out in no time.
    pub(crate) mac: [u8; 32],
    pub(crate) expires_at: Time,
    pub(crate) failures: u32,
}

impl Sent {
    pub(crate) fn is_right(&self, mac: &[u8; 32]) -> bool {
        self.mac.ct_eq(mac).into()
    }
}

/// A code from 32 random bits, each as likely as the other; `None` for the few values above the last whole
/// million, which would make small codes likelier.
pub(crate) fn drawn(random: u32) -> Option<Secret<String>> {
    (random < u32::MAX - u32::MAX % CODES).then(|| Secret::new(spelled(random % CODES)))
}

/// As it is sent, and as it is hashed.
pub(crate) fn spelled(code: u32) -> String {
    format!("{code:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_six_digits_each_as_likely_as_the_other() {
        assert_eq!(drawn(0).unwrap().expose(), "000000");
        assert_eq!(drawn(4_293_999_999).unwrap().expose(), "999999");
        assert!(drawn(4_294_000_000).is_none());
        assert!(drawn(u32::MAX).is_none());
    }

    #[test]
    fn a_hundred_thousand_of_them_are_spread_evenly() {
        // SplitMix64, so that the test is the same each time.
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            u32::try_from(mixed >> 32).unwrap()
        };
        let mut bins = [0f64; 1_000];
        for _ in 0..100_000 {
            let code = std::iter::repeat_with(&mut random).find_map(drawn).unwrap();
            let number: usize = code.expose().parse().unwrap();
            bins[number / 1_000] += 1.0;
        }
        let chi_square: f64 = bins.iter().map(|count| (count - 100.0).powi(2) / 100.0).sum();
        // 999 degrees of freedom: p is 0.001 at 1,142.8.
        assert!(chi_square < 1_142.8, "{chi_square}");
    }
}
