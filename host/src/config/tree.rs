//! A TOML file as a tree of values that know where they stand.
use super::source::{Place, Source};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

pub(super) enum Value {
    Text(String),
    Whole(i64),
    Float(f64),
    Flag(bool),
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A number beyond 64 bits.
    TooLarge,
}

pub(super) struct Entry {
    pub key: String,
    pub key_at: Place,
    pub node: Node,
}

impl Node {
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Whole(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Flag(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
            Value::TooLarge => "a number that is too large",
        }
    }
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        if let Value::Table(entries) = &self.value { Some(entries) } else { None }
    }
}

pub(super) fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// What of a text is not TOML.
#[derive(Default)]
pub(super) struct Syntax {
    /// At most one a line, in the order of the file.
    pub errors: Vec<SyntaxError>,
    /// Something is never closed, so that what follows it was read as what it is not.
    pub swallowed: bool,
}

pub(super) struct SyntaxError {
    pub at: Place,
    pub message: String,
}

/// The tree of a text, and what of the text is not TOML. The parser goes on after an error, so one look shows
/// every line that needs a hand.
pub(super) fn parse(source: &Source) -> (Vec<Entry>, Syntax) {
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    let end = source.text.len();
    let mut errors: Vec<SyntaxError> = errors
        .iter()
        .map(|error| SyntaxError {
            at: error.span().unwrap_or(end..end).into(),
            message: error.message().trim_end_matches(", expected nothing").to_owned(),
        })
        .collect();
    errors.sort_by_key(|error| error.at.start);
    let any = |error: &SyntaxError, words: &[&str]| words.iter().any(|word| error.message.contains(word));
    let open = ["unclosed array", "unclosed inline table", "multi-line"];
    let swallowed = errors.iter().any(|error| any(error, &open));
    if swallowed {
        let first =
            errors.iter().position(|error| any(error, &open) || any(error, &["missing comma", "in array"]));
        errors.truncate(first.map_or(0, |first| first + 1));
        if let Some(last) = errors.last_mut() {
            last.message.push_str(" (or something that was opened before this is never closed)");
        }
    }
    // One slip can raise several errors on its line; the first names it.
    errors.dedup_by_key(|error| source.line(error.at));
    (entries(root.get_ref()), Syntax { errors, swallowed })
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
        key: String::from(AsRef::<str>::as_ref(key.get_ref())),
        key_at: key.span().into(),
        node: node(value),
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_at.start);
    entries
}

fn node(spanned: &Spanned<DeValue<'_>>) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::TooLarge, Value::Whole)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Value::TooLarge, Value::Float),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(node).collect()),
        DeValue::Table(table) => Value::Table(entries(table)),
    };
    Node { at: spanned.span().into(), value }
}
