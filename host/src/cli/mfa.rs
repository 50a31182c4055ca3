//! `mfa`: second factors.
use super::{Failure, Report, administration::Mfa, check, host::Reach, import, report::table, user::text};
use crate::control::Operation;
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn run(file: &Path, command: Mfa, json: bool) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    let mut reach = Reach::new(&config);
    let (text, done) = match command {
        Mfa::Import { file, quiet } => return import::run(&mut reach, &file, quiet, json),
        Mfa::Status { user } => {
            let shown = reach.perform(Operation::UserShow { user })?;
            let keys = ["user", "mfa", "password_locked_until", "known_browsers_locked_until"];
            let status: Value = keys.into_iter().map(|key| (key.to_owned(), shown[key].clone())).collect();
            return Ok(Report::new(lines(&status), status));
        }
        Mfa::Reset { user } => {
            let done = reach.perform(Operation::MfaReset { user })?;
            (format!("{} has no second factor, and is signed out everywhere", text(&done, "email")), done)
        }
        Mfa::Unlock { user } => {
            let done = reach.perform(Operation::MfaUnlock { user })?;
            (format!("{} can try again", text(&done, "email")), done)
        }
    };
    Ok(Report::new(text, json!({ "user": done })))
}

/// What an account proves itself with, and what is locked.
pub(super) fn lines(shown: &Value) -> String {
    let mfa = &shown["mfa"];
    let mut lines = vec![match (mfa.is_null(), mfa["enabled"] == true) {
        (true, _) => "mfa      no plugin keeps second factors".to_owned(),
        (_, false) => "mfa      off".to_owned(),
        (_, true) => format!("mfa      on; {} recovery codes are left", mfa["recovery_codes_remaining"]),
    }];
    let locks = [
        ("password", &shown["password_locked_until"]),
        ("password in known browsers", &shown["known_browsers_locked_until"]),
        ("mfa", &mfa["locked_until"]),
    ];
    for (what, until) in locks {
        if let Some(until) = until.as_str() {
            lines.push(format!("locked   {what} until {until}"));
        }
    }
    if mfa["stopped"] == true {
        lines.push("locked   mfa until a recovery code, `mfa unlock` or `mfa reset`".to_owned());
    }
    let factors = mfa["factors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !factors.is_empty() {
        let keys = ["kind", "label", "created_at", "last_used_at"];
        let rows: Vec<[String; 4]> = factors.iter().map(|factor| keys.map(|key| text(factor, key))).collect();
        lines.push(table(["FACTOR", "LABEL", "CREATED", "USED"], &rows));
    }
    lines.join("\n")
}
