//! Looks for many texts at once.
use std::collections::{BTreeSet, HashMap};

/// By how much of its beginning a secret is found; none is shorter.
const HEAD: usize = 8;

/// What is never to be found, by name.
#[derive(Default)]
pub(super) struct Canaries {
    all: BTreeSet<(String, Vec<u8>)>,
    /// Codes that were mailed, each with whom to. They are too short to be looked for among any bytes.
    pub(super) codes: Vec<(String, String)>,
}

impl Canaries {
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= HEAD, "{name} is too short to be looked for");
        self.all.insert((name.to_owned(), bytes.to_vec()));
    }
    pub(super) fn len(&self) -> usize {
        self.all.len() + self.codes.len()
    }
}

/// The names of those that stand there, among those that are meant.
pub(super) fn hits<'c>(
    bytes: &[u8],
    canaries: &'c Canaries,
    is_meant: impl Fn(&str) -> bool,
) -> Vec<&'c str> {
    let mut by_head = HashMap::<&[u8], Vec<_>>::new();
    for (name, canary) in canaries.all.iter().filter(|(name, _)| is_meant(name)) {
        by_head.entry(&canary[..HEAD]).or_default().push((name, canary));
    }
    let mut found = BTreeSet::new();
    for (at, head) in bytes.windows(HEAD).enumerate() {
        for (name, canary) in by_head.get(head).into_iter().flatten() {
            if bytes[at..].starts_with(canary) {
                found.insert(name.as_str());
            }
        }
    }
    found.into_iter().collect()
}

/// Whether a code of six digits stands there: among the numbers of a text as a word, not as a part of a time.
pub(super) fn has_code(bytes: &[u8], code: &str, is_text: bool) -> bool {
    let begins = |at: usize| at == 0 || b"\" =/".contains(&bytes[at - 1]);
    let ends = |at: usize| !bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut all = bytes.windows(code.len()).enumerate();
    all.any(|(at, word)| word == code.as_bytes() && (!is_text || begins(at) && ends(at + code.len())))
}
