//! `init`: a directory that a host can start from.
use super::{Failure, Init, Report, check, keys, library};
use crate::{
    config::{Config, PublicUrl, template},
    kernel::{Candidate, Ring},
};
use serde_json::json;
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

pub(super) fn run(config: &Path, args: &Init) -> Result<Report, Failure> {
    if config.components().count() != 1 {
        let config = config.display();
        let why =
            format!("--config {config}: `init` takes the name of a file in DIR; give the directory as DIR");
        return Err(Failure::usage(why));
    }
    let file = args.dir.join(config);
    let public_url = public_url(args)?;
    let text = template::starter(args.listen, &public_url, args.registration.into());
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&args.dir)
        .map_err(|error| Failure::new(format_args!("{}: {error}", args.dir.display())))?;
    write(&file, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(format_args!(
            "{}: it exists, and nothing is overwritten; choose another directory",
            file.display()
        )),
        _ => Failure::new(format_args!("{}: {error}", file.display())),
    })?;
    fill(&file).inspect_err(|_| {
        // A second try finds the directory as the first one did; copies of libraries are found again.
        let _ = fs::remove_file(&file);
    })
}

fn public_url(args: &Init) -> Result<PublicUrl, Failure> {
    if args.listen.port() == 0 {
        return Err(Failure::usage(format_args!(
            "--listen {}: choose a port that stays the same",
            args.listen
        )));
    }
    match &args.public_url {
        Some(url) => url.parse().map_err(|why| Failure::usage(format_args!("--public-url: {why}"))),
        None => PublicUrl::of(args.listen).ok_or_else(|| {
            let listen = args.listen;
            Failure::usage(format_args!(
                "--listen {listen} is beyond loopback: add --public-url with the https origin that browsers will see"
            ))
        }),
    }
}

/// Everything but the configuration itself.
fn fill(file: &Path) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|error| Failure::new(format_args!("{}: {error}", config.data_dir.display())))?;
    Ring::generate(keys::now()).save(&config.keys_file, false).map_err(Failure::new)?;
    let installed = plugins(&config).inspect_err(|_| {
        let _ = fs::remove_file(&config.keys_file);
    })?;

    let shown = file.display();
    let names: Vec<String> = installed.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
    let mut text = format!(
        "{shown} is written, with comments\n{} is made: back it up apart from the data",
        config.keys_file.display()
    );
    if names.is_empty() {
        text.push_str(
            "\nNo plugins lie beside this program: add them with `countersign plugin install FILE`",
        );
    } else {
        text = format!("{text}\n{} has {}", config.plugin_dir.display(), names.join(", "));
    }
    text = format!(
        "{text}\n\nNext:\n  countersign serve --config {shown}\n  countersign user add you@example.org --role admin --config {shown}"
    );
    let plugins: Vec<_> = installed.iter().map(library::Installed::json).collect();
    let json = json!({
        "config": shown.to_string(),
        "keys": config.keys_file.display().to_string(),
        "data_dir": config.data_dir.display().to_string(),
        "plugins": plugins,
    });
    Ok(Report::new(text, json))
}

/// Installs every plugin that lies beside this program.
fn plugins(config: &Config) -> Result<Vec<library::Installed>, Failure> {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    let found = beside.map(|folder| libraries(&folder)).unwrap_or_default();
    let mut installed = Vec::new();
    for (path, candidate) in found {
        installed.push(library::install(config, &path, &candidate)?);
    }
    Ok(installed)
}

/// The plugins of a folder, by name. Other libraries are none of ours, so what is wrong with them is not said.
fn libraries(folder: &Path) -> Vec<(PathBuf, Candidate)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("lib") && path.extension().is_some_and(|extension| extension == "so")
        })
        .collect();
    files.sort();
    files
        .into_iter()
        .filter_map(|path| library::judge(&path).ok().map(|candidate| (path, candidate)))
        .collect()
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o640).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}
