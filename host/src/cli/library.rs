//! A library on its way into the plugin folder: read once, judged, copied, the copy checked, then entered.
use super::Failure;
use crate::{
    config::{Config, edit},
    kernel::{Candidate, Kernel, hex},
};
use serde_json::{Value, json};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// The largest library that is read.
const MAX_BYTES: u64 = 256 << 20;

/// A library that was entered.
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) file: String,
    pub(super) sha256: [u8; 32],
    /// The file that its entry named before.
    pub(super) replaced: Option<String>,
}

impl Installed {
    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "file": self.file,
            "sha256": hex(&self.sha256),
            "replaced": self.replaced,
        })
    }
}

/// Reads a library that lies anywhere and judges it. Nothing of it runs, and it is not read again.
pub(super) fn judge(path: &Path) -> Result<Candidate, String> {
    let unread = |error: io::Error| format!("it cannot be read: {error}");
    // Asked before it is opened: opening a pipe waits for a writer.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unread)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it is larger than 256 MiB".into());
    }
    Candidate::judge(bytes, None)
}

/// Copies a judged library into the plugin folder under its hash, checks that copy as a start would, and pins it
/// in the configuration. A copy that does not pass is removed.
pub(super) fn install(config: &Config, source: &Path, candidate: &Candidate) -> Result<Installed, Failure> {
    let refused = |why: String| Failure::new(format_args!("{}: {why}", source.display()));
    let sha256 = *candidate.sha256();
    let manifest = candidate.manifest();
    let stem = stem(config, source, &manifest.name).map_err(refused)?;
    let file = format!("{stem}-{}.so", &hex(&sha256)[..16]);
    let path = config.plugin_dir.join(&file);
    let is_new = copy(&config.plugin_dir, &file, candidate)
        .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;

    let copied = Candidate::read(&path, Some(&sha256)).map_err(|why| format!("{}: {why}", path.display()));
    let checked = copied.and_then(|copied| Kernel::try_out(config, &file, copied)).map_err(Failure::new);
    let replaced = match checked.and_then(|()| Ok(edit::pin(&config.file, &file, &sha256)?)) {
        Ok(before) => before.filter(|before| *before != file),
        Err(failure) => {
            if is_new {
                // What matters is why it is not installed; a copy that nothing names is not loaded either.
                let _ = fs::remove_file(&path);
            }
            return Err(failure);
        }
    };
    Ok(Installed { name: manifest.name.clone(), version: manifest.version.clone(), file, sha256, replaced })
}

/// The part of the file's name before its hash: that of the entry of the same plugin, so that it is replaced;
/// else that of the source. An entry of another plugin is not taken for it.
fn stem(config: &Config, source: &Path, name: &str) -> Result<String, String> {
    let named = source.file_name().and_then(|file| file.to_str()).map_or("", edit::stem);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let own = format!("lib{}", name.replace('-', "_"));
    let wanted =
        if named.is_empty() || named.starts_with('.') || !named.bytes().all(plain) { &own } else { named };
    for entry in &config.plugins {
        let stem = edit::stem(&entry.file);
        match judge(&config.plugin_dir.join(&entry.file)) {
            Ok(other) if other.manifest().name == name => return Ok(stem.to_owned()),
            Ok(other) if stem == wanted => {
                let other = &other.manifest().name;
                return Err(format!(
                    "its file name is that of the plugin `{other}`, and it is `{name}`: rename it"
                ));
            }
            _ => {}
        }
    }
    Ok(wanted.to_owned())
}

/// Writes the bytes that were judged; false when they are there already.
fn copy(folder: &Path, file: &str, candidate: &Candidate) -> io::Result<bool> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let path = folder.join(file);
    if fs::read(&path).is_ok_and(|bytes| bytes == candidate.bytes()) {
        return Ok(false);
    }
    let draft = folder.join(format!(".{file}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)
        .and_then(|mut out| out.write_all(candidate.bytes()).and_then(|()| out.sync_all()))
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map(|()| true)
}
