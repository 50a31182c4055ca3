//! The key ring: what signs tokens, seals values, hides addresses and peppers hashes.
mod file;

use crate::config::Config;
use countersign_plugin_api::{Secret, Time};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use parking_lot::RwLock;
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::{fmt, time::Duration};
use zeroize::Zeroize;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs tokens.
    Token,
    /// Seals values in the store.
    Seal,
    /// Hides what would be personal data in keys.
    Index,
    /// Goes into hashes of what people type.
    Pepper,
}

impl Role {
    /// All of them; a ring has exactly one active key of each.
    pub const ALL: [Self; 4] = [Self::Token, Self::Seal, Self::Index, Self::Pepper];
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Seal => "seal",
            Self::Index => "index",
            Self::Pepper => "pepper",
        }
    }
}

/// Whether a key still makes new things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does.
    Active,
    /// It only checks or opens what it has made.
    VerifyOnly,
}

/// So long a write that was sealed may take to arrive in the store: far longer than anybody waits for it.
const UNDER_WAY: Duration = Duration::from_mins(1);

/// The id of a key: four bytes, shown as eight hexadecimal digits.
pub(super) type Kid = [u8; 4];

/// One key.
pub struct Key {
    kid: Kid,
    role: Role,
    state: State,
    created_at: Time,
    superseded_at: Option<Time>,
    secret: Secret<[u8; 32]>,
    signers: Signers,
}

/// What a key signs tokens with, by their purpose. To derive one costs ten signatures.
#[derive(Default)]
struct Signers(RwLock<Vec<(Box<str>, Hmac<Sha256>)>>);

/// So many are kept of a key. There are fewer purposes than that, unless a plugin makes them up.
const SIGNERS: usize = 32;

impl Key {
    fn generate(role: Role, now: Time) -> Self {
        let (mut kid, mut secret) = ([0; 4], [0; 32]);
        fill(&mut kid);
        fill(&mut secret);
        Self {
            kid,
            role,
            state: State::Active,
            created_at: now,
            superseded_at: None,
            secret: Secret::new(secret),
            signers: Signers::default(),
        }
    }
    /// The key that a text of the environment stands for: the same in every process that has it.
    fn of_text(role: Role, text: &Secret<String>) -> Self {
        let (mut kid, mut secret) = ([0; 4], [0; 32]);
        let extracted = Hkdf::<Sha256>::new(Some(b"countersign environment"), text.expose().as_bytes());
        extracted.expand(b"kid", &mut kid).expect("HKDF gives 4 bytes");
        extracted.expand(b"key", &mut secret).expect("HKDF gives 32 bytes");
        let key = Self {
            kid,
            role,
            state: State::Active,
            created_at: Time::EPOCH,
            superseded_at: None,
            secret: Secret::new(secret),
            signers: Signers::default(),
        };
        secret.zeroize();
        key
    }
    /// Its id.
    pub fn kid(&self) -> Kid {
        self.kid
    }
    /// Its id as text.
    pub fn kid_text(&self) -> String {
        super::loader::hex(&self.kid)
    }
    pub(super) fn is_called(&self, kid: &str) -> bool {
        super::loader::hex_digits(&self.kid).eq(kid.chars())
    }
    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }
    /// Whether it makes new things.
    pub fn state(&self) -> State {
        self.state
    }
    /// Whether it comes from the environment, so that the key file does not have it.
    pub fn is_of_environment(&self) -> bool {
        self.created_at == Time::EPOCH
    }
    /// When it was made; one of the environment does not say.
    pub fn created_at(&self) -> Time {
        self.created_at
    }
    pub(super) fn expose(&self) -> &[u8] {
        self.secret.expose()
    }
    /// A key for one purpose.
    pub(super) fn derive(&self, purpose: &str) -> Secret<[u8; 32]> {
        let mut out = [0; 32];
        Hkdf::<Sha256>::new(None, self.secret.expose())
            .expand_multi_info(
                &[b"countersign ", self.role.name().as_bytes(), b" ", purpose.as_bytes()],
                &mut out,
            )
            .expect("HKDF gives 32 bytes");
        let key = Secret::new(out);
        out.zeroize();
        key
    }
    /// What signs tokens of one purpose.
    pub(super) fn signer(&self, purpose: &str) -> Hmac<Sha256> {
        let kept = self.signers.0.read().iter().find(|(of, _)| **of == *purpose).map(|(_, mac)| mac.clone());
        kept.unwrap_or_else(|| {
            let derived = self.derive(&format!("token {purpose}"));
            let mac =
                Hmac::<Sha256>::new_from_slice(derived.expose()).expect("HMAC takes a key of any length");
            let mut signers = self.signers.0.write();
            if signers.len() < SIGNERS {
                signers.push((purpose.into(), mac.clone()));
            }
            mac
        })
    }
}

