//! The key ring: what signs tokens, seals values, hides addresses and peppers hashes.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Secret, Time};
use hkdf::Hkdf;
use rand::{TryRng, rngs::SysRng};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::{
    collections::HashSet,
    fmt,
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};
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
}

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
        }
    }
    /// Its id.
    pub fn kid(&self) -> Kid {
        self.kid
    }
    /// Its id as text.
    pub fn kid_text(&self) -> String {
        super::loader::hex(&self.kid)
    }
    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }
    /// Whether it makes new things.
    pub fn state(&self) -> State {
        self.state
    }
    /// When it was made.
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kid: String,
    role: Role,
    state: State,
    /// Seconds since the Unix epoch.
    created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    superseded_at: Option<u64>,
    secret: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Ring {
    /// New keys, one of each role.
    pub fn generate(now: Time) -> Self {
        Self { keys: Role::ALL.map(|role| Key::generate(role, now)).into() }
    }

    /// Reads a key file: a regular file of ours that nobody else can read, with sound keys in it.
    pub fn load(file: &Path) -> Result<Self, KeyError> {
        let shown = file.display();
        let mut open = match OpenOptions::new().read(true).custom_flags(libc_nofollow()).open(file) {
            Ok(open) => open,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return refuse(format!(
                    "{shown}: there is no key file; make one with `countersign keys init`"
                ));
            }
            Err(error) => return refuse(format!("{shown}: {error}")),
        };
        let meta = open.metadata().map_err(|error| KeyError(format!("{shown}: {error}")))?;
        if !meta.is_file() {
            return refuse(format!("{shown}: it is not a regular file"));
        }
        if meta.mode() & 0o177 != 0 {
            let mode = meta.mode() & 0o7777;
            return refuse(format!("{shown}: others may read it (mode {mode:o}); run chmod 600 {shown}"));
        }
        if meta.uid() != geteuid().as_raw() && meta.uid() != 0 {
            return refuse(format!(
                "{shown}: it belongs to user {}, not to the user that runs the host",
                meta.uid()
            ));
        }
        let mut text = String::new();
        open.read_to_string(&mut text).map_err(|error| KeyError(format!("{shown}: {error}")))?;
        let ring = Self::parse(&text);
        text.zeroize();
        ring.map_err(|why| KeyError(format!("{shown}: {why}")))
    }

    fn parse(text: &str) -> Result<Self, KeyError> {
        // toml's message quotes the line, and the line may be the secret: only the place is told.
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            KeyError(format!("line {line} does not read as part of a key file"))
        })?;
        let keys = file.key.iter().map(Entry::read).collect::<Result<Vec<Key>, _>>()?;
        let mut kids = HashSet::new();
        let mut secrets = HashSet::new();
        for key in &keys {
            if !kids.insert(key.kid) {
                return refuse(format!("the kid {} stands there twice", key.kid_text()));
            }
            if !secrets.insert(key.expose()) {
                return refuse(format!("the key {} is the same as another", key.kid_text()));
            }
        }
        drop(secrets);
        for role in Role::ALL {
            let active = keys.iter().filter(|k| k.role == role && k.state == State::Active).count();
            if active != 1 {
                let name = role.name();
                return refuse(format!(
                    "there must be exactly one active key with role `{name}`, and there are {active}"
                ));
            }
        }
        Ok(Self { keys })
    }

    /// Writes the key file: whole or not at all, mode 0600. Refuses to replace one unless `replace`.
    pub fn save(&self, file: &Path, replace: bool) -> Result<(), KeyError> {
        let shown = file.display();
        let failed = |error: std::io::Error| KeyError(format!("{shown}: {error}"));
        if !replace && file.exists() {
            return refuse(format!(
                "{shown}: it exists; keys are added to it with `countersign keys rotate`"
            ));
        }
        let entries = File { key: self.keys.iter().map(Entry::write).collect() };
        let mut text =
            toml::to_string(&entries).map_err(|_| KeyError(format!("{shown}: it cannot be written")))?;
        let name = file.file_name().ok_or_else(|| KeyError(format!("{shown}: it names no file")))?;
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()))
            .and_then(|()| std::fs::rename(&draft, file))
            .and_then(|()| std::fs::File::open(folder)?.sync_all());
        text.zeroize();
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        written.map_err(failed)
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
        for key in self.keys.iter_mut().filter(|k| k.role == Role::Token && k.state == State::Active) {
            key.state = State::VerifyOnly;
            key.superseded_at = Some(now);
        }
        self.keys.push(Key::generate(Role::Token, now));
        self.keys.last().map(Key::kid_text).unwrap_or_default()
    }

    /// Removes a key that nothing needs any more: one that signs no tokens, and whose last token has expired
    /// `longest` after it signed none.
    pub fn retire(&mut self, kid: &str, now: Time, longest: std::time::Duration) -> Result<(), KeyError> {
        let Some(at) = self.keys.iter().position(|key| key.kid_text() == kid) else {
            return refuse(format!("there is no key `{kid}`; `countersign keys list` shows them"));
        };
        let key = &self.keys[at];
        if key.role != Role::Token {
            let (kid, role) = (key.kid_text(), key.role.name());
            return refuse(format!(
                "the store needs the {role} key {kid}: what it protects could not be read without it"
            ));
        }
        if key.state == State::Active {
            return refuse(format!("the key {kid} signs new tokens; run `countersign keys rotate` first"));
        }
        let free_at = key.superseded_at.unwrap_or(now) + longest;
        if now < free_at {
            return refuse(format!(
                "tokens that the key {kid} has signed are good until {free_at}; retire it then"
            ));
        }
        self.keys.remove(at);
        Ok(())
    }
}

