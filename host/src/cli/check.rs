//! `config check`, and the same questions before every command that needs the configuration.
use super::{Failure, Report};
use crate::{
    config::Config,
    kernel::{StartError, Strictness},
    people,
};
use serde_json::json;
use std::path::Path;

/// `config check`: everything that `serve` would refuse, and nothing else.
pub(super) fn run(file: &Path, dev: bool) -> Result<Report, Failure> {
    let config = whole(file, dev)?;
    people::check(&config, strictness(dev))?;
    let text = format!("{}: no problems; {} plugins", file.display(), config.plugins.len());
    Ok(Report::new(text, json!({ "file": file.display().to_string(), "plugins": config.plugins.len() })))
}

/// The configuration for a host that is going to start. A file that has problems is refused with those that its
/// keys and plugins have too; one without is left to the start itself, which asks every plugin once.
pub(super) fn whole(file: &Path, dev: bool) -> Result<Config, Failure> {
    let (config, problems) = Config::examine(file);
    let Some(config) = config else { return Err(problems.into()) };
    if dev && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        let why = format!(
            "--dev is for loopback, and `listen` is {listen}: its plugins need no pin, so nobody else may reach it"
        );
        return Err(Failure::usage(why).and(problems.into()));
    }
    if problems.is_empty() {
        return Ok(config);
    }
    // What both say, word for word, is said once.
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let failure = Failure::from(problems);
    match people::check(&config, strictness(dev)) {
        Ok(()) => Err(failure),
        Err(StartError(more)) => {
            let more = more.into_iter().filter(|text| !said.contains(text)).collect();
            Err(failure.and(StartError(more).into()))
        }
    }
}

/// The configuration for a command that starts nothing.
pub(super) fn settings(file: &Path) -> Result<Config, Failure> {
    Config::load(file).map_err(Failure::from)
}

pub(super) fn strictness(dev: bool) -> Strictness {
    Strictness { unpinned: dev, ..Strictness::default() }
}
