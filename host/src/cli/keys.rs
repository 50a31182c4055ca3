//! `keys`: the key ring.
use super::{Failure, Keys, Report, check, report::table, store};
use crate::{
    config::Config,
    control::{Operation, ask},
    kernel::{Key, KeyError, Ring, Role, State},
};
use countersign_plugin_api::Time;
use serde_json::json;
use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The most that any token lives. What signs tokens for longer than this must not be added without a thought of
/// this bound; plugins bound their own configuration by it.
const LONGEST_TOKEN: Duration = Duration::from_hours(1);

pub(super) fn run(file: &Path, command: &Keys) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    match command {
        Keys::Init => init(&config),
        Keys::List => list(&config),
        Keys::Rotate => rotate(&config),
        Keys::Retire { kid } => retire(&config, kid),
    }
}

pub(super) fn now() -> Time {
    Time::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn init(config: &Config) -> Result<Report, Failure> {
    let file = &config.keys_file;
    Ring::generate(now()).save(file, false).map_err(Failure::new)?;
    let text = format!(
        "{}: made, mode 0600. Back it up apart from the store: without it nothing in the store can be read",
        file.display()
    );
    Ok(Report::new(text, json!({ "file": file.display().to_string() })))
}

fn list(config: &Config) -> Result<Report, Failure> {
    let ring = Ring::of(config).map_err(Failure::usage)?;
    let state = |key: &Key| if key.state() == State::Active { "active" } else { "verify-only" };
    let row = |key: &Key| {
        let made =
            if key.is_of_environment() { "(environment)".into() } else { key.created_at().to_string() };
        [key.kid_text(), key.role().name().into(), state(key).into(), made]
    };
    let json = |key: &Key| {
        let made = (!key.is_of_environment()).then(|| key.created_at().to_string());
        let source = if made.is_some() { "file" } else { "environment" };
        json!({
            "kid": key.kid_text(), "role": key.role().name(), "state": state(key), "source": source,
            "created_at": made,
        })
    };
    let rows: Vec<[String; 4]> = ring.keys().iter().map(row).collect();
    let keys: Vec<_> = ring.keys().iter().map(json).collect();
    Ok(Report::new(table(["KID", "ROLE", "STATE", "CREATED"], &rows), json!({ "keys": keys })))
}

fn rotate(config: &Config) -> Result<Report, Failure> {
    let kid = change(config, |ring| Ok(ring.rotate(now())))?;
    let reloaded = reload(config)?;
    let signs = match config.token_secret {
        None => "signs tokens from now on",
        Some(_) => "is made, and will sign tokens when MFA_CHALLENGE_SECRET is no longer set",
    };
    let text = format!("{kid} {signs}; {}", told(reloaded));
    Ok(Report::new(text, json!({ "kid": kid, "host_reloaded": reloaded })))
}

fn retire(config: &Config, kid: &str) -> Result<Report, Failure> {
    let ring = Ring::of(config).map_err(Failure::usage)?;
    // Once superseded a key seals nothing more, so that what is counted can only become less.
    let has_sealed =
        |key: &Key| key.kid_text() == kid && key.role() == Role::Seal && key.state() == State::VerifyOnly;
    let is_of_store = ring.keys().iter().any(has_sealed);
    let records = if is_of_store { store::count(config, &[kid.to_owned()])? } else { 0 };
    change(config, |ring| ring.retire(kid, now(), LONGEST_TOKEN, records))?;
    let reloaded = reload(config)?;
    let what = if is_of_store { "no record needs it" } else { "whatever it has signed is refused" };
    let text = format!("{kid} is gone, and {what}; {}", told(reloaded));
    Ok(Report::new(text, json!({ "kid": kid, "host_reloaded": reloaded })))
}

/// Reads, changes and replaces the key file, one such change at a time.
pub(super) fn change<T>(
    config: &Config,
    change: impl FnOnce(&mut Ring) -> Result<T, KeyError>,
) -> Result<T, Failure> {
    let file = &config.keys_file;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let locked = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
    let locked = locked.map_err(|error| Failure::new(format_args!("{}: {error}", folder.display())))?;
    let mut ring = Ring::load(file).map_err(Failure::usage)?;
    let done = change(&mut ring).map_err(Failure::new)?;
    ring.save(file, true).map_err(Failure::new)?;
    drop(locked);
    Ok(done)
}

/// Has a running host take the file over; false when none runs.
pub(super) fn reload(config: &Config) -> Result<bool, Failure> {
    let kept = |why: String| {
        let file = config.keys_file.display();
        Failure::new(format_args!("{file} is changed, and the running host keeps its old keys: {why}"))
    };
    match ask(&config.data_dir, &Operation::ReloadKeys).map_err(kept)? {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(refused)) => Err(kept(refused.message)),
    }
}

fn told(reloaded: bool) -> &'static str {
    if reloaded { "the running host has taken it over" } else { "no host runs" }
}