impl Entry {
    fn read(&self) -> Result<Key, KeyError> {
        let kid = u32::from_str_radix(&self.kid, 16).ok().filter(|_| self.kid.len() == 8);
        let Some(kid) = kid.map(u32::to_be_bytes).filter(|kid| super::loader::hex(kid) == self.kid) else {
            return refuse("a kid is not eight lower-case hexadecimal digits");
        };
        let mut bytes = URL_SAFE_NO_PAD.decode(&self.secret).unwrap_or_default();
        let secret: Result<[u8; 32], _> = bytes.as_slice().try_into();
        let weak = bytes.iter().collect::<HashSet<_>>().len() < 8;
        bytes.zeroize();
        match secret {
            Err(_) => refuse(format!("the key {} is not 32 bytes in base64url", self.kid)),
            // A key that somebody made up: 32 random bytes have fewer than 8 different ones never.
            Ok(_) if weak => {
                refuse(format!("the key {} is not random; make keys with `countersign keys init`", self.kid))
            }
            Ok(secret) => Ok(Key {
                kid,
                role: self.role,
                state: self.state,
                created_at: Time::from_secs(self.created_at),
                superseded_at: self.superseded_at.map(Time::from_secs),
                secret: Secret::new(secret),
            }),
        }
    }
    fn write(key: &Key) -> Self {
        Self {
            kid: key.kid_text(),
            role: key.role,
            state: key.state,
            created_at: key.created_at.secs(),
            superseded_at: key.superseded_at.map(Time::secs),
            secret: URL_SAFE_NO_PAD.encode(key.expose()),
        }
    }
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    fn text(ring: &Ring) -> String {
        toml::to_string(&File { key: ring.keys.iter().map(Entry::write).collect() }).unwrap()
    }

    #[test]
    fn a_file_reads_back_and_is_refused_when_others_may_read_it() {
        let file = std::env::temp_dir().join(format!("countersign-keys-{}", std::process::id()));
        let ring = Ring::generate(at(5));
        ring.save(&file, false).unwrap();
        assert!(ring.save(&file, false).is_err(), "nothing is overwritten");
        let kids = |ring: &Ring| ring.keys.iter().map(Key::kid_text).collect::<Vec<_>>();
        assert_eq!(kids(&Ring::load(&file).unwrap()), kids(&ring));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Ring::load(&file).err().unwrap().to_string().contains("chmod 600"));
        std::fs::remove_file(&file).unwrap();
        assert!(Ring::load(&file).err().unwrap().to_string().contains("keys init"));
    }

    #[test]
    fn weak_short_and_doubled_keys_are_refused_without_showing_them() {
        let good = text(&Ring::generate(at(5)));
        let secret =
            good.lines().find_map(|l| l.strip_prefix("secret = ")).unwrap().trim_matches('"').to_owned();
        for (what, bad) in [
            ("all equal", URL_SAFE_NO_PAD.encode([7; 32])),
            ("short", URL_SAFE_NO_PAD.encode(&(0..31).collect::<Vec<u8>>())),
            ("a word", "dev-secret".into()),
            ("empty", String::new()),
        ] {
            let error =
                Ring::parse(&good.replacen(&secret, &bad, 1)).err().unwrap_or_else(|| panic!("{what}"));
            assert!(bad.is_empty() || !error.to_string().contains(&bad), "{error}");
        }
        let other =
            good.lines().filter_map(|l| l.strip_prefix("secret = ")).nth(1).unwrap().trim_matches('"');
        assert!(Ring::parse(&good.replace(other, &secret)).is_err(), "the same secret twice");
        let cut = good.replace("role = \"seal\"", "role = \"index\"");
        assert!(Ring::parse(&cut).is_err(), "no sealing key");
    }

    #[test]
    fn a_key_is_retired_only_when_nothing_needs_it() {
        let mut ring = Ring::generate(at(0));
        let first = ring.active(Role::Token).unwrap().kid_text();
        let seal = ring.active(Role::Seal).unwrap().kid_text();
        let longest = Duration::from_secs(300);
        assert!(ring.retire(&first, at(0), longest).is_err(), "it signs");
        assert!(ring.retire(&seal, at(0), longest).is_err(), "the store needs it");
        assert!(ring.retire("../../x", at(0), longest).is_err());
        let second = ring.rotate(at(100));
        assert_ne!(first, second);
        assert!(ring.retire(&first, at(399), longest).is_err(), "a token may live");
        ring.retire(&first, at(400), longest).unwrap();
        assert!(ring.by_kid(ring.active(Role::Token).unwrap().kid()).is_some());
        assert_eq!(ring.keys.len(), 4);
    }
}
