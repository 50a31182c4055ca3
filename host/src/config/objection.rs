//! What a plugin objects to in its table, put where the user can see it.
use super::{
    Config, Problem,
    plugin_tables::TableName,
    read::{join, unknown_key},
    seed,
    source::Place,
    tree::{Entry, Node, Value, find},
};

impl Config {
    /// What a plugin objects to in its table, at the place of it. `path` is as serde_path_to_error writes it
    /// (`totp.skew_steps`, `list[0].url`; `.` is the table), and the message may be serde's.
    pub fn plugin_problem(&self, plugin: &str, path: &str, message: &str) -> Problem {
        if let Some(variable) = seed::variable_of(plugin, path, self.env) {
            return Problem::of_file(&self.file, Some(variable), &format!("{message} (in the environment)"));
        }
        // A check of the table as a whole may be about a value that only the environment has.
        let message = &match seed::mentioned_in(plugin, message, self.env) {
            Some(variable) => format!("{message} (`{variable}` in the environment sets one of them)"),
            None => message.to_owned(),
        };
        let name = TableName::of(plugin);
        let Some(entry) = self.plugin_entry(name) else {
            let (path, message) = missing(&name.path(), message).unwrap_or((name.path(), message.into()));
            return self.at((0..0).into(), &path, &message);
        };
        let message = &self.without_secrets(&entry.node, message);
        let spot = Spot::of(entry, name.path()).follow(path);
        if let Some((key, known)) = unknown(message) {
            let spot = spot.child(key).unwrap_or(spot);
            return self.at(spot.key_at, &spot.path, &unknown_key(key, &known));
        }
        if let Some((path, message)) = missing(&spot.path, message) {
            return self.at(spot.at(), &path, &message);
        }
        // A check of the table as a whole may begin with the key that it is about.
        if let Some((first, rest)) = message.split_once(' ')
            && let Some(about) = spot.exactly(first.trim_matches(['`', ':']))
        {
            return self.at(about.at(), &about.path, rest);
        }
        self.at(spot.at(), &spot.path, message)
    }

    /// serde repeats the value that it refuses, and the value may be what `{ env = … }` points to.
    fn without_secrets(&self, node: &Node, message: &str) -> String {
        if let Some(resolved) = self.resolve(node) {
            let secret = resolved.unwrap_or_default();
            let quoted = format!("{secret:?}");
            let escaped = quoted.trim_matches('"');
            if secret.is_empty() || !(message.contains(&secret) || message.contains(escaped)) {
                return message.to_owned();
            }
            return message.replace(&secret, "…").replace(escaped, "…");
        }
        match &node.value {
            Value::List(nodes) => {
                nodes.iter().fold(message.into(), |m: String, n| self.without_secrets(n, &m))
            }
            Value::Table(entries) => {
                entries.iter().fold(message.into(), |m: String, e| self.without_secrets(&e.node, &m))
            }
            _ => message.to_owned(),
        }
    }
}

/// A value, and the keys that led to it.
#[derive(Clone)]
struct Spot<'a> {
    path: String,
    key_at: Place,
    node: &'a Node,
}

impl<'a> Spot<'a> {
    fn of(entry: &'a Entry, path: String) -> Self {
        Self { path, key_at: entry.key_at, node: &entry.node }
    }
    fn child(&self, key: &str) -> Option<Self> {
        let entry = find(self.node.entries()?, key)?;
        Some(Self::of(entry, join(&self.path, key)))
    }
    fn item(&self, at: usize) -> Option<Self> {
        let Value::List(nodes) = &self.node.value else { return None };
        let node = nodes.get(at)?;
        Some(Self { path: format!("{}[{at}]", self.path), key_at: node.at, node })
    }
    fn step(&self, step: &Step<'_>) -> Option<Self> {
        match step {
            Step::Key(key) => self.child(key),
            Step::Item(at) => self.item(*at),
        }
    }
    /// As far along the path as the file goes.
    fn follow(self, path: &str) -> Self {
        let walk = steps(path).iter().try_fold(self, |spot, step| spot.step(step).ok_or(spot));
        walk.unwrap_or_else(|last| last)
    }
    /// What lies at the end of the path, if the file goes there.
    fn exactly(&self, path: &str) -> Option<Self> {
        let steps = steps(path);
        steps.iter().try_fold(self.clone(), |spot, step| spot.step(step)).filter(|_| !steps.is_empty())
    }
    /// The value; of a table its name, because the rest may be the whole screen.
    fn at(&self) -> Place {
        if self.node.entries().is_some() { self.key_at } else { self.node.at }
    }
}

enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let parts = path.split(['.', '[']).filter(|part| !part.is_empty());
    let step = |part| match str::strip_suffix(part, ']').and_then(|at| at.parse().ok()) {
        Some(at) => Step::Item(at),
        None => Step::Key(part),
    };
    parts.map(step).collect()
}

/// serde's "unknown field `x`, expected one of `a`, `b`": the key, and the known ones.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let (key, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((key, rest.split('`').skip(1).step_by(2).collect()))
}

/// serde's "missing field `x`": the path of the key, and our sentence.
fn missing(table: &str, message: &str) -> Option<(String, String)> {
    let key = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some((join(table, key), format!("is missing from [{table}]")))
}
