//! Signatures of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`.
use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_plugin_api::{Secret, Wipe};
use ring::hmac;
use serde::{Deserialize, Deserializer, de};

/// A secret as it is configured: `whsec_` and the bytes in base64.
pub(crate) struct Key(Secret<Vec<u8>>);

impl Key {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        // The value itself is never repeated.
        let Some(encoded) = text.strip_prefix("whsec_") else { return Err("must start with `whsec_`") };
        let bytes = STANDARD.decode(encoded).map_err(|_| "must be `whsec_` and base64")?;
        let key = Self(Secret::new(bytes));
        if (24..=64).contains(&key.0.expose().len()) { Ok(key) } else { Err("must hold 24 to 64 bytes") }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let key = Self::parse(&text).map_err(de::Error::custom);
        text.wipe();
        key
    }
}

/// Signs with the secret, and with the one before it while the receiver may still know no other.
pub(crate) struct Signer(Vec<hmac::Key>);

impl Signer {
    pub(crate) fn new(secret: Key, former: Option<Key>) -> Self {
        let keys = [Some(secret), former].into_iter().flatten();
        Self(keys.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.0.expose())).collect())
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let one = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}
