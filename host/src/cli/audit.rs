//! `audit tail`: what happened.
use super::{
    Failure,
    administration::Tail,
    check,
    host::{Reach, running},
    keys::now,
    report::plain,
    user::text,
    when,
};
use crate::{config::Config, control::Operation};
use countersign_plugin_api::Time;
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
    path::Path,
    thread::sleep,
    time::Duration,
};

/// How many events are shown when nothing is said.
const LINES: usize = 20;
/// How far back the last events are looked for, in seconds, before all of the record is read for them.
const LOOK_BACK: [u64; 3] = [60, 3_600, 86_400];
/// How often something new is looked for.
const EVERY: Duration = Duration::from_millis(300);
/// An event is dated when its call starts, and there to be read when its write is durable: so many seconds later
/// at the most, and by then others of a later date may have been read.
const LATE: u64 = 5;

pub(super) fn run(file: &Path, tail: &Tail, json: bool) -> Result<(), Failure> {
    let config = check::settings(file)?;
    let since = tail.since.as_deref().map(|text| when::parse(text, now())).transpose();
    let since = since.map_err(Failure::usage)?;
    let mut record = Record { config: &config, reach: Reach::new(&config), tail };

    let mut printer = Printer { json, seen: HashMap::new(), newest: since.unwrap_or(Time::EPOCH) };
    match tail.lines.or(if since.is_some() { None } else { Some(LINES) }) {
        None => record.read(since, &mut |event| printer.print(&event))?,
        Some(lines) => {
            let back = LOOK_BACK.map(|secs| Some(Time::from_secs(now().secs().saturating_sub(secs))));
            let starts = back.into_iter().filter(|_| since.is_none()).chain([since]);
            let mut last = VecDeque::new();
            for start in starts {
                last.clear();
                record.read(start, &mut |event| {
                    last.push_back(event);
                    last.drain(..last.len().saturating_sub(lines));
                    Ok(())
                })?;
                if last.len() == lines {
                    break;
                }
            }
            last.iter().try_for_each(|event| printer.print(event))?;
        }
    }
    if !tail.follow {
        return Ok(());
    }
    loop {
        sleep(EVERY);
        let from = printer.forget_the_old();
        record.read(Some(from), &mut |event| printer.print(&event))?;
    }
}

/// The record of a host.
struct Record<'c> {
    config: &'c Config,
    reach: Reach<'c>,
    tail: &'c Tail,
}

impl Record<'_> {
    /// All events since then that are asked for, oldest first.
    fn read(
        &mut self,
        since: Option<Time>,
        each: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let mut page = self.page(after, since)?;
            if let Value::Array(events) = page["events"].take() {
                let wanted = |event: &Value| is_named(event, self.tail.event.as_deref());
                events.into_iter().filter(wanted).try_for_each(&mut *each)?;
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn page(&mut self, after: Option<String>, since: Option<Time>) -> Result<Value, Failure> {
        let account = self.tail.account.clone();
        let operation = Operation::Audit { after, since: since.map(Time::secs), account };
        if !self.tail.follow {
            return self.reach.perform(operation);
        }
        let alone = || Failure::new("no host runs, and without one nothing more happens");
        Ok(running(self.config, &operation)?.ok_or_else(alone)??)
    }
}

/// Whether an event has that name, or one that begins with it and a dot.
fn is_named(event: &Value, name: Option<&str>) -> bool {
    let is = event["event"].as_str().unwrap_or_default();
    name.is_none_or(|name| is.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Prints each event once.
struct Printer {
    json: bool,
    /// By id, and from when; those that may be read again.
    seen: HashMap<String, Time>,
    newest: Time,
}

impl Printer {
    fn print(&mut self, event: &Value) -> Result<(), Failure> {
        let at = event["at"].as_str().and_then(|at| when::parse(at, Time::EPOCH).ok()).unwrap_or(self.newest);
        self.newest = self.newest.max(at);
        if self.seen.insert(text(event, "id"), at).is_some() {
            return Ok(());
        }
        if self.seen.len() > 10_000 {
            self.forget_the_old();
        }
        let line = if self.json { event.to_string() } else { line(event) };
        match writeln!(io::stdout(), "{line}") {
            // The reader has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.map_err(|error| Failure::new(format_args!("stdout: {error}"))),
        }
    }

    /// From when on to read again.
    fn forget_the_old(&mut self) -> Time {
        let from = Time::from_secs(self.newest.secs().saturating_sub(LATE));
        self.seen.retain(|_, at| *at >= from);
        from
    }
}

/// `2026-11-21T09:30:00Z login.failed (refused) of <account> by <actor> from 192.0.2.1 why="…"`
fn line(event: &Value) -> String {
    let refused = if event["success"] == true { "" } else { "(refused)" };
    let mut words = vec![text(event, "at"), text(event, "event"), refused.to_owned()];
    for (word, key) in [("of", "subject"), ("by", "actor"), ("from", "peer")] {
        let value = text(event, key);
        if !value.is_empty() {
            words.push(format!("{word} {value}"));
        }
    }
    for (key, value) in event["fields"].as_object().into_iter().flatten() {
        let value = plain(value.as_str().unwrap_or_default());
        words.push(format!("{}={value:?}", plain(key)));
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_whatever_strangers_wrote_into_it() {
        let mut event = json!({
            "at": "2026-11-21T09:30:00Z", "event": "mail.failed", "success": false, "subject": "a",
            "actor": "cli", "peer": "", "fields": { "why": "no\r\n2026-11-21T09:30:01Z \u{1b}[2J" },
        });
        let said = line(&event);
        assert!(said.starts_with("2026-11-21T09:30:00Z mail.failed (refused) of a by cli why="), "{said}");
        assert!(!said.contains(['\n', '\r', '\u{1b}']), "{said}");
        event["success"] = true.into();
        assert!(!line(&event).contains("refused"));
    }

    #[test]
    fn events_are_chosen_by_name_or_by_its_beginning() {
        let event = json!({ "event": "mfa.totp.refused" });
        for (name, chosen) in [
            (None, true),
            (Some("mfa"), true),
            (Some("mfa.totp"), true),
            (Some("mfa.totp.refused"), true),
            (Some("mfa.tot"), false),
            (Some("totp"), false),
        ] {
            assert_eq!(is_named(&event, name), chosen, "{name:?}");
        }
    }

    #[test]
    fn an_event_that_is_read_again_is_printed_once() {
        let mut printer = Printer { json: true, seen: HashMap::new(), newest: Time::EPOCH };
        let event = |id: &str, at: u64| json!({ "id": id, "at": Time::from_secs(at).to_string() });
        for (id, at) in [("a", 100), ("b", 104), ("a", 100), ("c", 103)] {
            printer.print(&event(id, at)).unwrap();
        }
        assert_eq!((printer.seen.len(), printer.newest), (3, Time::from_secs(104)));
        assert_eq!(printer.forget_the_old(), Time::from_secs(99));
        printer.print(&event("d", 200)).unwrap();
        assert_eq!(printer.forget_the_old(), Time::from_secs(195));
        assert_eq!(printer.seen.keys().collect::<Vec<_>>(), ["d"]);
    }
}