/// Bytes from the operating system. There is nothing safe to do without them.
pub(crate) fn fill(out: &mut [u8]) {
    SysRng.try_fill_bytes(out).expect("the operating system gives random bytes");
}

/// Why a key file cannot be used or changed: a sentence that never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for KeyError {}

impl KeyError {
    pub(super) fn changed() -> Self {
        Self("the keys that the store needs (seal, index, pepper) are others than before; the old ones stay in use".into())
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError(why.into()))
}

/// All keys of a host.
pub struct Ring {
    keys: Vec<Key>,
}

impl Ring {
    /// The ring of a host: the keys of its file, and the one that its environment adds. That one signs tokens, and
    /// the file's active token key checks what it has signed; the other roles are the file's alone.
    pub fn of(config: &Config) -> Result<Self, KeyError> {
        let mut ring = Self::load(&config.keys_file)?;
        if let Some(secret) = &config.token_secret {
            let key = Key::of_text(Role::Token, secret);
            if ring.by_kid(key.kid).is_some() {
                return refuse(
                    "MFA_CHALLENGE_SECRET has the kid of a key in the key file: take another secret",
                );
            }
            ring.superseded(Role::Token, None);
            ring.keys.push(key);
        }
        Ok(ring)
    }

    /// New keys, one of each role.
    pub fn generate(now: Time) -> Self {
        Self { keys: Role::ALL.map(|role| Key::generate(role, now)).into() }
    }

    /// All keys, in the order of the file.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
    pub(super) fn active(&self, role: Role) -> Option<&Key> {
        self.keys.iter().find(|key| key.role == role && key.state == State::Active)
    }
    pub(super) fn by_kid(&self, kid: Kid) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// A new key signs tokens from now on; the old one still checks those it has signed. Answers its id.
    pub fn rotate(&mut self, now: Time) -> String {
        self.renew(Role::Token, now)
    }
    /// A new key seals from now on; the old one still opens what it has sealed. Answers its id.
    pub fn reseal(&mut self, now: Time) -> String {
        self.renew(Role::Seal, now)
    }

    fn renew(&mut self, role: Role, now: Time) -> String {
        self.superseded(role, Some(now));
        self.keys.push(Key::generate(role, now));
        self.keys.last().map(Key::kid_text).unwrap_or_default()
    }

    fn superseded(&mut self, role: Role, at: Option<Time>) {
        for key in self.keys.iter_mut().filter(|key| key.role == role && key.state == State::Active) {
            key.state = State::VerifyOnly;
            key.superseded_at = at;
        }
    }

    /// Removes a key that nothing needs any more: one that signs no tokens, and whose last token has expired
    /// `longest` after it signed none; or one that has sealed none of the `records` in the store.
    pub fn retire(&mut self, kid: &str, now: Time, longest: Duration, records: u64) -> Result<(), KeyError> {
        let Some(at) = self.keys.iter().position(|key| key.kid_text() == kid) else {
            return refuse(format!("there is no key `{kid}`; `countersign keys list` shows them"));
        };
        let key = &self.keys[at];
        let is_active = key.state == State::Active;
        let free_after = |time| key.superseded_at.unwrap_or(now) + time;
        match key.role {
            Role::Token if is_active => {
                return refuse(format!(
                    "the key {kid} signs new tokens; run `countersign keys rotate` first"
                ));
            }
            Role::Token if now < free_after(longest) => {
                return refuse(format!(
                    "tokens that the key {kid} has signed are good until {}; retire it then",
                    free_after(longest)
                ));
            }
            Role::Seal if is_active => {
                return refuse(format!(
                    "the key {kid} seals what is stored; run `countersign store reseal` first"
                ));
            }
            Role::Seal if records > 0 => {
                return refuse(format!(
                    "the key {kid} has sealed {records} of the records in the store, which could not be read without it; run `countersign store reseal` first"
                ));
            }
            Role::Seal if now < free_after(UNDER_WAY) => {
                return refuse(format!(
                    "what was being written when the key {kid} was superseded may still arrive; retire it from {} on",
                    free_after(UNDER_WAY)
                ));
            }
            Role::Index | Role::Pepper => {
                let role = key.role.name();
                return refuse(format!(
                    "the store needs the {role} key {kid}: what it protects could not be read without it"
                ));
            }
            Role::Token | Role::Seal => {}
        }
        self.keys.remove(at);
        Ok(())
    }
}

