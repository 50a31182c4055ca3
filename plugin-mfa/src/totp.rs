//! TOTP (RFC 6238): six digits of HMAC-SHA-1 over 30-second steps, which is what authenticator apps read.
//!
//! Every step of the window is computed for every factor, and the match is selected without a branch, so the
//! time it takes tells nothing about which code was near.
use crate::records::{Factor, Key};
use countersign_plugin_api::Time;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};

/// The seconds of a time step.
pub(crate) const PERIOD: u64 = 30;
/// One more than the largest code.
pub(crate) const CODES: u32 = 1_000_000;

/// The number that a user typed; spaces do not matter, as apps show `123 456`. `None` for what is not six
/// digits: no app shows that.
pub(crate) fn parse(typed: &str) -> Option<u32> {
    let mut code = 0;
    let mut digits = 0;
    for character in typed.chars().filter(|character| *character != ' ') {
        code = code * 10 + character.to_digit(10)?;
        digits += 1;
        if digits > 6 {
            return None;
        }
    }
    (digits == 6).then_some(code)
}

/// The time step that an instant of the wall clock lies in (RFC 6238, 4.2).
pub(crate) fn step_at(wall: Time) -> u64 {
    wall.secs() / PERIOD
}

/// HOTP before it is cut to its digits (RFC 4226, 5.3).
fn truncated(keyed: &Hmac<Sha1>, counter: u64) -> u32 {
    let mac = keyed.clone().chain_update(counter.to_be_bytes()).finalize().into_bytes();
    let at = usize::from(mac[19] & 0xf);
    u32::from_be_bytes([mac[at], mac[at + 1], mac[at + 2], mac[at + 3]]) & 0x7fff_ffff
}

/// HMAC under a key: filled up with zeros to the block, as HMAC does itself (RFC 2104, 2).
fn keyed(key: &Key) -> Hmac<Sha1> {
    let mut block = [0; 64];
    block.iter_mut().zip(key.expose()).for_each(|(block, byte)| *block = *byte);
    Hmac::new(&block.into())
}

/// The newest step of the window, later than `last_step`, whose code this is; 0 for none.
///
/// Steps up to `last_step` are spent (RFC 6238, 5.2), and by taking the newest so are the older ones of the
/// window. Two adjacent steps may have the same code: it is then good once for each.
fn newest(key: &Key, code: u32, wall: Time, skew: u64, last_step: u64) -> u64 {
    let keyed = keyed(key);
    let now = step_at(wall);
    let mut newest = 0;
    for step in now.saturating_sub(skew)..=now.saturating_add(skew) {
        let fits = (truncated(&keyed, step) % CODES).ct_eq(&code) & step.ct_gt(&last_step);
        newest.conditional_assign(&step, fits);
    }
    newest
}

/// The step of a code that proves an app to hold a new key.
pub(crate) fn first(key: &Key, code: u32, wall: Time, skew: u64) -> Option<u64> {
    Some(newest(key, code, wall, skew, 0)).filter(|step| *step > 0)
}

