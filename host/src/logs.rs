//! One line for each event, on stderr: JSON for machines, plain text for a terminal.
//!
//! Whatever an event carries, it is one line and moves no cursor: every control character is escaped, in JSON
//! those beyond ASCII too.
mod members;

use crate::{
    config::{LogConfig, LogFormat as Format},
    http::RequestId,
    metrics::LOG_LINES,
};
use countersign_plugin_api::Time;
use members::{Members, escape, steers};
use serde_json::{Map, Value};
use std::{
    fmt::{self, Write as _},
    io::{IsTerminal, Write as _},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, SubscriberExt},
    reload,
};

/// The filter that a reload of the configuration changes; none where something else has said what is logged.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// What a text like `info,countersign::http=warn` says is logged; the error is a sentence about it.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| {
        format!("`{text}` must say what to log, like \"info\" or \"info,countersign::http=warn\": {error}")
    })
}

/// The same, where the file is to say it for good: with a level for whatever is not named. Without one nothing else is
/// logged, as after a slip such as `verbose`, which is a part's name as well as any.
pub(crate) fn lasting(text: &str) -> Result<(), String> {
    filter(text)?;
    let has_level = text.split(',').any(|part| {
        let part = part.trim();
        !part.is_empty() && part.parse::<LevelFilter>().is_ok()
    });
    let missing =
        || format!("`{text}` names no level, so nothing but its parts is logged: begin with \"info,\"");
    has_level.then_some(()).ok_or_else(missing)
}

/// Sends events to stderr from here on, and panics to the events. The command line wins over the environment, and that
/// over the configuration.
pub(crate) fn start(format: Option<Format>, level: Option<&str>, config: &LogConfig) -> Result<(), String> {
    let variable = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let said = level.map(|text| ("--log-level", text)).or(variable.as_deref().map(|text| ("RUST_LOG", text)));
    let wanted = match said {
        Some((place, text)) => filter(text).map_err(|why| format!("{place}: {why}"))?,
        None => filter(&config.level)?,
    };
    let (wanted, handle) = reload::Layer::new(wanted);
    let terminal = std::io::stderr().is_terminal();
    let format = format.or(config.format).unwrap_or(if terminal { Format::Pretty } else { Format::Json });
    let subscriber =
        tracing_subscriber::registry().with(Lines { format, write: to_stderr }.with_filter(wanted));
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    // A message that was formatted may hold a secret; a literal cannot.
    std::panic::set_hook(Box::new(|info| {
        let literal = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "countersign::panic", place, "panic: {literal}");
    }));
    if said.is_none() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Logs what the configuration says now, unless the command line or the environment have said it.
pub(crate) fn follow(config: &LogConfig) {
    if let Some(handle) = FILTER.get()
        && let Ok(wanted) = filter(&config.level)
    {
        let _ = handle.reload(wanted);
    }
}

struct Lines<W> {
    format: Format,
    /// Takes a whole line.
    write: W,
}

fn to_stderr(line: &str) {
    // In one piece, so that lines of several threads do not mix. Where nobody reads there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// What an event carries, for people: in the order of the names.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// The name of the request in whose course an event happens.
const REQUEST: &str = "request.id";

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber,
    W: Fn(&str) + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut time = String::with_capacity(32);
        let _ = write!(time, "{}", Time::from_secs(since.as_secs()));
        time.pop();
        let _ = write!(time, ".{:03}Z", since.subsec_millis());
        let (label, level) = match *event.metadata().level() {
            Level::ERROR => ("level=\"error\"", "error"),
            Level::WARN => ("level=\"warn\"", "warn"),
            Level::INFO => ("level=\"info\"", "info"),
            Level::DEBUG => ("level=\"debug\"", "debug"),
            Level::TRACE => ("level=\"trace\"", "trace"),
        };
        LOG_LINES.count(label);
        let mut line = match self.format {
            Format::Json => json(&time, level, event),
            Format::Pretty => pretty(&time, event),
        };
        line.push('\n');
        (self.write)(&line);
    }
}

fn json(time: &str, level: &str, event: &Event<'_>) -> String {
    // Longer than the line of most requests.
    let mut line = String::with_capacity(512);
    for part in ["{\"time\":\"", time, "\",\"level\":\"", level, "\",\"target\":\""] {
        line.push_str(part);
    }
    escape(&mut line, event.metadata().target());
    line.push('"');
    event.record(&mut Members(&mut line));
    if let Some(id) = RequestId::current() {
        let _ = write!(line, ",\"{REQUEST}\":\"{id}\"");
    }
    line.push('}');
    line
}

