//! What a new password must not be. Length is what counts; rules about kinds of characters make passwords
//! worse (NIST SP 800-63B-4, 3.1.1.2), so there are none.
use crate::common;
use countersign_plugin_api::Secret;

/// Beyond this a password is a way to keep the hash busy.
const MAX_BYTES: usize = 1_024;
/// A shorter text of the account stands in too many good passwords by chance.
const MIN_WORD: usize = 4;

/// The rules that a password breaks, as slugs; none means that it may be used. `words` are texts of the
/// account, such as its address, and of the site.
pub(crate) fn violations<'a>(
    password: &Secret<&str>,
    min_length: usize,
    words: impl IntoIterator<Item = &'a str>,
) -> Vec<&'static str> {
    let text = *password.expose();
    // Nothing that follows sees more than this.
    if text.len() > MAX_BYTES {
        return vec!["too-long"];
    }
    let mut broken = Vec::new();
    if text.chars().count() < min_length {
        broken.push("too-short");
    }
    if is_one_character(text) {
        broken.push("repeated-character");
    }
    let folded = Secret::new(text.to_lowercase());
    if common::is_common(folded.expose()) {
        broken.push("common");
    }
    if words.into_iter().flat_map(parts).any(|word| folded.expose().contains(&word)) {
        broken.push("context-word");
    }
    broken
}

fn is_one_character(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| characters.all(|character| character == first))
}

/// A text and, of an address, what stands before the `@`, as far as they are long enough to matter.
fn parts(word: &str) -> impl Iterator<Item = String> {
    let local = word.rsplit_once('@').map(|(local, _)| local);
    [Some(word), local]
        .into_iter()
        .flatten()
        .map(|part| part.trim().to_lowercase())
        .filter(|part| part.chars().count() >= MIN_WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_account_and_nothing_else() {
        let words = ["Annabel.Lee@Example.org", "Countersign"];
        for (password, broken) in [
            ("correct horse battery", &[][..]),
            ("aaaaaaaaaaab", &[]),
            ("only lower case", &[]),
            ("ÄÖÜäöüÄÖÜäöü", &[]),
            ("🔑🗝🔒🔓🔐🚪🧱🧲🪝🪛🪚🔧", &[]),
            ("🔑🗝🔒🔓🔐🚪", &["too-short"]),
            ("", &["too-short"]),
            ("short", &["too-short"]),
            ("elevenchars", &["too-short"]),
            ("aaaaaaaaaaaa", &["repeated-character"]),
            ("a", &["too-short", "repeated-character"]),
            ("my ANNABEL.lee password", &["context-word"]),
            ("annabel.lee@example.org", &["context-word"]),
            ("countersign rules", &["context-word"]),
            ("lee is here and there", &[]),
            ("Password1234", &["common"]),
            ("qwertz", &["too-short", "common"]),
        ] {
            assert_eq!(violations(&Secret::new(password), 12, words), broken, "{password:?}");
        }
    }

    #[test]
    fn a_short_word_does_not_count() {
        assert!(violations(&Secret::new("bob is not a password"), 12, ["bob@x.org"]).is_empty());
        assert!(!violations(&Secret::new("bob@x.org is not one"), 12, ["bob@x.org"]).is_empty());
    }

    #[test]
    fn at_most_1024_bytes() {
        let longest = "ab".repeat(512);
        assert!(violations(&Secret::new(&longest), 12, []).is_empty());
        let longer = format!("{longest}c");
        assert_eq!(violations(&Secret::new(&longer), 12, []), ["too-long"]);
    }
}