/// The factor (its index) and the step that a code belongs to, among those that are not spent.
pub(crate) fn matching(factors: &[Factor], code: u32, wall: Time, skew: u64) -> Option<(usize, u64)> {
    let (mut at, mut step, mut found) = (0u64, 0u64, Choice::from(0));
    for (index, factor) in (0u64..).zip(factors) {
        let newest = newest(&factor.key, code, wall, skew, factor.last_step);
        let fits = newest.ct_gt(&0) & !found;
        at.conditional_assign(&index, fits);
        step.conditional_assign(&newest, fits);
        found |= fits;
    }
    bool::from(found).then_some((usize::try_from(at).ok()?, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Id;
    use countersign_plugin_api::Secret;

    const RFC_KEY: [u8; 20] = *b"12345678901234567890";

    fn factor(key: [u8; 20], last_step: u64) -> Factor {
        Factor {
            id: Id([0; 16]),
            label: String::new(),
            key: Secret::new(key.to_vec()),
            created_at: Time::EPOCH,
            last_used_at: None,
            last_step,
        }
    }

    fn code_of(key: [u8; 20], step: u64) -> u32 {
        truncated(&keyed(&Secret::new(key.to_vec())), step) % CODES
    }

    #[test]
    fn rfc_4226_appendix_d() {
        let expected = [
            (0x4c93_cf18, 755_224),
            (0x4139_7eea, 287_082),
            (0x082f_ef30, 359_152),
            (0x66ef_7655, 969_429),
            (0x61c5_938a, 338_314),
            (0x33c0_83d4, 254_676),
            (0x7256_c032, 287_922),
            (0x04e5_b397, 162_583),
            (0x2823_443f, 399_871),
            (0x2679_dc69, 520_489),
        ];
        for (counter, (number, code)) in (0..).zip(expected) {
            assert_eq!(truncated(&keyed(&Secret::new(RFC_KEY.to_vec())), counter), number);
            assert_eq!(code_of(RFC_KEY, counter), code);
        }
    }

    #[test]
    fn rfc_6238_appendix_b() {
        for (secs, eight_digits) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            let wall = Time::from_secs(secs);
            let number = truncated(&keyed(&Secret::new(RFC_KEY.to_vec())), step_at(wall));
            assert_eq!(number % 100_000_000, eight_digits, "at {secs}");
            let factors = [factor(RFC_KEY, 0)];
            assert_eq!(matching(&factors, eight_digits % CODES, wall, 0), Some((0, secs / 30)));
        }
    }

    #[test]
    fn another_authenticator_computes_the_same_codes() {
        for seed in 0..50u8 {
            let key: [u8; 20] = std::array::from_fn(|at| seed.wrapping_mul(37) ^ u8::try_from(at).unwrap());
            let theirs = totp_rs::Builder::new()
                .with_secret(key.to_vec())
                .with_digits(6)
                .with_skew(0)
                .build()
                .unwrap();
            for secs in [1, 59, 1_700_000_000, 1_763_800_000 + u64::from(seed) * 31] {
                assert_eq!(theirs.generate(secs).to_string(), format!("{:06}", code_of(key, secs / 30)));
            }
        }
    }

    #[test]
    fn the_window_is_one_step_wide_and_never_reaches_back_behind_what_is_spent() {
        let now = 58_000_000;
        let wall = Time::from_secs(now * 30 + 17);
        for (skew, last_step, offset, accepted) in [
            (1, 0, -2, false),
            (1, 0, -1, true),
            (1, 0, 0, true),
            (1, 0, 1, true),
            (1, 0, 2, false),
            (0, 0, -1, false),
            (0, 0, 0, true),
            (0, 0, 1, false),
            (1, now - 1, -1, false),
            (1, now - 1, 0, true),
            (1, now, 0, false),
            (1, now, 1, true),
            (1, now + 1, 1, false),
            (1, now + 100, 0, false),
        ] {
            let step = now.checked_add_signed(offset).unwrap();
            let found = matching(&[factor(RFC_KEY, last_step)], code_of(RFC_KEY, step), wall, skew);
            assert_eq!(found, accepted.then_some((0, step)), "{skew} {last_step} {offset}");
        }
    }

    /// R03: each offset with two hundred keys, at two hundred times.
    #[test]
    fn of_two_hundred_codes_the_window_takes_all_or_none() {
        for offset in -2..=2_i64 {
            let accepted = (0..200_u8).filter(|seed| {
                let key: [u8; 20] =
                    std::array::from_fn(|at| seed.wrapping_mul(29) ^ u8::try_from(at).unwrap());
                let now = 58_000_000 + u64::from(*seed) * 7_919;
                let step = now.checked_add_signed(offset).unwrap();
                let wall = Time::from_secs(now * 30 + u64::from(*seed) % 30);
                matching(&[factor(key, 0)], code_of(key, step), wall, 1) == Some((0, step))
            });
            assert_eq!(accepted.count(), if offset.abs() <= 1 { 200 } else { 0 }, "{offset}");
        }
    }

    /// A key and a step whose code is that of the next step too.
    fn adjacent_equals() -> ([u8; 20], u64) {
        let key = RFC_KEY;
        let keyed = keyed(&Secret::new(key.to_vec()));
        let mut before = truncated(&keyed, 0) % CODES;
        let mut step = 0;
        loop {
            let code = truncated(&keyed, step + 1) % CODES;
            if code == before && step > 1 {
                return (key, step);
            }
            before = code;
            step += 1;
        }
    }

    #[test]
    fn adjacent_steps_with_one_code() {
        let (key, step) = adjacent_equals();
        let code = code_of(key, step);
        let at = |step: u64| Time::from_secs(step * 30);
        // Both unspent and in the window: the newer one is taken, so nothing of it is left for a replay.
        assert_eq!(matching(&[factor(key, 0)], code, at(step), 1), Some((0, step + 1)));
        assert_eq!(matching(&[factor(key, step + 1)], code, at(step + 1), 1), None);
        // The older one was spent while the newer one lay outside: the same digits are good once more.
        assert_eq!(matching(&[factor(key, 0)], code, at(step), 0), Some((0, step)));
        assert_eq!(matching(&[factor(key, step)], code, at(step + 1), 0), Some((0, step + 1)));
        assert_eq!(matching(&[factor(key, step)], code, at(step + 1), 1), Some((0, step + 1)));
    }

    #[test]
    fn each_factor_has_its_own_steps() {
        let other = *b"another key, 20 byte";
        let now = 58_000_000;
        let wall = Time::from_secs(now * 30);
        let factors = [factor(RFC_KEY, now + 1), factor(other, 0)];
        assert_eq!(matching(&factors, code_of(other, now), wall, 1), Some((1, now)));
        assert_eq!(matching(&factors, code_of(RFC_KEY, now), wall, 1), None);
        assert_eq!(matching(&[], code_of(RFC_KEY, now), wall, 1), None);
        // One key twice, as nobody should have it: a code still is one use.
        let twins = [factor(RFC_KEY, now - 1), factor(RFC_KEY, 0)];
        assert_eq!(matching(&twins, code_of(RFC_KEY, now), wall, 1), Some((0, now)), "the first");
        let twins = [factor(RFC_KEY, now), factor(RFC_KEY, 0)];
        assert_eq!(matching(&twins, code_of(RFC_KEY, now), wall, 1), Some((1, now)));
    }

    #[test]
    fn codes_are_six_digits() {
        for (typed, code) in [
            ("123456", Some(123_456)),
            ("000000", Some(0)),
            (" 123 456 ", Some(123_456)),
            ("12345", None),
            ("1234567", None),
            ("", None),
            ("12345a", None),
            ("-12345", None),
            ("+12345", None),
            ("１２３４５６", None),
            ("123456\0", None),
        ] {
            assert_eq!(parse(typed), code, "{typed:?}");
        }
    }
}
