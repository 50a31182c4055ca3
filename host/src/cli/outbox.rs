//! `outbox`: mails that wait to be sent.
use super::{Failure, Report, administration::Outbox, check, host::Reach, report::table, user::text};
use crate::control::Operation;
use serde_json::Value;
use std::path::Path;

pub(super) fn run(file: &Path, command: &Outbox) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    let mut reach = Reach::new(&config);
    match command {
        Outbox::List => {
            let done = reach.perform(Operation::Outbox)?;
            let messages = done["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            let row = |message: &Value| {
                let next =
                    if message["sending"] == true { "now".into() } else { text(message, "next_try_at") };
                let tries = message["tries"].to_string();
                let keys = ["id", "mail", "to", "queued_at"].map(|key| text(message, key));
                let [id, mail, to, queued] = keys;
                [id, mail, to, queued, tries, next, text(message, "expires_at"), text(message, "last_error")]
            };
            let rows: Vec<[String; 8]> = messages.iter().map(row).collect();
            let headings = ["ID", "MAIL", "TO", "QUEUED", "TRIES", "NEXT", "EXPIRES", "LAST ERROR"];
            let shown = if rows.is_empty() { "no mail waits".to_owned() } else { table(headings, &rows) };
            Ok(Report::new(shown, done))
        }
        Outbox::Retry { id, .. } => {
            let mut done = reach.perform(Operation::OutboxRetry { id: id.clone() })?;
            let count = done["retried"].as_array().map_or(0, Vec::len);
            let mails = if count == 1 { "1 mail is" } else { &format!("{count} mails are") };
            let when = match (count, reach.host_runs()) {
                (0, _) | (_, true) => "tried now",
                (_, false) => "tried as soon as a host runs, and none runs now",
            };
            done["host_runs"] = reach.host_runs().into();
            Ok(Report::new(format!("{mails} {when}"), done))
        }
    }
}
