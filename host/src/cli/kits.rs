//! `plugin check`: a library is judged, opened and registered as a host does it, and the conformance kits are run on
//! whatever it registers.
use super::{Check, Failure, Report, check, library::judge, report::plain};
use crate::kernel::{Candidate, hex};
use countersign_plugin_api::{
    Batch, Completion, Found, Keys, Latency, Level, Page, Store, StoreError, Usage,
    conformance::{
        delivery, gate, handler,
        store::{self, Broken},
    },
    kernel::{Collected, LoadError, Loaded, LogSink},
};
use serde_json::{Map, Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a host asks and this command does not.
const RELAXED: [&str; 3] =
    ["where the library lies and who may write there", "its SHA-256", "whether it is for development only"];

pub(super) fn run(config: Option<&Path>, args: &Check) -> Result<Report, Failure> {
    let shown = args.file.display().to_string();
    let failed = |why: String| Failure::new(format_args!("{shown}: {why}"));
    let candidate = judge(&args.file).map_err(failed)?;
    let about = About::of(&candidate);
    let table = Table::read(config, &about.name, &args.values)?;
    let loaded = candidate.open().map_err(failed)?.in_development(true);
    let collected = table.register(&loaded).map_err(|error| failed(objection(&about.name, &error)))?;
    Ok(report(&about, &sections(&about.name, collected, &table, &loaded)))
}

/// What the library says of itself.
struct About {
    name: String,
    text: String,
    json: Value,
}

impl About {
    fn of(candidate: &Candidate) -> Self {
        let manifest = candidate.manifest();
        let compiler = plain(&manifest.compiler);
        let (name, version, api) = (&manifest.name, &manifest.version, &manifest.api);
        Self {
            name: name.clone(),
            text: format!("{name} {version}, for interface {api}, built by {compiler}"),
            json: json!({ "name": name, "version": version, "interface": api, "sha256": hex(candidate.sha256()) }),
        }
    }
}

/// The plugin's table, and what relative paths in it are relative to.
struct Table {
    json: Value,
    folder: PathBuf,
}

impl Table {
    fn read(config: Option<&Path>, plugin: &str, values: &[String]) -> Result<Self, Failure> {
        let (mut json, folder) = match config {
            Some(file) => {
                let config = check::settings(file)?;
                let table = serde_json::from_str(&config.plugin_table(plugin)?).map_err(Failure::new)?;
                (table, config.folder().to_owned())
            }
            None => (Value::Object(Map::new()), std::env::current_dir().map_err(Failure::new)?),
        };
        for value in values {
            let set = set(value).ok_or_else(|| {
                Failure::usage(format_args!("--set {value}: it is KEY=VALUE, such as --set prefix=mail"))
            })?;
            merge(&mut json, set);
        }
        Ok(Self { json, folder })
    }

    fn register(&self, loaded: &Loaded) -> Result<Collected, LoadError> {
        loaded.register(&self.json.to_string(), &self.folder, LogSink::new(log))
    }

    fn is_volatile(&self) -> bool {
        self.json["volatile"] == true
    }
}

/// An objection to the table says where that is given; all others speak for themselves.
fn objection(plugin: &str, error: &LoadError) -> String {
    match error {
        LoadError::Config(_) => {
            format!("{error}; the table of `{plugin}` is given with --set KEY=VALUE, or --config FILE")
        }
        other => other.to_string(),
    }
}

/// `a.b=1` as a table; what is no TOML is text.
fn set(text: &str) -> Option<Value> {
    let (key, value) = text.split_once('=')?;
    let key = Some(key.trim()).filter(|key| !key.contains(['[', '#', '\n']))?;
    let quoted = toml::Value::from(value).to_string();
    let table =
        [value, &quoted].into_iter().find_map(|value| format!("{key} = {value}").parse::<toml::Table>().ok());
    table.filter(|table| table.len() == 1).and_then(|table| serde_json::to_value(table).ok())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

/// The plugin's log lines go where people look for a fault, and not into the report.
fn log(level: Level, plugin: &str, message: &str) {
    let level = format!("{level:?}").to_lowercase();
    let _ = writeln!(std::io::stderr(), "{level} {plugin}: {}", plain(message));
}

/// What was run on one thing that the plugin registered.
struct Section {
    of: String,
    clauses: Vec<(&'static str, Outcome)>,
}

enum Outcome {
    Holds,
    Broken(Broken),
    /// It needs what only the plugin's own tests have.
    NotAsked(&'static str),
}

impl From<Result<(), Broken>> for Outcome {
    fn from(outcome: Result<(), Broken>) -> Self {
        outcome.map_or_else(Self::Broken, |()| Self::Holds)
    }
}

fn sections(plugin: &str, collected: Collected, table: &Table, loaded: &Loaded) -> Vec<Section> {
    let Collected { stores, deliveries, routes, operations, gates, .. } = collected;
    let mut sections = Vec::new();
    for (name, store) in stores {
        sections.push(of_store(&name, store, table, loaded));
    }
    for (name, delivery) in deliveries {
        let mut clauses: Vec<_> =
            delivery::CLAUSES.iter().map(|(clause, run)| (*clause, run(&delivery).into())).collect();
        let wants = "it wants a next hop that tells what arrived";
        clauses.push(("messages_arrive_once_and_whole", Outcome::NotAsked(wants)));
        clauses.push(("silence_is_given_up", Outcome::NotAsked("it wants a next hop that never answers")));
        sections.push(Section { of: format!("delivery {name}"), clauses });
    }
    let routes = routes.into_iter().map(|(route, asked)| {
        let (method, path) = (route.method.into_owned(), route.path.into_owned());
        (format!("route {method} /api/auth/{plugin}{path}"), handler::Asked::new(&method, &path, asked))
    });
    let operations = operations.into_iter().map(|(name, asked)| {
        (format!("operation {plugin}.{name}"), handler::Asked::new("POST", &format!("/{name}"), asked))
    });
    for (of, asked) in routes.chain(operations) {
        let clauses = handler::CLAUSES.iter().map(|(clause, run)| (*clause, run(&asked).into())).collect();
        sections.push(Section { of, clauses });
    }
    for (record, gate) in gates {
        let asked = gate::Asked::new(&record, gate);
        let clauses = gate::CLAUSES.iter().map(|(clause, run)| (*clause, run(&asked).into())).collect();
        sections.push(Section { of: format!("gate on the record `{record}`"), clauses });
    }
    sections
}

fn of_store(name: &str, store: Arc<dyn Store>, table: &Table, loaded: &Loaded) -> Section {
    let mut clauses: Vec<_> =
        store::CLAUSES.iter().map(|(clause, run)| (*clause, run(&store).into())).collect();
    clauses.push(("full_only_when_it_grows", Outcome::NotAsked("it wants an empty store of known size")));
    // The next one opens it again.
    drop(store);
    let survives = if table.is_volatile() {
        Outcome::NotAsked("the table says `volatile = true`")
    } else {
        let open = || {
            let stores = table.register(loaded).map(|collected| collected.stores).unwrap_or_default();
            let again = stores.into_iter().find(|(other, _)| other == name);
            again.map_or_else(|| Arc::new(Gone) as Arc<dyn Store>, |(_, store)| store)
        };
        store::acknowledged_writes_survive_reopening(&open).into()
    };
    clauses.push(("acknowledged_writes_survive_reopening", survives));
    Section { of: format!("store {name}"), clauses }
}

/// In place of a store that could not be opened again: the clause says what it sees.
struct Gone;

impl Store for Gone {
    fn latency(&self) -> Latency {
        Latency::Quick
    }
    fn get(&self, _: &Keys<'_>, _: &mut Found) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    fn apply(&self, _: Batch, done: Completion) {
        done.finish(Err(StoreError::Unavailable));
    }
    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: usize, _: &mut Page) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        Err(StoreError::Unavailable)
    }
}

fn report(about: &About, sections: &[Section]) -> Report {
    let mut lines = vec![about.text.clone()];
    let (mut held, mut broken, mut left) = (0, 0, 0);
    for Section { of, clauses } in sections {
        lines.extend([String::new(), of.clone()]);
        for (clause, outcome) in clauses {
            lines.push(match outcome {
                Outcome::Holds => {
                    held += 1;
                    format!("  ok      {clause}")
                }
                Outcome::Broken(why) => {
                    broken += 1;
                    format!("  BROKEN  {clause}: expected {}; saw {}", plain(&why.expected), plain(&why.seen))
                }
                Outcome::NotAsked(why) => {
                    left += 1;
                    format!("  -       {clause}: not asked, {why}")
                }
            });
        }
    }
    if sections.is_empty() {
        lines.push("\nit registers nothing".into());
    }
    lines.push(format!("\nNot looked at: {}", RELAXED.join("; ")));
    lines.push(format!("{held} clauses hold, {broken} are broken, {left} were not asked"));
    let json_of = |(clause, outcome): &(&str, Outcome)| match outcome {
        Outcome::Holds => json!({ "clause": clause, "holds": true }),
        Outcome::Broken(why) => {
            json!({ "clause": clause, "holds": false, "expected": why.expected, "seen": why.seen })
        }
        Outcome::NotAsked(why) => json!({ "clause": clause, "holds": null, "not_asked": why }),
    };
    let registered: Vec<_> = sections
        .iter()
        .map(|section| {
            let clauses: Vec<_> = section.clauses.iter().map(json_of).collect();
            json!({ "of": section.of, "clauses": clauses })
        })
        .collect();
    let json = json!({
        "plugin": about.json,
        "registered": registered,
        "not_looked_at": RELAXED,
        "holds": held, "broken": broken, "not_asked": left,
    });
    Report { failed: broken > 0 || sections.is_empty(), ..Report::new(lines.join("\n"), json) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_or_text() {
        for (text, expected) in [
            ("prefix=mail", json!({ "prefix": "mail" })),
            ("prefix=\"mail\"", json!({ "prefix": "mail" })),
            ("path=/tmp/a b", json!({ "path": "/tmp/a b" })),
            ("url=http://127.0.0.1:1/?a=b", json!({ "url": "http://127.0.0.1:1/?a=b" })),
            ("max_records = 5", json!({ "max_records": 5 })),
            ("volatile=true", json!({ "volatile": true })),
            ("totp.skew_steps=1", json!({ "totp": { "skew_steps": 1 } })),
            ("roles=[\"a\", \"b\"]", json!({ "roles": ["a", "b"] })),
            ("prefix=", json!({ "prefix": "" })),
            ("prefix=a\nb = 1", json!({ "prefix": "a\nb = 1" })),
        ] {
            assert_eq!(set(text), Some(expected), "{text}");
        }
        for wrong in ["", "prefix", "=1", "[a]\nb=1"] {
            assert_eq!(set(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_later_value_wins_and_leaves_the_others() {
        let mut table = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        merge(&mut table, json!({ "a": { "b": 5 }, "e": 4 }));
        assert_eq!(table, json!({ "a": { "b": 5, "c": 2 }, "d": 3, "e": 4 }));
    }

    #[test]
    fn what_is_broken_fails_and_what_was_not_asked_is_said() {
        let about = About { name: "x".into(), text: "x 1".into(), json: json!({ "name": "x" }) };
        let broken = Broken { clause: "b", expected: "one".into(), seen: "two\u{1b}".into() };
        let clauses =
            |outcome| vec![("a", Outcome::Holds), ("b", outcome), ("c", Outcome::NotAsked("later"))];
        let with = |outcome| report(&about, &[Section { of: "store x".into(), clauses: clauses(outcome) }]);
        let bad = with(Outcome::Broken(broken));
        assert!(
            bad.failed && bad.text.contains("  BROKEN  b: expected one; saw two\u{fffd}"),
            "{}",
            bad.text
        );
        assert_eq!(bad.json["registered"][0]["clauses"][1]["holds"], false);
        assert_eq!(bad.json["registered"][0]["clauses"][2]["holds"], Value::Null);
        assert!(bad.text.ends_with("1 clauses hold, 1 are broken, 1 were not asked"), "{}", bad.text);
        assert!(!with(Outcome::Holds).failed);
        assert!(report(&about, &[]).failed, "nothing registered is nothing shown");
    }
}
