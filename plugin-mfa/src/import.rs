//! Factors of another system, as `otpauth` URIs tell of them
//! (<https://github.com/google/google-authenticator/wiki/Key-Uri-Format>). What the codes here are not made of is
//! refused: a factor that is taken over and never verifies is worse than none. No sentence repeats a value, since
//! one of them is the secret.
use crate::{base32, enrolment, form::decoded, records::Key};
use countersign_plugin_api::Secret;

/// RFC 4226, R6: "The length of the shared secret MUST be at least 128 bits."
const SHORTEST: usize = 16;
/// One block of SHA-1: what is longer is hashed first, and apps differ about it.
const LONGEST: usize = 64;

/// A factor of another system.
pub(crate) struct Imported {
    pub(crate) key: Key,
    /// The issuer, as far as it can be shown.
    pub(crate) label: String,
}

/// Reads a URI; the error says in a sentence what is not verified here.
pub(crate) fn read(uri: &str) -> Result<Imported, String> {
    let starts =
        |text: &str, start: &str| text.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
    if !starts(uri, "otpauth://") {
        return Err("It is not an otpauth URI".into());
    }
    let (kind, rest) = uri["otpauth://".len()..].split_once('/').ok_or("The URI names no account")?;
    if kind.eq_ignore_ascii_case("hotp") {
        return Err("Codes that count (HOTP) are not verified here, only those that go by the time".into());
    }
    if !kind.eq_ignore_ascii_case("totp") {
        return Err("The URI is of a kind that is not known: it must be otpauth://totp/".into());
    }
    let (name, query) = rest.split_once('?').ok_or("The URI has no secret")?;
    let [secret, algorithm, digits, period, issuer] =
        parameters(query, ["secret", "algorithm", "digits", "period", "issuer"])?;
    let is = |given: &Option<Secret<String>>, meant: &[&str]| {
        given.as_ref().is_none_or(|value| meant.iter().any(|name| value.expose().eq_ignore_ascii_case(name)))
    };
    if !is(&algorithm, &["SHA1", "SHA-1", "HMACSHA1"]) {
        return Err("Its algorithm is not verified here, only SHA1".into());
    }
    if !is(&digits, &["6"]) {
        return Err("Its codes do not have 6 digits, and no others are verified here".into());
    }
    if !is(&period, &["30"]) {
        return Err("Its codes do not change every 30 seconds, and no others are verified here".into());
    }
    let secret = secret.ok_or("The URI has no secret")?;
    let bytes = key(&secret)?;
    let before_colon = decoded(name.as_bytes(), false)
        .and_then(|name| name.expose().split_once(':').map(|(issuer, _)| issuer.to_owned()));
    let issuer = issuer.map(|issuer| issuer.expose().clone()).or(before_colon);
    // What cannot be shown as a label is not worth refusing a factor for.
    let label = issuer.and_then(|issuer| enrolment::label(Some(&issuer)).ok());
    Ok(Imported { key: bytes, label: label.unwrap_or_else(|| enrolment::LABEL.into()) })
}

/// A secret in base 32.
pub(crate) fn key(secret: &Secret<String>) -> Result<Key, String> {
    let bytes = base32::decode(secret.expose()).map(Secret::new).ok_or("Its secret is not base 32")?;
    let length = bytes.expose().len();
    if length < SHORTEST {
        return Err(format!(
            "Its secret has {} bits, and RFC 4226 asks for 128 at least: its owner has to set up a new one",
            length * 8
        ));
    }
    if length > LONGEST {
        return Err(format!("Its secret has {} bits, and at most 512 are verified here", length * 8));
    }
    Ok(bytes)
}

/// The values of the parameters that are asked for. Others, such as a colour, are of no importance.
fn parameters<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<Secret<String>>; N], String> {
    let mut values = [const { None }; N];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| name.eq_ignore_ascii_case(known)) else { continue };
        let value = decoded(value.as_bytes(), true).ok_or("The URI is not percent-encoded UTF-8")?;
        if values[at].replace(value).is_some() {
            return Err("The URI has a parameter twice".into());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn what_other_systems_write() {
        for (uri, label) in [
            (format!("otpauth://totp/Acme:ann@example.org?secret={SECRET}"), "Acme"),
            (format!("otpauth://totp/Acme%20Inc%3Aann?secret={SECRET}&issuer=Acme+Inc"), "Acme Inc"),
            (format!("otpauth://totp/ann?secret={SECRET}"), "Authenticator app"),
            (format!("otpauth://totp/ann?issuer=%0a&secret={SECRET}"), "Authenticator app"),
            (
                format!(
                    "OTPAUTH://TOTP/x?Secret={}&algorithm=sha1&digits=6&period=30&image=y",
                    SECRET.to_lowercase()
                ),
                "Authenticator app",
            ),
            (format!("otpauth://totp/x?secret={SECRET}%3D%3D&algorithm=HmacSHA1"), "Authenticator app"),
        ] {
            let imported = read(&uri).map_err(|why| format!("{uri}: {why}")).unwrap();
            assert_eq!(imported.key.expose(), b"12345678901234567890", "{uri}");
            assert_eq!(imported.label, label, "{uri}");
        }
    }

    #[test]
    fn secrets_have_from_128_to_512_bits() {
        for bytes in [16, 20, 26, 32, 63, 64] {
            let key: Vec<u8> = (0..bytes).collect();
            let uri = format!("otpauth://totp/x?secret={}", base32::encode(&key, base32::RFC_4648));
            let imported = read(&uri).map_err(|why| format!("{bytes}: {why}")).unwrap();
            assert_eq!(imported.key.expose(), &key);
        }
    }

    #[test]
    fn what_is_not_verified_here_is_refused_in_a_sentence_without_the_secret() {
        for (uri, why) in [
            ("https://totp/x?secret=S", "not an otpauth URI"),
            ("", "not an otpauth URI"),
            ("otpauth://totp", "names no account"),
            ("otpauth://hotp/x?secret=S&counter=1", "HOTP"),
            ("otpauth://yaotp/x?secret=S", "not known"),
            ("otpauth://totp/x", "no secret"),
            ("otpauth://totp/x?digits=6", "no secret"),
            ("otpauth://totp/x?secret=S&algorithm=SHA256", "only SHA1"),
            ("otpauth://totp/x?secret=S&algorithm=", "only SHA1"),
            ("otpauth://totp/x?secret=S&digits=8", "6 digits"),
            ("otpauth://totp/x?secret=S&period=60", "30 seconds"),
            ("otpauth://totp/x?secret=S&secret=S", "twice"),
            ("otpauth://totp/x?secret=%zz", "percent-encoded"),
            ("otpauth://totp/x?secret=S1", "not base 32"),
            ("otpauth://totp/x?secret=", "0 bits"),
            ("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ", "80 bits, and RFC 4226 asks for 128"),
            ("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBV", "120 bits"),
            (&format!("otpauth://totp/x?secret={}", "A".repeat(104)), "520 bits, and at most 512"),
        ] {
            // A secret that is worth looking for in what is said.
            let uri = uri.replace("=S", &format!("={SECRET}"));
            let said = read(&uri).err().unwrap_or_else(|| panic!("{uri} was accepted"));
            assert!(said.contains(why), "{uri}: {said}");
            assert!(!said.contains(SECRET), "{said}");
        }
    }
}
