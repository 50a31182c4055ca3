//! What a target in `fuzz/` calls, and a test replays.
use crate::{base32, enrolment, form, import, totp};
use countersign_plugin_api::{Request, Secret};

/// A factor of another system, and all that is decoded of texts here.
pub fn otpauth(bytes: &[u8]) {
    let request = Request::new("POST", "/", bytes);
    let fields = form::fields(&request, ["token", "confirm"]);
    if let Err(refusal) = fields {
        assert!(refusal.detail().len() < 100, "a refusal repeats nothing");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(code) = totp::parse(text) {
        assert!(code < totp::CODES);
    }
    if let Some(bytes) = base32::decode(text) {
        let again = base32::encode(&bytes, base32::RFC_4648);
        assert_eq!(base32::decode(&again).as_ref(), Some(&bytes), "what is read can be written");
    }
    // As a line of a file has it, after an address.
    let uri = text.find("otpauth://").map_or(text, |at| &text[at..]);
    match import::read(uri) {
        Ok(imported) => {
            let key = imported.key.expose();
            assert!((16..=64).contains(&key.len()), "{} bytes", key.len());
            let label = enrolment::label(Some(&imported.label));
            assert_eq!(label.ok().as_ref(), Some(&imported.label), "a label reads as itself");
            let secret = base32::encode(key, base32::RFC_4648);
            let uri = enrolment::uri(&imported.label, "a@example.org", &Secret::new(secret));
            let again = import::read(uri.expose()).map(|again| again.key.expose().clone());
            assert_eq!(again.as_ref(), Ok(key), "our own URIs can be taken over, with the same key");
        }
        Err(why) => assert!(why.len() < 120 && why.is_ascii(), "{why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/otpauth");
        let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let read = files.map(|file| super::otpauth(&fs::read(file.unwrap().path()).unwrap())).count();
        assert!(read > 2, "{read} in {}", corpus.display());
    }
}
