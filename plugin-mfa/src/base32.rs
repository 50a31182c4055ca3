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

/// RFC 4648's, in either case, with or without padding and the spaces that people read it by. `None` for what
/// is not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut buffer, mut bits) = (0u32, 0);
    for character in text.trim_end_matches('=').bytes().filter(|character| *character != b' ') {
        let place = RFC_4648.iter().position(|known| *known == character.to_ascii_uppercase())?;
        buffer = buffer << 5 | u32::try_from(place).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
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
            for spelled in [text.to_owned(), text.to_lowercase(), format!("{text}===")] {
                assert_eq!(decode(&spelled).as_deref(), Some(bytes.as_bytes()), "{spelled}");
            }
        }
    }

    #[test]
    fn what_is_not_base_32() {
        for text in ["1", "8", "0", "M=Y", "MY-", "MÝ", "MY\n"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("MZXW 6YTB").as_deref(), Some(&b"fooba"[..]));
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
