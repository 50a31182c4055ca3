//! `store reseal`: everything under a new key.
//!
//! What is left to do is told by the records alone, each of which names its key. So a run that was interrupted goes on
//! where it was: while another key has sealed anything, no further key is made.
use super::{Failure, Report, records::Records};
use crate::{
    cli::{
        keys::{self, now},
        progress::Progress,
    },
    config::Config,
    control::Act,
    kernel::{Key, Ring, Role, State, sealed_with},
};
use serde_json::json;

/// The first moves all, the next what was being written meanwhile. More are hardly ever needed.
const PASSES: u32 = 5;

/// What the passes did.
#[derive(Default)]
struct Done {
    resealed: u64,
    /// What the last pass found under other keys.
    left: u64,
    unreadable: u64,
}

pub(super) fn run(config: &Config, json: bool) -> Result<Report, Failure> {
    let goes_on = count(config, &kids(config, State::VerifyOnly)?)? > 0;
    let made = if goes_on { None } else { Some(keys::change(config, |ring| Ok(ring.reseal(now())))?) };
    keys::reload(config)?;
    let kid = kids(config, State::Active)?.concat();
    let mut records = Records::of(config);
    let progress = Progress::new(json);
    let mut done = Done::default();
    for _ in 0..PASSES {
        pass(&mut records, &kid, &progress, &mut done)?;
        if done.left == 0 {
            break;
        }
    }
    let Done { resealed, left, unreadable } = done;
    let failed = left > 0 || unreadable > 0;
    let unrecorded = records.note(Act::Reseal { kid: kid.clone(), records: resealed });
    let mut text = vec![format!("{resealed} records were sealed anew with the key {kid}{unrecorded}")];
    if left > 0 {
        text.push("others are still being written: say this again".into());
    }
    if unreadable > 0 {
        text.push(format!("{unreadable} do not open: `countersign store check` names them"));
    }
    let json = json!({
        "kid": kid, "made": made.is_some(), "resealed": resealed, "left": left, "unreadable": unreadable,
    });
    Ok(Report { failed, ..Report::new(text.join("; "), json) })
}

/// How many live records one of these keys has sealed.
pub(in crate::cli) fn count(config: &Config, kids: &[String]) -> Result<u64, Failure> {
    let (now, mut count) = (now().secs(), 0);
    Records::of(config).each(|record| {
        let is_theirs = || sealed_with(&record.value).is_some_and(|kid| kids.contains(&kid));
        count += u64::from(record.expires_at > now && is_theirs());
    })?;
    Ok(count)
}

/// The sealing keys in that state.
fn kids(config: &Config, state: State) -> Result<Vec<String>, Failure> {
    let ring = Ring::of(config).map_err(Failure::usage)?;
    let keys = ring.keys().iter().filter(|key| key.role() == Role::Seal && key.state() == state);
    Ok(keys.map(Key::kid_text).collect())
}

/// Goes through all records once.
fn pass(records: &mut Records<'_>, kid: &str, progress: &Progress, done: &mut Done) -> Result<(), Failure> {
    let (mut seen, mut found, mut unreadable) = (0, 0, 0);
    let mut after: Option<String> = None;
    loop {
        let page = records.reseal(after.as_deref())?;
        if page["kid"] != kid {
            return Err(Failure::new(format_args!(
                "the host seals with the key {}, and the key file says {kid}: run `countersign reload`, then this again",
                page["kid"].as_str().unwrap_or("?")
            )));
        }
        let number = |name: &str| page[name].as_u64().unwrap_or(0);
        seen += number("seen");
        done.resealed += number("resealed");
        found += number("resealed") + number("passed");
        unreadable += number("unreadable");
        let next = page["next"].as_str().map(Into::into);
        progress.show(format_args!("{seen} records seen"));
        after = next;
        if after.is_none() {
            (done.left, done.unreadable) = (found, unreadable);
            return Ok(());
        }
    }
}
