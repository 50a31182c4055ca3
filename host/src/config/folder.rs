//! Folders of templates and texts, which operators write: read with care, because they say what people read in
//! the host's name.
use super::{Problem, Problems};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Much more than a mail or a page.
const LARGEST: u64 = 64 << 10;

/// What lies in a folder, by name. Whoever writes there says what people read in the host's name.
pub(crate) fn listed(folder: &Path, problems: &mut Problems) -> Option<Vec<(PathBuf, String)>> {
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

/// The text of a file.
pub(crate) fn read(file: &Path, problems: &mut Problems) -> Option<String> {
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

/// Says what is wrong with a file or folder as a whole.
pub(crate) fn refuse(problems: &mut Problems, path: &Path, why: &str) {
    tell(problems, path, why, None);
}

/// Says what is wrong with a file, at a line if it has one.
pub(crate) fn tell(problems: &mut Problems, path: &Path, why: &str, line: Option<usize>) {
    let text = line.and_then(|_| fs::read_to_string(path).ok());
    problems.push(match (line, text) {
        (Some(line), Some(text)) => Problem::in_line(path, &text, line, why),
        _ => Problem::of_file(path, None, why),
    });
}
