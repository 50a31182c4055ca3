//! Paths of routes: literal, or with one part `{id}` that stands for any one part.

/// The part of `path` that stands for `{id}`, empty for a pattern without one; `None` when the path is another.
pub(crate) fn matches<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((start, end)) = pattern.split_once('{') else { return (pattern == path).then_some("") };
    let id = path.strip_prefix(start)?.strip_suffix(end.strip_prefix("id}")?)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn id_stands_for_one_part_wherever_it_is() {
        for (pattern, path, id) in [
            ("/sessions", "/sessions", Some("")),
            ("/sessions/{id}", "/sessions/abc", Some("abc")),
            ("/users/{id}/unlock", "/users/abc/unlock", Some("abc")),
            ("/users/{id}/unlock", "/users/unlock/unlock", Some("unlock")),
            ("/sessions/{id}", "/sessions/", None),
            ("/sessions/{id}", "/sessions", None),
            ("/sessions/{id}", "/sessions/a/b", None),
            ("/users/{id}/unlock", "/users//unlock", None),
            ("/users/{id}/unlock", "/users/unlock", None),
            ("/users/{id}/unlock", "/users/abc/unlock/", None),
            ("/users/{id}/unlock", "/users/abc/def/unlock", None),
            ("/users/{id}/unlock", "/users/abc/lock", None),
            ("/me", "/me/", None),
        ] {
            assert_eq!(matches(pattern, path), id, "{pattern} {path}");
        }
    }
}
