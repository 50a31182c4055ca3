//! An authenticator: RFC 6238 with SHA-1, six digits and steps of 30 seconds. Written apart from the plugin's, and
//! compared with `oathtool` by the project's own tests.
use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Seconds a code is shown.
pub const STEP: u64 = 30;

/// The code that an authenticator with this secret (base32, no padding) shows at a Unix time.
pub fn code(secret: &str, unix: u64) -> Result<String> {
    let key = base32(secret).context("the secret is not base32")?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).context("the secret cannot be a key")?;
    mac.update(&(unix / STEP).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    // RFC 4226 §5.3: the last nibble says where the four bytes lie, whose sign bit is dropped.
    let at = usize::from(digest[digest.len() - 1] & 0xf);
    let word = u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
    Ok(format!("{:06}", (word & 0x7fff_ffff) % 1_000_000))
}

/// RFC 4648 §6, without padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut held, mut bytes) = (0u32, 0u32, Vec::with_capacity(text.len() * 5 / 8));
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|&known| known == letter)?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_6238_appendix_b() {
        // The last six of the eight digits in the table, for SHA-1.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (unix, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(secret, unix).expect("a code"), expected, "at {unix}");
        }
    }

    #[test]
    fn what_is_not_base32_is_refused() {
        for text in ["GEZDG1", "gezdg", "GEZ DG", "A="] {
            assert!(code(text, 0).is_err(), "{text}");
        }
    }
}
