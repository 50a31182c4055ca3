//! `reload`: the running host takes over what has changed.
use super::{Failure, Report, check, host::running};
use crate::control::Operation;
use serde_json::Value;
use std::path::Path;

pub(super) fn run(file: &Path) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    let alone = || {
        let data_dir = config.data_dir.display();
        Failure::new(format_args!("no host runs on {data_dir}: there is nothing to reload"))
    };
    let done = running(&config, &Operation::Reload)?.ok_or_else(alone)??;
    let names = |key: &str| {
        let names = done[key].as_array().map(Vec::as_slice).unwrap_or_default();
        names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut text = "reloaded".to_owned();
    for (what, names) in [("new or changed: ", names("changed")), ("no longer in use: ", names("removed"))] {
        if !names.is_empty() {
            text = format!("{text}; {what}{names}");
        }
    }
    Ok(Report::new(text, done))
}
