//! `[mail] templates`: a folder for each language, and in it files as the built-in ones are.
//!
//! ```text
//! mails/en/email-code.txt      another wording: the subject, and from the second line on the text
//! mails/de/email-code.txt      another language; what it lacks is English
//! mails/de/email-code.html     the HTML part, instead of one that is made of the text
//! mails/de/layout.html         how HTML is made of texts
//! ```
use super::{
    LAYOUT, Mails,
    catalog::{MAILS, Mail},
    check,
};
use crate::{
    config::{
        Problems,
        folder::{listed, read, refuse, tell},
        nearest,
    },
    language,
};
use std::path::{Path, PathBuf};

/// Adds the templates of a folder; answers everything that is wrong with them.
pub(super) fn add(mails: &mut Mails, folder: &Path) -> Problems {
    let mut problems = Problems::default();
    let Some(entries) = listed(folder, &mut problems) else { return problems };
    for (path, name) in entries {
        if path.is_dir() && language::is_tag(&name) {
            match mails.locales.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
                Some(known) => refuse(&mut problems, &path, &format!("it is the language `{known}` again")),
                None => add_locale(mails, &path, &name, &mut problems),
            }
        } else if path.is_dir() {
            refuse(&mut problems, &path, "its name is no language, such as `de` or `pt-BR`");
        } else if is_template(&name) {
            refuse(&mut problems, &path, "it lies beside the languages: put it into one, such as `en`");
        }
    }
    problems
}

fn add_locale(mails: &mut Mails, folder: &Path, locale: &str, problems: &mut Problems) {
    let Some(entries) = listed(folder, problems) else { return };
    mails.locales.push(locale.to_owned());
    let files: Vec<&(PathBuf, String)> = entries.iter().filter(|(_, name)| is_template(name)).collect();
    for (path, file) in &files {
        let Some(text) = read(path, problems) else { continue };
        let before = problems.len();
        add_file(mails, locale, path, file, &text, problems);
        if problems.len() > before {
            // It has been told of; the tries below are for what can be rendered.
            mails.templates.remove_template(&format!("{locale}/{file}"));
        }
    }
    for mail in MAILS {
        let (text, html) = (format!("{}.txt", mail.name), format!("{}.html", mail.name));
        let has = |file: &str| files.iter().find(|(_, name)| name == file).map(|(path, _)| path);
        if let (Some(path), None) = (has(&html), has(&text)) {
            refuse(
                problems,
                path,
                &format!("there is no {text} beside it: the two say the same, or neither"),
            );
            continue;
        }
        // A layout is tried with every mail that it makes.
        let Some(path) = has(&html).or(has(LAYOUT)).or(has(&text)) else { continue };
        let whole = has(&text).is_none_or(|_| mails.has(locale, &text))
            && has(&html).is_none_or(|_| mails.has(locale, &html));
        if let (true, Err(fault)) = (whole, check::tried(mails, mail, locale)) {
            let about_html = fault.why.contains("HTML");
            let path = has(&text).filter(|_| !about_html).unwrap_or(path);
            tell(problems, path, &format!("{} (tried as `{}`)", fault.why, mail.name), fault.line);
        }
    }
}

fn add_file(mails: &mut Mails, locale: &str, path: &Path, file: &str, text: &str, problems: &mut Problems) {
    let (name, html) = match file.strip_suffix(".html") {
        Some(name) => (name, true),
        None => (file.trim_end_matches(".txt"), false),
    };
    let mail = Mail::named(name);
    if mail.is_none() && file != LAYOUT {
        let why = match nearest(name, MAILS.iter().map(|mail| mail.name)) {
            Some(meant) => format!("there is no mail `{name}`; did you mean `{meant}`?"),
            None => format!("there is no mail `{name}`"),
        };
        return refuse(problems, path, &why);
    }
    let added = if html { mails.add_html(locale, file, text) } else { mails.add(locale, name, text) };
    let mut faults: Vec<check::Fault> = added.err().into_iter().map(Into::into).collect();
    let parts = if html { vec![file.to_owned()] } else { vec![format!("{name}.subject"), file.to_owned()] };
    for part in parts {
        faults.extend(check::unknown_names(mails, &format!("{locale}/{part}"), mail, html));
    }
    for fault in faults {
        let word = fault.word.as_deref();
        let stands = |word: &str| text.lines().position(|line| line.contains(word)).map(|at| at + 1);
        tell(problems, path, &fault.why, fault.line.or_else(|| word.and_then(stands)));
    }
}

fn is_template(name: &str) -> bool {
    let extension = Path::new(name).extension();
    !name.starts_with('.') && extension.is_some_and(|extension| extension == "txt" || extension == "html")
}
