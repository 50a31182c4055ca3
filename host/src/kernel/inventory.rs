//! What lies in a store, seen from outside: for commands that go through all of it.
use super::{
    HOST, Kernel, Role,
    audit::GROUP as AUDIT,
    keys::Ring,
    outbox::GROUP as OUTBOX,
    place::{Place, Places},
    seal::Seal,
};
use crate::config::Config;
use countersign_plugin_api::{Page, Refusal};
use std::{ops::Range, sync::Arc};
use zeroize::Zeroizing;

/// How the names of the host's own records begin, and what they are.
const KINDS: [(&[u8], &str); 10] = [
    (b"account", "account"),
    (b"session", "session"),
    (b"email", "directory"),
    (b"tries", "tries"),
    (b"links:", "links"),
    (b"notice:", "notice"),
    (b"decoy", "decoy"),
    (b"clock", "kernel"),
    (b"gated", "kernel"),
    (b"keys", "kernel"),
];

/// The keys of a host, for reading what is stored under them.
pub(crate) struct Inventory {
    seal: Seal,
    places: Places,
}

impl Inventory {
    pub(crate) fn of(config: &Config) -> Result<Self, String> {
        let ring = Arc::new(Ring::of(config).map_err(|error| error.to_string())?);
        // Nothing is sealed with it, so that its salt does not matter.
        Ok(Self { seal: Seal::new(ring.clone(), [0; 16])?, places: Places::new(&ring)? })
    }

    /// Whose record it is, and of which kind; `None` for what the host did not write.
    pub(crate) fn kind<'k>(&self, key: &'k [u8]) -> Option<(&'k str, &'k str)> {
        let (view, name) = parts(key)?;
        if view != HOST {
            let text =
                name.iter().all(u8::is_ascii_graphic).then(|| std::str::from_utf8(name).ok()).flatten();
            let kind = text.and_then(|text| text.split(':').next());
            return Some((view, kind.unwrap_or("other")));
        }
        if name.starts_with(b"row") {
            let is_of = |group: &str| key.starts_with(&self.places.of(group).0[..8]);
            return Some((
                view,
                if is_of(AUDIT) {
                    "audit"
                } else if is_of(OUTBOX) {
                    "outbox"
                } else {
                    "other"
                },
            ));
        }
        let known = KINDS.iter().find(|(start, _)| name.starts_with(start));
        Some((view, known.map_or("other", |(_, kind)| kind)))
    }

    /// The plain text of a record, if it opens under its key.
    pub(crate) fn open(&self, key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut value = Zeroizing::new(sealed.to_vec());
        let Range { start, end } = self.seal.open(key, &mut value)?;
        Some(Zeroizing::new(value[start..end].to_vec()))
    }

    /// The key of a record of the host's own.
    pub(crate) fn host_key(&self, subject: &str, name: &[u8]) -> Vec<u8> {
        self.places.of(subject).key(HOST, name)
    }
}

/// So many records are a sample. Keys begin with a keyed hash, so the first of them are those of anybody.
const SAMPLE: usize = 250;

impl Kernel {
    /// Reads some records; answers how many, and how many of these do not open.
    pub(crate) fn sample(&self) -> Result<(usize, usize), Refusal> {
        let mut page = Page::new();
        self.attend(|| self.store.scan(&[], None, SAMPLE, &mut page))??;
        let shut = page.iter().filter(|(key, record)| {
            let mut value = Zeroizing::new(record.value.to_vec());
            self.seal.open(key, &mut value).is_none()
        });
        Ok((page.len(), shut.count()))
    }
}

/// The id of the key that a record says it was sealed with.
pub(crate) fn sealed_with(sealed: &[u8]) -> Option<String> {
    Seal::kid_in(sealed).map(|kid| super::hex(&kid))
}

/// View and name of a key.
fn parts(key: &[u8]) -> Option<(&str, &[u8])> {
    let rest = key.get(8..)?;
    let view = std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == b'/')?]).ok()?;
    let is_name =
        !view.is_empty() && view.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let name = key.get(Place::prefix_len(view)..).filter(|_| is_name)?;
    Some((view, name))
}

/// Why what was sealed, and placed, with one ring cannot be read with another; `None` when it can.
pub(crate) fn unreadable_with(theirs: &Ring, ours: &Ring) -> Option<String> {
    let lacks = |key: &&super::Key| match key.role() {
        Role::Token => false,
        Role::Seal => !ours.keys().iter().any(|other| other.kid() == key.kid()),
        Role::Index | Role::Pepper => ours.active(key.role()).is_none_or(|other| other.kid() != key.kid()),
    };
    let key = theirs.keys().iter().find(lacks)?;
    Some(format!("it lacks the {} key {}", key.role().name(), key.kid_text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_as_they_are_made_and_others_are_nobodys() {
        let place = Place(*b"/12345678/abcdef");
        let key = place.key("mfa", b"state");
        assert_eq!(parts(&key), Some(("mfa", b"state".as_slice())));
        for wrong in
            [b"".as_slice(), b"12345678", b"12345678mfa", b"12345678mfa/short", b"12345678M/abcdefghstate"]
        {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
    }
}