fn pretty(time: &str, event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    if let Some(id) = RequestId::current() {
        fields.0.insert(REQUEST.into(), id.as_str().into());
    }
    event.record(&mut fields);
    let message = match fields.0.remove("message") {
        Some(Value::String(message)) => message,
        _ => String::new(),
    };
    let clean = |text: &str| {
        let escaped = |c: char| if steers(c) { c.escape_default().to_string() } else { c.into() };
        text.chars().map(escaped).collect::<String>()
    };
    let (level, target) = (event.metadata().level().as_str(), event.metadata().target());
    let mut line = format!("{time} {level:<5} {target}: {}", clean(&message));
    for (name, value) in &fields.0 {
        let text = match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
                clean(&format!("{text:?}"))
            }
            Value::String(text) => clean(text),
            other => other.to_string(),
        };
        let _ = write!(line, " {}={text}", clean(name));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// What `work` logs, in either form.
    fn lines(work: impl Fn()) -> (String, String) {
        let logged = |format| {
            let kept = Arc::new(Mutex::new(String::new()));
            let write = {
                let kept = kept.clone();
                move |line: &str| kept.lock().push_str(line)
            };
            let subscriber = tracing_subscriber::registry().with(Lines { format, write });
            tracing::subscriber::with_default(subscriber, &work);
            std::mem::take(&mut *kept.lock())
        };
        (logged(Format::Json), logged(Format::Pretty))
    }

    #[test]
    fn whatever_an_event_carries_it_is_one_line_that_steers_nothing() {
        let hostile = "a\r\n{\"level\":\"error\"}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\0é";
        let (json, pretty) =
            lines(|| tracing::warn!(target: "t", text = hostile, debug = ?hostile, "{hostile}"));
        for text in [&json, &pretty] {
            let line = text.strip_suffix('\n').expect("a whole line");
            assert!(!line.chars().any(|c| c.is_control() || "\u{202e}\u{2028}".contains(c)), "{line:?}");
            assert!(line.contains('é'), "{line}");
        }
        let read: Value = serde_json::from_str(&json).expect("one object");
        assert_eq!(
            (&read["message"], &read["text"], &read["level"]),
            (&hostile.into(), &hostile.into(), &"warn".into())
        );
    }

    #[test]
    fn a_field_does_not_pass_for_the_line_itself() {
        let (json, pretty) =
            lines(|| tracing::info!(target: "real", level = "error", time = 1, target = "forged", "m"));
        let read: Value = serde_json::from_str(&json).expect("one object");
        assert_eq!((&read["level"], &read["target"]), (&"info".into(), &"real".into()));
        assert!(read["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
        assert!(pretty.ends_with(" INFO  real: m level=error target=forged time=1\n"), "{pretty}");
    }

    #[test]
    fn what_is_logged_is_a_level_and_others_for_parts() {
        for text in ["info", "warn,countersign::http=info", "off", "countersign=debug"] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["info,countersign::http=loud", "a=b=c"] {
            assert!(filter(text).is_err_and(|why| why.contains(text)), "{text}");
        }
        for (text, is_lasting) in [
            ("info", true),
            ("OFF", true),
            ("countersign::http=warn, debug", true),
            ("verbose", false),
            ("countersign=debug", false),
            ("countersign=debug,", false),
            ("info,a=b=c", false),
        ] {
            assert_eq!(lasting(text).is_ok(), is_lasting, "{text}");
        }
    }

    #[test]
    fn an_event_names_the_request_in_whose_course_it_happens() {
        let id = RequestId::next();
        let (json, pretty) = lines(|| {
            let failing = async { tracing::error!(target: "t", "it failed") };
            tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime")
                .block_on(id.named_in(failing));
        });
        let read: Value = serde_json::from_str(&json).expect("one object");
        assert_eq!((&read[REQUEST], &read["message"]), (&id.as_str().into(), &"it failed".into()));
        assert!(pretty.contains(&format!("it failed request.id={id}")), "{pretty}");
        let (json, pretty) = lines(|| tracing::error!(target: "t", "it failed"));
        assert!(!json.contains(REQUEST) && !pretty.contains(REQUEST), "{json} {pretty}");
    }
}
