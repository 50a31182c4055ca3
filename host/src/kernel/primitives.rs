//! What `bench/primitives` measures here: tokens, and what is sealed.
use super::{keys::Ring, seal::Seal, token};
use countersign_plugin_api::{Claims, Time, Token};
use std::sync::Arc;

const AUDIENCE: &str = "https://auth.example.org";
const NOW: Time = Time::from_secs(1_800_000_000);

/// A ring of keys, and the claims of a challenge.
pub struct Tokens {
    ring: Ring,
    claims: Claims,
}

impl Default for Tokens {
    fn default() -> Self {
        let text = |of: &str| of.repeat(32);
        let claims = Claims {
            purpose: "mfa/challenge".into(),
            subject: text("u"),
            session: text("s"),
            id: text("c"),
            expires_at: Time::NEVER,
        };
        Self { ring: Ring::generate(NOW), claims }
    }
}

impl Tokens {
    /// Signs the claims.
    pub fn sign(&self) -> String {
        token::sign(&self.ring, AUDIENCE, &self.claims, NOW).unwrap_or_default()
    }
    /// Whether a token is what was signed.
    pub fn opens(&self, token: &str) -> bool {
        matches!(token::open(&self.ring, AUDIENCE, &self.claims.purpose, token, NOW), Some(Token::Live(_)))
    }
}

/// A key of the store, and what seals values under it.
pub struct Sealer {
    seal: Seal,
    key: [u8; 48],
}

impl Default for Sealer {
    fn default() -> Self {
        let seal = Seal::new(Arc::new(Ring::generate(NOW)), [7; 16]).expect("a generated ring has a key");
        Self { seal, key: [7; 48] }
    }
}

impl Sealer {
    /// A sealed value.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; Seal::len(plain.len())];
        self.seal.seal(&self.key, plain, &mut out);
        out
    }
    /// Opens one in its place, and answers how long it is; nothing when it does not open.
    pub fn open(&self, sealed: &mut [u8]) -> Option<usize> {
        self.seal.open(&self.key, sealed).map(|plain| plain.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_right() {
        let (tokens, sealer) = (Tokens::default(), Sealer::default());
        let token = tokens.sign();
        assert!(tokens.opens(&token) && !tokens.opens(&token[1..]));
        let mut sealed = sealer.seal(b"secret");
        assert_eq!(sealer.open(&mut sealed.clone()), Some(6));
        sealed[30] ^= 1;
        assert_eq!(sealer.open(&mut sealed), None);
    }
}
