//! `plugin`: which libraries the host loads.
use super::{
    Failure, Plugin, Report, check, kits,
    library::{self, judge},
    remove,
    report::table,
    scaffold,
};
use crate::{
    config::{Config, PluginEntry},
    kernel::{Candidate, Kernel, hex, in_use},
};
use serde_json::json;
use std::path::Path;

pub(super) fn run(file: &Path, command: &Plugin) -> Result<Report, Failure> {
    match command {
        // Those that need no configuration.
        Plugin::Inspect { file } => inspect(file),
        Plugin::New(new) => scaffold::run(new),
        Plugin::Check(check) => kits::run(None, check),
        Plugin::List => Ok(list(&check::settings(file)?)),
        Plugin::Install { file: library, sha256 } => {
            install(&check::settings(file)?, library, sha256.as_deref())
        }
        Plugin::Verify => verify(&check::settings(file)?),
        Plugin::Remove { name, disarm } => remove::run(&check::settings(file)?, name, *disarm),
    }
}

/// As a start reads it, short of opening it.
fn read(config: &Config, entry: &PluginEntry) -> Result<Candidate, String> {
    if entry.sha256.is_none() {
        return Err("it has no sha256; `countersign plugin install` pins it".into());
    }
    Candidate::read(&config.plugin_dir.join(&entry.file), entry.sha256.as_ref())
}

fn list(config: &Config) -> Report {
    let mut rows = Vec::new();
    let mut plugins = Vec::new();
    for entry in &config.plugins {
        let file = &entry.file;
        match read(config, entry) {
            Ok(candidate) => {
                let manifest = candidate.manifest();
                let used = in_use(config, &manifest.name);
                let state = if used { "in use" } else { "not in use" };
                rows.push([manifest.name.clone(), manifest.version.clone(), file.clone(), state.to_owned()]);
                plugins.push(json!({
                    "name": manifest.name,
                    "version": manifest.version,
                    "file": file,
                    "sha256": hex(candidate.sha256()),
                    "required": entry.required,
                    "in_use": used,
                    "problem": null,
                }));
            }
            Err(why) => {
                rows.push(["?".into(), "?".into(), file.clone(), why.clone()]);
                plugins.push(json!({ "file": file, "required": entry.required, "problem": why }));
            }
        }
    }
    Report::new(table(["NAME", "VERSION", "FILE", "STATE"], &rows), json!({ "plugins": plugins }))
}

fn inspect(file: &Path) -> Result<Report, Failure> {
    let shown = file.display();
    let candidate = judge(file).map_err(|why| Failure::new(format_args!("{shown}: {why}")))?;
    let manifest = candidate.manifest();
    let sha256 = hex(candidate.sha256());
    let text = format!(
        "name       {}\nversion    {}\ninterface  {}\npanic      {}\ncompiler   {}\nneeds      {}\nsha256     {sha256}",
        manifest.name,
        manifest.version,
        manifest.api,
        manifest.panic,
        super::report::plain(&manifest.compiler),
        candidate.needs().join(", "),
    );
    let json = json!({
        "file": shown.to_string(),
        "name": manifest.name,
        "version": manifest.version,
        "interface": manifest.api,
        "panic": manifest.panic,
        "compiler": manifest.compiler,
        "needs": candidate.needs(),
        "sha256": sha256,
    });
    Ok(Report::new(text, json))
}

fn install(config: &Config, file: &Path, sha256: Option<&str>) -> Result<Report, Failure> {
    let shown = file.display();
    let candidate = judge(file).map_err(|why| Failure::new(format_args!("{shown}: {why}")))?;
    if let Some(wanted) = sha256 {
        let (wanted, is) = (wanted.to_ascii_lowercase(), hex(candidate.sha256()));
        if wanted.len() != is.len() || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure::usage(format_args!("--sha256 {wanted}: it is 64 hexadecimal digits")));
        }
        if wanted != is {
            let why = format_args!(
                "{shown}: its SHA-256 is {is}, and --sha256 says {wanted}: these are other bytes than you trust"
            );
            return Err(Failure::new(why));
        }
    }
    let installed = library::install(config, file, &candidate)?;
    let mut text = format!(
        "{} {} is installed as {}; the host loads it when it starts the next time",
        installed.name, installed.version, installed.file
    );
    if let Some(before) = &installed.replaced {
        text = format!("{text}. {before} is still in {}, to go back to", config.plugin_dir.display());
    }
    Ok(Report::new(text, installed.json()))
}

fn verify(config: &Config) -> Result<Report, Failure> {
    let mut problems = Vec::new();
    for entry in &config.plugins {
        // Opened, because the interface can be compared only then; the pin says that it may be.
        let opened = read(config, entry).map_err(|why| format!("{}: {why}", entry.file));
        if let Err(why) = opened.and_then(|candidate| Kernel::try_out(config, &entry.file, candidate)) {
            problems.push(config.problem(entry.at, why));
        }
    }
    if problems.is_empty() {
        let count = config.plugins.len();
        Ok(Report::new(format!("{count} plugins are sound"), json!({ "plugins": count })))
    } else {
        Err(Failure::all(problems))
    }
}
