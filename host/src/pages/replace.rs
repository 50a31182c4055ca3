//! `[pages] templates`: a folder with an operator's own templates and texts.
//!
//! ```text
//! pages/login.html          instead of the built-in template of that name
//! pages/mfa/challenge.html  instead of a plugin's
//! pages/de.toml             texts in another language; what it lacks is English
//! pages/en.toml             other words for the same
//! ```
use super::texts::{ENGLISH, Keys, Texts};
use crate::{
    config::{
        Problems,
        folder::{listed, read as text_of, refuse, tell},
        nearest,
    },
    language,
};
use std::{collections::BTreeMap, path::Path};

/// Puts them in their places; answers everything that is wrong with them. Unless plugins are `known`, what may
/// belong to one is let pass.
pub(super) fn read(
    folder: &Path,
    templates: &mut BTreeMap<String, String>,
    texts: &mut Texts,
    known: bool,
) -> Problems {
    let mut problems = Problems::default();
    let mut catalogues = Vec::new();
    for (path, name) in listed(folder, &mut problems).unwrap_or_default() {
        if path.is_dir() {
            for (path, file) in listed(&path, &mut problems).unwrap_or_default() {
                template(&path, &format!("{name}/{file}"), templates, known, &mut problems);
            }
        } else if let Some(locale) = name.strip_suffix(".toml") {
            catalogues.push((locale.to_owned(), path));
        } else {
            template(&path, &name, templates, true, &mut problems);
        }
    }
    // English first: what other locales say is compared with it.
    catalogues.sort_by_key(|(locale, _)| locale != ENGLISH);
    let keys = if known { Keys::Known } else { Keys::KnownOrPlugins };
    for (locale, path) in catalogues {
        if !language::is_tag(&locale) {
            refuse(&mut problems, &path, "its name is no language, such as `de.toml` or `pt-BR.toml`");
        } else if let Some(source) = text_of(&path, &mut problems) {
            let faults = texts.add("", &locale, &source, keys).err().unwrap_or_default();
            faults.iter().for_each(|fault| fault.of(&path, &mut problems));
        }
    }
    problems
}

fn template(
    path: &Path,
    name: &str,
    templates: &mut BTreeMap<String, String>,
    known: bool,
    problems: &mut Problems,
) {
    if path.extension().is_none_or(|extension| extension != "html") {
        return;
    }
    let Some(source) = text_of(path, problems) else { return };
    if source.starts_with("---") {
        let why = "a replacement has no head: where a page stands and what it does cannot be changed";
        tell(problems, path, why, Some(1));
    } else if let Err(error) = minijinja::Environment::new().template_from_named_str(name, &source) {
        let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        tell(problems, path, &why, error.line());
    } else if let Some(replaced) = templates.get_mut(name) {
        *replaced = source;
    } else if known {
        let why = match nearest(name, templates.keys().map(String::as_str)) {
            Some(meant) => format!("there is no template `{name}`; did you mean `{meant}`?"),
            None => format!("there is no template `{name}`"),
        };
        refuse(problems, path, &why);
    }
}
