//! The key file: TOML, mode 0600, written whole or not at all.
use super::{Key, KeyError, Ring, Role, State, refuse};
use crate::kernel::loader::hex;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Secret, Time};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};
use zeroize::Zeroize;

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
}

impl Entry {
    fn read(&self) -> Result<Key, KeyError> {
        let kid = u32::from_str_radix(&self.kid, 16).ok().filter(|_| self.kid.len() == 8);
        let Some(kid) = kid.map(u32::to_be_bytes).filter(|kid| hex(kid) == self.kid) else {
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
                signers: super::Signers::default(),
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
    use std::os::unix::fs::PermissionsExt;

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
            ("short", URL_SAFE_NO_PAD.encode((0..31).collect::<Vec<u8>>())),
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
}
