//! Passwords that guessers try first: well-known ones, runs of neighbouring keys, and either of them with
//! digits behind or said twice (NIST SP 800-63B-4, 3.1.1.2, wants them refused).

/// Lower case, one a line, sorted.
static WELL_KNOWN: &str = include_str!("common.txt");

/// Rows of neighbours, each as long as a run of it may go on.
const RUNS: [&str; 6] = [
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "012345678901234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
];

/// Whether a password, in lower case, is one of these.
pub(crate) fn is_common(password: &str) -> bool {
    let (unit, stem) = (unit(password), stem(password));
    [password, unit, stem, self::stem(unit), self::unit(stem)].into_iter().any(is_tried_first)
}

fn is_tried_first(text: &str) -> bool {
    is_well_known(text) || is_run(text)
}

fn is_well_known(text: &str) -> bool {
    !text.is_empty() && WELL_KNOWN.lines().any(|known| known == text)
}

fn is_run(text: &str) -> bool {
    let backwards: String = text.chars().rev().collect();
    text.len() >= 4 && RUNS.iter().any(|run| run.contains(text) || run.contains(&backwards))
}

/// What a text says several times; the text itself when it does not repeat.
fn unit(text: &str) -> &str {
    let repeats = |end: &usize| {
        let (unit, rest) = text.split_at(*end);
        !rest.is_empty()
            && rest.len().is_multiple_of(unit.len())
            && unit.repeat(rest.len() / unit.len()) == rest
    };
    let ends = text.char_indices().map(|(at, _)| at).filter(|at| *at > 0 && *at <= text.len() / 2);
    ends.into_iter().find(repeats).map_or(text, |end| &text[..end])
}

/// A text without the digits and signs behind it, as far as these are the smaller half.
fn stem(text: &str) -> &str {
    let stem = text.trim_end_matches(|character: char| !character.is_alphabetic());
    if stem.len() * 2 >= text.len() { stem } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first() {
        for password in [
            "password",
            "password1234",
            "password2026!",
            "passwordpassword",
            "passwordpasswordpassword1",
            "qwertyuiop12",
            "123456789012",
            "987654321098",
            "1q2w3e4r5t6y",
            "1qaz2wsx3edc",
            "abcdefghijkl",
            "zyxwvutsrqpo",
            "qwertzuiopas",
            "test1234test1234",
            "administrator",
            "qwerqwerqwer",
            "abcd-abcd-abcd-",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn what_only_contains_such_a_thing_is_not() {
        for password in [
            "",
            "correct horse battery",
            "password of my own making",
            "my 1q2w3e4r5t6y",
            "admin8261940375",
            "tr0ub4dor&3 again",
            "ääääöööö",
            "abcabdabcabe",
        ] {
            assert!(!is_common(password), "{password}");
        }
    }

    #[test]
    fn the_list_is_in_the_form_that_is_looked_for() {
        let lines: Vec<&str> = WELL_KNOWN.lines().collect();
        assert!(lines.is_sorted());
        assert!(lines.iter().all(|line| !line.is_empty() && line.to_lowercase() == *line));
    }
}
