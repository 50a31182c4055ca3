//! What pages say: one catalogue a locale, over the English one that is built in.
//!
//! A catalogue is TOML; `[login] title = "Sign in"` is the text `login.title`. A word in braces is a place that
//! the page fills. A text that a locale does not have is said in English.
use super::Fault;
use crate::{config::nearest, language};
use std::collections::{BTreeMap, BTreeSet};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The locale that everything falls back to.
pub(super) const ENGLISH: &str = "en";

/// Which keys a catalogue may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys<'a> {
    /// New ones that start so, beside those that are known.
    New(&'a str),
    /// Known ones.
    Known,
    /// Known ones, and those of plugins, which are not known yet.
    KnownOrPlugins,
}

/// All catalogues.
#[derive(Default)]
pub(super) struct Texts {
    locales: BTreeMap<String, BTreeMap<String, String>>,
}

impl Texts {
    /// Takes a catalogue over. English may bring new keys, below `prefix` if there is one; what comes later and
    /// all other locales say anew what English says, with no place that English does not have.
    pub(super) fn add(
        &mut self,
        file: &str,
        locale: &str,
        source: &str,
        keys: Keys<'_>,
    ) -> Result<(), Vec<Fault>> {
        let lines = |at: usize| 1 + source[..at.min(source.len())].matches('\n').count();
        let root = DeTable::parse(source).map_err(|error| {
            let line = error.span().map_or(1, |span| lines(span.start));
            vec![Fault::new(file, line, error.message())]
        })?;
        let (mut faults, mut found) = (Vec::new(), Vec::new());
        collect(root.get_ref(), "", &mut found);
        found.sort_by_key(|(_, _, at)| *at);
        let english = self.locales.get(ENGLISH);
        let mut texts = BTreeMap::new();
        for (key, text, at) in found {
            let known = english.and_then(|english| english.get(&key));
            let own =
                |english: &BTreeMap<String, String>| english.keys().any(|known| first(known) == first(&key));
            let why = match (text, known, keys) {
                (None, _, _) => Err(format!("`{key}` must be a string")),
                (Some(text), Some(meant), _) => match places(&text).difference(&places(meant)).next() {
                    Some(place) => {
                        Err(format!("`{key}` has a place `{{{place}}}`, which the English text has not"))
                    }
                    None => Ok(text),
                },
                (Some(text), None, Keys::New(prefix)) if key.starts_with(prefix) => Ok(text),
                (Some(_), None, Keys::New(prefix)) => Err(format!("`{key}` does not start with `{prefix}`")),
                (Some(text), None, Keys::KnownOrPlugins) if !english.is_some_and(own) => Ok(text),
                (Some(_), None, _) => Err(unknown(&key, english)),
            };
            match why {
                Ok(text) => {
                    texts.insert(key, text);
                }
                Err(why) => faults.push(Fault::new(file, lines(at), &why)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        self.locales.entry(locale.into()).or_default().extend(texts);
        Ok(())
    }

    /// All there are.
    pub(super) fn locales(&self) -> impl Iterator<Item = &String> {
        self.locales.keys()
    }

    /// The text of a key.
    pub(super) fn get(&self, locale: &str, key: &str) -> Option<&str> {
        let said = |locale: &str| self.locales.get(locale)?.get(key);
        said(locale).or_else(|| said(ENGLISH)).map(String::as_str)
    }

    /// The locale that suits a browser best, by its `Accept-Language`.
    pub(super) fn choose(&self, accept_language: &str) -> &str {
        let locales: Vec<&str> = self.locales.keys().map(String::as_str).collect();
        language::lookup(&language::preferences(accept_language), &locales).unwrap_or(ENGLISH)
    }
}

fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

fn unknown(key: &str, english: Option<&BTreeMap<String, String>>) -> String {
    let known = english.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
    match nearest(key, known) {
        Some(meant) => format!("there is no text `{key}`; did you mean `{meant}`?"),
        None => format!("there is no text `{key}`"),
    }
}

/// Keys with their texts, and where these stand; `None` is no text.
type Found = Vec<(String, Option<String>, usize)>;

fn collect(table: &DeTable<'_>, path: &str, found: &mut Found) {
    for (key, value) in table {
        let key: &str = key.get_ref();
        let key = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let value: &Spanned<DeValue<'_>> = value;
        match value.get_ref() {
            DeValue::Table(table) => collect(table, &key, found),
            DeValue::String(text) => found.push((key, Some(text.to_string()), value.span().start)),
            _ => found.push((key, None, value.span().start)),
        }
    }
}

/// The places of a text: lower-case words in braces.
fn places(text: &str) -> BTreeSet<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| is_place(name))
        .collect()
}

fn is_place(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// A text with its places filled, each once: what fills one place is not looked through for others.
pub(super) fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let place = after.split_once('}').filter(|(name, _)| is_place(name));
        match place.and_then(|(name, after)| Some((value(name)?, after))) {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        let mut texts = Texts::default();
        let english = "[login]\ntitle = \"Sign in\"\nwait = \"Wait {time}\"\n";
        texts.add("en.toml", ENGLISH, english, Keys::New("")).expect("a catalogue");
        texts.add("de.toml", "de", "login.title = \"Anmelden\"\n", Keys::Known).expect("a catalogue");
        texts.add("pt-BR.toml", "pt-BR", "login.title = \"Entrar\"\n", Keys::Known).expect("a catalogue");
        texts
    }

    #[test]
    fn a_browser_gets_the_language_it_wants_most_of_those_there_are() {
        let texts = texts();
        for (wanted, chosen) in
            [("", "en"), ("de-AT, en;q=0.5", "de"), ("fr, pt-br;q=0.7", "pt-BR"), ("fr", "en")]
        {
            assert_eq!(texts.choose(wanted), chosen, "{wanted}");
        }
        assert_eq!(texts.get("de", "login.title"), Some("Anmelden"));
        assert_eq!(texts.get("de", "login.wait"), Some("Wait {time}"), "what is missing is English");
        assert_eq!(texts.get("de", "no.such"), None);
    }

    #[test]
    fn what_is_wrong_with_a_catalogue_comes_with_its_line() {
        for (source, line, says) in [
            ("login.title = \"a\"\nlogin.titel = \"b\"", 2, "did you mean `login.title`"),
            ("\n\nlogin.title = 3", 3, "must be a string"),
            ("[login]\nwait = \"{tiem}\"", 2, "place `{tiem}`"),
            ("[login]\ntitle = \"a", 2, ""),
        ] {
            let faults = texts().add("de.toml", "de", source, Keys::Known).expect_err(source);
            assert_eq!(faults.len(), 1, "{source}");
            let said = faults[0].to_string();
            assert!(said.starts_with(&format!("de.toml:{line}: ")) && said.contains(says), "{said}");
        }
        let foreign =
            texts().add("x", ENGLISH, "login.new = \"\"", Keys::New("mfa.")).expect_err("not its own");
        assert!(foreign[0].to_string().contains("does not start with `mfa.`"));
        for (source, taken) in [("mfa.x = \"\"", true), ("login.x = \"\"", false)] {
            assert_eq!(texts().add("x", "de", source, Keys::KnownOrPlugins).is_ok(), taken, "{source}");
        }
    }

    #[test]
    fn places_are_filled_once() {
        let value = |name: &str| (name == "a").then(|| "{b}".to_owned());
        assert_eq!(filled("x {a} {b} {A} {", value), "x {b} {b} {A} {");
        assert_eq!(filled("{a}{a}", value), "{b}{b}");
    }
}
