//! Recovery codes: 80 random bits each, for the day the phone is lost.
use crate::{
    base32::{self, CROCKFORD},
    records::Recovery,
};
use countersign_plugin_api::Secret;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Random bytes of a code.
const BYTES: usize = 10;
/// Characters of a code, without the dashes.
const LENGTH: usize = 16;
/// So few left and the user is told.
const LOW: usize = 2;

/// A set of codes that nobody has seen yet.
pub(crate) struct Codes {
    /// What the hashes of this set, and of no other, are made with.
    pub(crate) salt: [u8; 16],
    codes: Vec<Secret<String>>,
}

impl Codes {
    /// How many random bytes a set is made of.
    pub(crate) fn entropy(count: usize) -> usize {
        16 + count * BYTES
    }

    pub(crate) fn new(entropy: &[u8]) -> Self {
        let mut salt = [0; 16];
        let (head, rest) = entropy.split_at(16);
        salt.copy_from_slice(head);
        let code = |bytes: &[u8]| Secret::new(base32::encode(bytes, CROCKFORD));
        Self { salt, codes: rest.chunks_exact(BYTES).map(code).collect() }
    }

    /// What is hashed.
    pub(crate) fn plain(&self) -> Vec<&[u8]> {
        self.codes.iter().map(|code| code.expose().as_bytes()).collect()
    }

    /// What is shown, once: `XXXX-XXXX-XXXX-XXXX`.
    pub(crate) fn shown(&self) -> Vec<Secret<String>> {
        self.codes.iter().map(|code| Secret::new(grouped(code.expose()))).collect()
    }

    /// What is kept.
    pub(crate) fn kept(&self, hashes: Vec<[u8; 32]>) -> Recovery {
        Recovery { salt: self.salt, hashes }
    }
}

fn grouped(code: &str) -> String {
    let mut shown = String::with_capacity(LENGTH + 3);
    for (at, character) in code.char_indices() {
        if at > 0 && at % 4 == 0 {
            shown.push('-');
        }
        shown.push(character);
    }
    shown
}

/// A code as it was made, from what people make of it: case, spaces and dashes do not matter, and what looks
/// like 0 or 1 is one. `None` for what cannot be a code.
pub(crate) fn normalized(typed: &str) -> Option<Secret<[u8; LENGTH]>> {
    let mut characters = typed.chars().filter(|character| !character.is_whitespace() && *character != '-');
    let mut code = [0; LENGTH];
    for place in &mut code {
        let character = match characters.next()?.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        *place = u8::try_from(character).ok().filter(|byte| CROCKFORD.contains(byte))?;
    }
    characters.next().is_none().then(|| Secret::new(code))
}

/// The code (its index) that has this hash. All are compared, in constant time.
pub(crate) fn matching(hashes: &[[u8; 32]], hash: &[u8; 32]) -> Option<usize> {
    let (mut at, mut found) = (0u64, Choice::from(0));
    for (index, kept) in (0u64..).zip(hashes) {
        let fits = kept.ct_eq(hash);
        at.conditional_assign(&index, fits);
        found |= fits;
    }
    bool::from(found).then(|| usize::try_from(at).ok()).flatten()
}

/// Whether it is time for new ones.
pub(crate) fn is_low(left: usize) -> bool {
    left <= LOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_shown_in_groups_and_hashed_without() {
        let entropy: Vec<u8> = (0..u8::try_from(Codes::entropy(2)).unwrap()).collect();
        let codes = Codes::new(&entropy);
        assert_eq!(codes.salt, *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
        let shown: Vec<String> = codes.shown().iter().map(|code| code.expose().clone()).collect();
        // The bytes 16..26 and 26..36 in Crockford's spelling.
        assert_eq!(shown, ["208H-44RM-2MB1-E60S", "38DH-R78Y-3WG2-28H3"]);
        for (plain, shown) in codes.plain().iter().zip(&shown) {
            assert_eq!(normalized(shown).unwrap().expose(), *plain);
        }
    }

    #[test]
    fn what_people_make_of_a_code() {
        for typed in [
            "0011-ABCD-EFGH-JKMN",
            "0011abcdefghjkmn",
            " oOiL abcd efgh jkmn ",
            "O0LI-abcd-EFGH-jkmn",
            "0-0-1-1-a-b-c-d-e-f-g-h-j-k-m-n",
            "0011\tABCD\nEFGH JKMN",
        ] {
            assert_eq!(normalized(typed).unwrap().expose(), b"0011ABCDEFGHJKMN", "{typed:?}");
        }
        for typed in
            ["", "0011", "0011ABCDEFGHJKM", "0011ABCDEFGHJKMNP", "U011ABCDEFGHJKMN", "0011ABCDEFGHJKMÑ", "_"]
        {
            assert!(normalized(typed).is_none(), "{typed:?}");
        }
    }

    #[test]
    fn the_matching_hash_is_found_wherever_it_is() {
        let hashes: Vec<[u8; 32]> = (0..8).map(|n| [n; 32]).collect();
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(matching(&hashes, hash), Some(index));
        }
        let mut near = [3; 32];
        near[31] ^= 0x80;
        assert_eq!(matching(&hashes, &near), None);
        assert_eq!(matching(&[], &near), None);
    }
}
