//! Which known key a user may have meant.

/// The known key that is nearest to a written one, if any is near.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No key of ours is nearly as long, and the distance costs the product of the lengths.
    if written.len() > 64 {
        return None;
    }
    let folded = fold(written);
    let near = |key: &'a str| {
        let distance = distance(&folded, &fold(key));
        // One slip in a short word, two in a long one; more is another word.
        (distance <= 1 + usize::from(key.len() > 5) && distance < key.len()).then_some((distance, key))
    };
    known.into_iter().filter_map(near).min().map(|(_, key)| key)
}

fn fold(key: &str) -> Vec<char> {
    key.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["listen", "public_url", "allowed_hosts", "use", "keys", "plugin", "idle_ttl"];
        for (written, meant) in [
            ("lisen", Some("listen")),
            ("Public-URL", Some("public_url")),
            ("idel_ttl", Some("idle_ttl")),
            ("plugins", Some("plugin")),
            ("allowed_host", Some("allowed_hosts")),
            ("uses", Some("use")),
            ("key", Some("keys")),
            ("url", None),
            ("x", None),
            ("", None),
            ("metrics", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written:?}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
