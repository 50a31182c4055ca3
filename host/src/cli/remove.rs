//! `plugin remove`: an entry, its table and its file; never by accident the gate.
use super::{
    Failure, Report, check,
    host::{Own, running},
    library::judge,
};
use crate::{
    config::{Config, edit},
    control::Operation,
    kernel::Strictness,
};
use serde_json::json;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub(super) fn run(config: &Config, name: &str, disarm: bool) -> Result<Report, Failure> {
    let found = find(config, name);
    // Without an entry there may still be a store that remembers the plugin.
    if found.is_none() && !disarm {
        let why = format!(
            "no [[plugin]] of {} is `{name}`; `countersign plugin list` shows them",
            config.file.display()
        );
        return Err(Failure::usage(why));
    }
    let (plugin, file) = found.map_or((name.to_owned(), None), |(plugin, file)| (plugin, Some(file)));
    let host_runs = gate(config, &plugin, file.as_deref(), disarm)?;

    let mut dropped = false;
    if let Some(file) = &file {
        edit::unpin(&config.file, file)?;
        dropped = edit::drop_table(&config.file, &plugin)?;
        let path = config.plugin_dir.join(file);
        // A host that runs has a copy of its own.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Failure::new(format_args!(
                "{}: {error}; its entry is gone, so it is not loaded",
                path.display()
            )));
        }
    }
    let mut text = match &file {
        Some(file) => {
            format!("{plugin} is removed: its entry{} and {file}", if dropped { ", its table" } else { "" })
        }
        None => format!("{plugin} has no entry"),
    };
    if disarm {
        text.push_str("; logins go on without it");
    }
    if host_runs {
        text.push_str(". The host that runs has it until `countersign reload`");
    }
    let json = json!({ "name": plugin, "file": file, "disarmed": disarm, "host_runs": host_runs });
    Ok(Report::new(text, json))
}

/// The plugin's name and its file, by either.
fn find(config: &Config, named: &str) -> Option<(String, String)> {
    let guess = named.replace('-', "_");
    config.plugins.iter().find_map(|entry| {
        let file = entry.file.clone();
        match judge(&config.plugin_dir.join(&file)) {
            Ok(candidate) => {
                let name = candidate.manifest().name.clone();
                (name == named || file == named).then_some((name, file))
            }
            // One that does not read has no name but that of its file.
            Err(_) => {
                let stem = edit::stem(&file).trim_start_matches("lib");
                let stem = stem.strip_prefix("plugin_").unwrap_or(stem);
                let name = if file == named { stem.replace('_', "-") } else { named.to_owned() };
                (stem == guess || file == named).then_some((name, file))
            }
        }
    })
}

/// Refuses to remove what gates logins, or has the store forget it. Answers whether a host runs.
fn gate(config: &Config, plugin: &str, file: Option<&str>, disarm: bool) -> Result<bool, Failure> {
    let operation = || if disarm { Operation::Disarm } else { Operation::Gate };
    let (answer, host_runs) = match running(config, &operation())? {
        Some(answer) => (answer?, true),
        // A store or a delivery is no gate; and without its store there is nobody to ask.
        None if !disarm && (plugin.starts_with("store-") || plugin.starts_with("delivery-")) => {
            return Ok(false);
        }
        None => {
            // Without the plugin, which may be the one that keeps a host from starting.
            let draft = Draft::without(config, plugin, file)?;
            let later = check::settings(&draft.0)?;
            let own = Own::start(&later, Strictness { ungated: true, ..check::strictness(false) });
            let own = own.map_err(|failure| {
                Failure::new(format_args!("the store cannot be asked whether `{plugin}` gates its logins"))
                    .and(failure)
            })?;
            (own.perform(operation())?, false)
        }
    };
    if !disarm && answer["gate"] == plugin {
        return Err(Failure::new(format_args!(
            "`{plugin}` gates the logins of this store: without it every second factor is skipped; if that is what you want, add --disarm"
        )));
    }
    Ok(host_runs)
}

/// The configuration as it is going to be, in a file beside it that goes when this does.
struct Draft(PathBuf);

impl Draft {
    fn without(config: &Config, plugin: &str, file: Option<&str>) -> Result<Self, Failure> {
        let path = config.folder().join(format!(".countersign-{}.toml", std::process::id()));
        write(&path, &config.file)
            .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
        let draft = Self(path);
        if let Some(file) = file {
            edit::unpin(&draft.0, file)?;
        }
        edit::drop_table(&draft.0, plugin)?;
        Ok(draft)
    }
}

fn write(draft: &Path, original: &Path) -> io::Result<()> {
    let text = fs::read(original)?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    out.write_all(&text)
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
