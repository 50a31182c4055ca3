use super::{URL_SAFE_NO_PAD, parse};
use base64::Engine;

/// What a browser calls itself by has one spelling.
pub(crate) fn cookie(text: &str) {
    if let Some(shown) = parse(text) {
        let bytes = [&shown.device.0[..], &shown.expires_at.secs().to_be_bytes(), &shown.mac].concat();
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), text, "a device has one spelling");
    }
}
