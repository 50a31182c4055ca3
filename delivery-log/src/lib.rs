//! Prints mail to the host's terminal, code included, as a Countersign plugin. Development only.
//!
//! ```toml
//! [delivery]
//! use = "log"
//! ```
//!
//! It writes to standard error, beside the host's log and not into it: the log never holds a code. A host that
//! was not started with `--dev` refuses it, because whoever reads the terminal can sign in as anybody.
#![forbid(unsafe_code)]

use countersign_plugin_api::{Delivery, Message, Plugin, Registrar, Result, Undelivered, export_plugin};
use serde::Deserialize;
use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

export_plugin!(Config, "delivery-log");

/// The table `[delivery.log]`, which has nothing to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Plugin for Config {
    const DEVELOPMENT_ONLY: bool = true;

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        kernel.delivery("log", Printer(Mutex::new(io::stderr())))
    }
}

struct Printer<W>(Mutex<W>);

impl<W: Write + Send + 'static> Delivery for Printer<W> {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once, so that no log line stands in between; and no eprintln, which panics when nobody reads.
        let written = out.write_all(shown(message).as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Undelivered::Later(format!("standard error cannot be written: {error}")))
    }

    fn probe(&self) -> Result<(), Undelivered> {
        Ok(())
    }
}

/// A message as a person reads it. A recipient or a text may hold the sequences that drive a terminal, which are
/// shown and not obeyed.
fn shown(message: &Message<'_>) -> String {
    let mut shown = String::from("\n┌─ mail\n");
    let lines = [("To", message.to), ("Subject", message.subject), ("Message", message.id)];
    for (name, value) in lines {
        let _ = writeln!(shown, "│ {name}: {}", visible(value));
    }
    let _ = writeln!(shown, "│ Useless after: {}\n│", message.expires_at);
    for line in message.text.expose().lines() {
        let _ = writeln!(shown, "│ {}", visible(line));
    }
    shown.push_str("└─\n");
    shown
}

fn visible(text: &str) -> String {
    let spelled = |letter: char| match letter {
        '\t' => "\t".into(),
        letter if letter.is_control() => letter.escape_unicode().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_plugin_api::{Secret, Time, conformance::delivery};

    fn message(text: &str) -> Message<'_> {
        Message {
            id: "m-1",
            to: "ada@example.org",
            subject: "Your code",
            text: Secret::new(text),
            html: None,
            expires_at: Time::EPOCH,
        }
    }

    #[test]
    fn the_text_stands_there_line_by_line() {
        let shown = shown(&message("Your code is\n\n123456\n"));
        assert!(shown.contains("│ To: ada@example.org\n│ Subject: Your code\n"), "{shown}");
        assert!(shown.contains("after: 1970-01-01T00:00:00Z"), "{shown}");
        assert!(shown.lines().any(|line| line == "│ 123456"), "{shown}");
    }

    #[test]
    fn a_terminal_is_not_driven_from_afar() {
        assert_eq!(visible("\u{1b}]0;owned\u{7}\u{9b}2J\tß"), "\\u{1b}]0;owned\\u{7}\\u{9b}2J\tß");
    }

    #[test]
    fn it_keeps_every_clause() {
        let printer = Printer(Mutex::new(Vec::new()));
        assert_eq!(delivery::check_all(&delivery::across(printer)), Ok(()));
    }

    #[test]
    fn a_terminal_that_is_gone_is_no_panic() {
        let full =
            std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
        let outcome = Printer(Mutex::new(full)).send(&message("123456"));
        let Err(Undelivered::Later(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(!reason.contains("123456"), "{reason}");
    }
}
