//! Base 32 in two spellings: RFC 4648's for authenticator apps, Crockford's for codes that people type.

/// RFC 4648, section 6; without padding, which authenticator apps do not want.
pub(crate) const RFC_4648: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Crockford's: no I, L, O and U, which are misread or misheard.
pub(crate) const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Five bits a character, the last one filled up with zeros.
pub(crate) fn encode(bytes: &[u8], alphabet: &[u8; 32]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(alphabet[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(alphabet[(buffer << (5 - bits) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4648_vectors() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(encode(bytes.as_bytes(), RFC_4648), text);
        }
    }

    #[test]
    fn every_character_of_an_alphabet_is_reached() {
        // 32 groups of five bits, counting up.
        let groups = (0u8..32).flat_map(|n| (0..5).rev().map(move |bit| n >> bit & 1));
        let bits: Vec<u8> = groups.collect();
        let bytes: Vec<u8> =
            bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect();
        assert_eq!(encode(&bytes, CROCKFORD).as_bytes(), CROCKFORD);
    }
}
