//! What users see of a wrong file, word for word: `tests/golden/config/*.toml` and what is said about each.
//! `BLESS=1` writes down what is said now.
use super::{Config, Problems, source::Source};
use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder of its own for each use, gone when it is dropped.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("countersign-config-{}-{next}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }
    /// A file that only its owner can write, whatever the umask.
    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a folder of our own");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a file of our own");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn examined(text: &str) -> (Option<Config>, Problems) {
    let folder = Folder::new();
    Config::examine_in(&folder.file("countersign.toml", text), env)
}

/// The environment of every test.
pub(super) fn env(name: &str) -> Option<OsString> {
    match name {
        "SMTP_PASSWORD" => Some("canary-in-the-environment".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    }
}

/// What a host would say: of the file, then of what lines such as `#! mfa totp.skew_steps: must be …` say that
/// a plugin objects to, of the tables that plugins ask for (`#? mfa`), of tables that nobody owns (`#= mfa`).
fn said(file: &Path) -> String {
    let (config, mut problems) = Config::examine_in(file, env);
    let Some(config) = config else { return format!("{problems}\n") };
    let mut tables = String::new();
    for line in config.document.source.text.lines() {
        if let Some(objection) = line.strip_prefix("#! ") {
            let (place, message) = objection.split_once(": ").expect("#! PLUGIN PATH: MESSAGE");
            let (plugin, path) = place.split_once(' ').expect("#! PLUGIN PATH: MESSAGE");
            problems.push(config.plugin_problem(plugin, path, message));
        } else if let Some(plugin) = line.strip_prefix("#? ") {
            match config.plugin_table(plugin) {
                Ok(table) => tables = format!("{tables}\n{plugin} {table}"),
                Err(wrong) => problems.extend(wrong),
            }
        } else if let Some(plugins) = line.strip_prefix("#= ") {
            problems.extend(config.unowned_tables(&plugins.split(' ').collect::<Vec<_>>()));
        } else if line == "#=" {
            problems.extend(config.tables_without_a_file());
        }
    }
    format!("{problems}{tables}\n")
}

#[test]
fn every_wrong_file_is_told_what_is_wrong() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/config");
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&golden).expect("the golden files") {
        let path = entry.expect("the golden files").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let folder = Folder::new();
        let file = folder.file("countersign.toml", fs::read(&path).expect("a golden file"));
        folder.file("secret", "from a file\n");
        let said = said(&file).replace(&format!("{}/", folder.0.display()), "");
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, said).expect("the golden files");
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            differing.push(format!("--- {}\n{said}", path.display()));
        }
    }
    assert!(count > 10, "{count} golden files");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn no_beginning_of_a_file_passes_that_is_not_toml() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/config/good.toml");
    let whole = fs::read_to_string(golden).expect("a golden file");
    for (end, _) in whole.char_indices() {
        let source = Source::new(Path::new("c.toml"), whole[..end].into());
        let (config, problems) = Config::of(source, Path::new("/"), env);
        let toml = whole[..end].parse::<toml_edit::DocumentMut>().is_ok();
        assert!(toml || !problems.is_empty(), "{}", &whole[..end]);
        assert!(config.is_some() || !problems.is_empty(), "{}", &whole[..end]);
    }
}
