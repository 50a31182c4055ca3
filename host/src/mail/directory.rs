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
    check, language,
};
use crate::config::{Problem, Problems, nearest};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Much more than a mail.
const LARGEST: u64 = 64 << 10;

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

/// What lies in a folder, by name. Whoever writes there says what people read in the host's name.
fn listed(folder: &Path, problems: &mut Problems) -> Option<Vec<(PathBuf, String)>> {
    if !may_be_trusted(folder, problems)? {
        return None;
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match entries {
        Ok(entries) => {
            let named = |entry: fs::DirEntry| Some((entry.path(), entry.file_name().into_string().ok()?));
            let mut entries: Vec<_> = entries.into_iter().filter_map(named).collect();
            entries.sort();
            Some(entries)
        }
        Err(error) => {
            refuse(problems, folder, &format!("it cannot be read: {error}"));
            None
        }
    }
}

fn read(file: &Path, problems: &mut Problems) -> Option<String> {
    if !may_be_trusted(file, problems)? {
        return None;
    }
    let why = match fs::metadata(file) {
        Ok(meta) if !meta.is_file() => "it is not a regular file".to_owned(),
        Ok(meta) if meta.len() > LARGEST => "it is larger than 64 KiB".to_owned(),
        _ => match fs::read(file).map(String::from_utf8) {
            Ok(Ok(text)) => return Some(text.replace("\r\n", "\n")),
            Ok(Err(_)) => "it is not UTF-8".to_owned(),
            Err(error) => format!("it cannot be read: {error}"),
        },
    };
    refuse(problems, file, &why);
    None
}

fn may_be_trusted(path: &Path, problems: &mut Problems) -> Option<bool> {
    match fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o022 == 0 => Some(true),
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o7777;
            let why = format!(
                "others than its owner may write to it (mode {mode:04o}), and it says what people read in the host's name: chmod go-w"
            );
            refuse(problems, path, &why);
            Some(false)
        }
        Err(error) => {
            refuse(problems, path, &format!("it cannot be read: {error}"));
            None
        }
    }
}

fn refuse(problems: &mut Problems, path: &Path, why: &str) {
    tell(problems, path, why, None);
}

fn tell(problems: &mut Problems, path: &Path, why: &str, line: Option<usize>) {
    let text = line.and_then(|_| fs::read_to_string(path).ok());
    problems.push(match (line, text) {
        (Some(line), Some(text)) => Problem::in_line(path, &text, line, why),
        _ => Problem::of_file(path, None, why),
    });
}
