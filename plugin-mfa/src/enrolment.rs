//! A new factor on its way into an app: the key, the `otpauth` URI and the QR code of it.
use crate::{
    base32::{self, RFC_4648},
    records::Key,
    totp::PERIOD,
};
use countersign_plugin_api::{Problem, Refusal, Secret};
use qrcode::{EcLevel, QrCode, render::svg};
use std::{fmt::Write, time::Duration};

/// How long an enrolment waits for its first code.
pub(crate) const TTL: Duration = Duration::from_mins(10);
/// So many TOTP factors an account has at most.
pub(crate) const MAX_FACTORS: usize = 10;
/// The label of a factor that was given none.
pub(crate) const LABEL: &str = "Authenticator app";

/// A label that can be shown in a list: 1 to 64 characters on one line.
pub(crate) fn label(given: Option<&str>) -> Result<String, Refusal> {
    let label = given.map_or(LABEL, str::trim);
    if label.is_empty() || label.chars().count() > 64 || label.contains(char::is_control) {
        return Err(Refusal::malformed(
            "`label` must have 1 to 64 characters, none of them a control character",
        ));
    }
    Ok(label.into())
}

/// The key as people type it.
pub(crate) fn secret(key: &Key) -> Secret<String> {
    Secret::new(base32::encode(key.expose(), RFC_4648))
}

/// What an app scans.
///
/// A colon divides issuer and account in the label and belongs in neither, so it is dropped; everything but
/// RFC 3986's unreserved characters is percent-encoded, because apps read a `+` as a plus. The algorithm is
/// SHA-1, which is what is meant without saying so: some apps refuse or ignore the parameter.
pub(crate) fn uri(issuer: &str, account: &str, secret: &Secret<String>) -> Secret<String> {
    let mut name = String::new();
    encode(&mut name, issuer, MAX_ENCODED);
    let mut uri = String::with_capacity(1024 + 3 * account.len());
    uri.push_str("otpauth://totp/");
    uri.push_str(&name);
    uri.push(':');
    encode(&mut uri, account, MAX_ENCODED);
    for (key, value) in [("?secret=", secret.expose().as_str()), ("&issuer=", &name), ("&digits=", "6")] {
        uri.push_str(key);
        uri.push_str(value);
    }
    uri.push_str("&period=");
    // Writing to a String cannot fail.
    let _ = write!(uri, "{PERIOD}");
    Secret::new(uri)
}

/// A QR code holds 2,953 bytes; what stands beside the account takes up to 500 of them. A longer account
/// name, 200 characters outside of ASCII, is cut.
const MAX_ENCODED: usize = 2_400;

fn encode(uri: &mut String, text: &str, limit: usize) {
    let end = uri.len() + limit;
    for character in text.chars().filter(|character| *character != ':') {
        let start = uri.len();
        let mut bytes = [0; 4];
        for byte in character.encode_utf8(&mut bytes).bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
        if uri.len() > end {
            uri.truncate(start);
            return;
        }
    }
}

/// The URI as a QR code, with the quiet zone that scanners want, in a drawing that scales.
pub(crate) fn qr_svg(uri: &Secret<String>) -> Result<Secret<String>, Refusal> {
    let bytes = uri.expose().as_bytes();
    let code = QrCode::with_error_correction_level(bytes, EcLevel::M)
        .or_else(|_| QrCode::with_error_correction_level(bytes, EcLevel::L))
        .map_err(|error| Refusal::new(Problem::PluginFault).because(format_args!("QR code: {error}")))?;
    let drawing = Secret::new(code.render::<svg::Color<'_>>().min_dimensions(256, 256).build());
    // Without the XML declaration it can stand inside a page as well as alone.
    let start = drawing.expose().find("<svg").unwrap_or_default();
    Ok(Secret::new(drawing.expose()[start..].to_owned()))
}
