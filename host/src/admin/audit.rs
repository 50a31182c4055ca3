//! The record of what happened, in pages.
use super::{cursor, find, place};
use crate::kernel::{AuditRecord, Call, audit};
use countersign_plugin_api::{Refusal, Time};
use serde_json::{Value, json};

/// How many events one answer holds.
const PAGE: usize = 100;
/// How many rows are looked at in one go when most are of other accounts, and how often, before an answer is
/// given with what was found.
const ROWS: usize = 500;
const ROUNDS: usize = 10;

/// Which events.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    /// Those after the event of this `id`, or after a page with this `next`.
    pub(crate) after: Option<&'a str>,
    /// Those from this instant on.
    pub(crate) since: Option<Time>,
    /// Those that concern this account, or that it caused.
    pub(crate) account: Option<&'a str>,
}

/// A page of events, oldest first. One that is short, or empty, has a `next` as long as there are events that
/// were not looked at.
pub(crate) fn page(call: &Call<'_>, wanted: &Wanted<'_>) -> Result<Value, Refusal> {
    // An account that is gone is still known to the record by its id.
    let account = match wanted.account {
        Some(named) if named.contains('@') => Some(find(call, named)?.id),
        named => named.map(Into::into),
    };
    let concerns = |record: &AuditRecord| {
        account.as_ref().is_none_or(|account| record.subject == *account || record.actor == *account)
    };
    let since = wanted.since.map(audit::since);
    let mut after = place(wanted.after, audit::is_name)?.max(since);
    let look_at = if account.is_some() { ROWS } else { PAGE };
    let mut events = Vec::new();
    for _ in 0..ROUNDS {
        let rows = audit::page(call, after.as_deref(), look_at)?;
        for (name, record) in rows.records.iter().filter(|(_, record)| concerns(record)) {
            events.push(event(name, record));
            if events.len() == PAGE {
                return Ok(json!({ "events": events, "next": cursor(name) }));
            }
        }
        after = rows.next;
        if after.is_none() {
            break;
        }
    }
    Ok(json!({ "events": events, "next": after.map(cursor) }))
}

fn event(name: &[u8], record: &AuditRecord) -> Value {
    json!({
        "id": cursor(name),
        "at": Time::from_secs(record.at).to_string(),
        "event": record.event,
        "success": record.success,
        "subject": record.subject,
        "actor": record.actor,
        "session": record.session,
        "peer": record.peer,
        "request": record.request,
        "fields": record.fields,
    })
}