#[cfg(test)]
impl Ring {
    /// The same keys once more.
    pub(super) fn copy(&self) -> Self {
        let copy = |key: &Key| Key {
            secret: Secret::new(*key.secret.expose()),
            signers: Signers::default(),
            ..*key
        };
        Self { keys: self.keys.iter().map(copy).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    #[test]
    fn a_key_is_retired_only_when_nothing_needs_it() {
        let mut ring = Ring::generate(at(0));
        let first = ring.active(Role::Token).unwrap().kid_text();
        let seal = ring.active(Role::Seal).unwrap().kid_text();
        let longest = Duration::from_mins(5);
        assert!(ring.retire(&first, at(0), longest, 0).is_err(), "it signs");
        assert!(ring.retire(&seal, at(9999), longest, 0).is_err(), "it seals");
        for role in [Role::Index, Role::Pepper] {
            let kid = ring.active(role).unwrap().kid_text();
            assert!(ring.retire(&kid, at(9999), longest, 0).is_err(), "the store needs it");
        }
        assert!(ring.retire("../../x", at(0), longest, 0).is_err());
        let second = ring.rotate(at(100));
        assert_ne!(first, second);
        assert!(ring.retire(&first, at(399), longest, 0).is_err(), "a token may live");
        ring.retire(&first, at(400), longest, 0).unwrap();
        assert!(ring.by_kid(ring.active(Role::Token).unwrap().kid()).is_some());
        assert_eq!(ring.keys.len(), 4);

        let next = ring.reseal(at(500));
        let why = ring.retire(&seal, at(9999), longest, 7).unwrap_err().to_string();
        assert!(why.contains("sealed 7 of"), "{why}");
        assert!(ring.retire(&seal, at(559), longest, 0).is_err(), "a write may be under way");
        ring.retire(&seal, at(560), longest, 0).unwrap();
        assert_eq!(ring.active(Role::Seal).map(Key::kid_text), Some(next));
    }

    #[test]
    fn each_purpose_has_a_signer_of_its_own_whether_it_is_kept_or_not() {
        use hmac::Mac;
        let ring = Ring::generate(at(0));
        let key = ring.active(Role::Token).unwrap();
        let signs = |purpose: &str| key.signer(purpose).chain_update(b"text").finalize().into_bytes();
        let purposes: Vec<String> = (0..SIGNERS + 8).map(|n| format!("p{n}")).collect();
        let first: Vec<_> = purposes.iter().map(|purpose| signs(purpose)).collect();
        let again: Vec<_> = purposes.iter().map(|purpose| signs(purpose)).collect();
        assert_eq!(first, again);
        assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), purposes.len());
        assert_eq!(key.signers.0.read().len(), SIGNERS, "no more are kept, whatever a plugin makes up");
    }

    #[test]
    fn the_environments_key_signs_and_is_never_in_the_file() {
        let secret = Secret::new("kVY2hT9wq0ZsX4nB7mLr1pJcE6uGdAo3".to_owned());
        let (key, again) = (Key::of_text(Role::Token, &secret), Key::of_text(Role::Token, &secret));
        assert_eq!((key.kid, key.expose()), (again.kid, again.expose()), "every process has the same");
        assert_ne!(key.expose(), Key::of_text(Role::Token, &Secret::new("x".repeat(40))).expose());
        assert!(key.is_of_environment() && key.state() == State::Active);
        assert!(!Ring::generate(at(1)).keys().iter().any(Key::is_of_environment));
    }
}
