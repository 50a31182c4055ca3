//! `{ env = "NAME" }` and `{ file = "path" }`: values that do not stand in the file.
use super::{
    Env,
    source::Source,
    tree::{Entry, Node},
};
use std::{fs::File, io::Read, path::Path};

/// A password, a token, a private key: nothing larger is a value.
const MAX_BYTES: u64 = 64 << 10;

pub(super) enum Reference<'a> {
    Env(&'a str),
    File(&'a str),
}

impl<'a> Reference<'a> {
    /// Whether a value is one: a table of just that key, written inline. A `[table]` of its own that happens to
    /// have one key `file` is the plugin's.
    pub(super) fn of(node: &'a Node, source: &Source) -> Option<Self> {
        let [Entry { key, node: named, .. }] = node.entries()? else { return None };
        let named = named.text().filter(|_| !source.at(node.at).starts_with('['))?;
        match key.as_str() {
            "env" => Some(Self::Env(named)),
            "file" => Some(Self::File(named)),
            _ => None,
        }
    }

    /// What it points to. A file's last line break is not part of its value.
    pub(super) fn resolve(&self, folder: &Path, env: Env) -> Result<String, String> {
        match self {
            Self::Env(name) => {
                let value = env(name).ok_or_else(|| format!("the environment has no `{name}`"))?;
                if value.is_empty() {
                    return Err(format!("`{name}` is empty in the environment"));
                }
                value.into_string().map_err(|_| format!("`{name}` is not UTF-8 in the environment"))
            }
            Self::File(name) => {
                let text = contents(&folder.join(name)).map_err(|why| format!("`{name}` {why}"))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() { Err(format!("`{name}` is empty")) } else { Ok(text.to_owned()) }
            }
        }
    }
}

/// The files that values of these tables are read from.
pub(super) fn files<'a>(entries: &'a [Entry], source: &Source, found: &mut Vec<&'a str>) {
    for Entry { node, .. } in entries {
        match (Reference::of(node, source), node.entries()) {
            (Some(Reference::File(name)), _) => found.push(name),
            (None, Some(below)) => files(below, source, found),
            _ => {}
        }
    }
}

fn contents(file: &Path) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(file).map_err(unread)?.is_file() {
        return Err("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    File::open(file).map_err(unread)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is larger than 64 KiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}
