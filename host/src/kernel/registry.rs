//! Loading, registering and linking: from the configured files to one frozen table.
use super::{
    kept::{Identity, Kept, OtherStore, Registered},
    loader::{Candidate, hex},
    quarantine::{Quarantine, Watched},
};
use crate::{
    config::{Config, PluginEntry},
    pages::Offered,
};
use countersign_plugin_api::{
    Delivery, Gate, Handler, Level, Route, Store,
    kernel::{Collected, LoadError, Loaded, LogSink},
};
use std::{
    collections::HashMap,
    fmt, io,
    panic::resume_unwind,
    sync::Arc,
    thread::{self, ScopedJoinHandle},
};

/// Names that a plugin cannot have: the host has a table, a path or a view of that name.
const RESERVED: &[&str] = &[
    "host",
    "keys",
    "session",
    "audit",
    "password",
    "metrics",
    "log",
    "store",
    "delivery",
    "plugin",
    "register",
    "login",
    "logout",
    "me",
    "verify",
    "sessions",
    "reauthenticate",
    "email",
    "admin",
    "pages",
];

/// All reasons why a host cannot start, each a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartError(pub Vec<String>);

impl StartError {
    pub(super) fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }
}
impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
impl std::error::Error for StartError {}

/// A plugin that was read, and, if it is in use, loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file, in the plugin folder.
    pub file: String,
    /// The hash of the bytes that were judged.
    pub sha256: String,
    /// The compiler that built it.
    pub compiler: String,
    /// Whether it is opened; a store or delivery that `use` does not name is not.
    pub in_use: bool,
}

/// The frozen table.
pub(super) struct Registry {
    pub(super) store: Arc<dyn Store>,
    pub(super) delivery: Option<Arc<Watched<dyn Delivery>>>,
    /// By path below `/api/auth`, then by method.
    pub(super) routes: HashMap<String, Vec<Mounted>>,
    /// By `<plugin>.<name>`.
    pub(super) operations: HashMap<String, Operation>,
    pub(super) gate: Option<GateEntry>,
    pub(super) pages: Vec<Offered>,
    pub(super) plugins: Vec<PluginInfo>,
    pub(super) kept: Kept,
}

/// A route of a plugin.
pub(crate) struct Mounted {
    pub(crate) plugin: String,
    pub(crate) route: Route,
    pub(crate) handler: Arc<dyn Handler>,
}

/// An operation of a plugin.
pub(super) struct Operation {
    pub(super) plugin: String,
    pub(super) handler: Arc<dyn Handler>,
}

/// The gate, whose plugin it is of, and the record that it reads.
pub(crate) struct GateEntry {
    pub(crate) plugin: String,
    pub(crate) record: String,
    pub(crate) gate: Arc<dyn Gate>,
}

/// How strict to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strictness {
    /// Whether the host serves development alone (`--dev`): a plugin may stand in the configuration without its
    /// hash, and those for development only are accepted.
    pub unpinned: bool,
    /// Whether to start although the store remembers a gate that is not loaded: for the command that makes it
    /// forget.
    pub ungated: bool,
}

/// Whether the host has a table, a path or a view of that name.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Reads and judges all configured plugins without opening any.
pub(super) fn candidates(
    config: &Config,
    strict: Strictness,
) -> Result<Vec<(String, bool, Candidate)>, StartError> {
    let mut problems = StartError::default();
    let mut good: Vec<(String, bool, Candidate)> = Vec::new();
    for (entry, judged) in config.plugins.iter().zip(judged(config)) {
        let file = &entry.file;
        if entry.sha256.is_none() && !strict.unpinned {
            problems.0.push(format!("{file}: it has no sha256; `countersign plugin install` pins it"));
            continue;
        }
        match judged {
            Ok(candidate) => {
                let name = candidate.manifest().name.clone();
                if is_reserved(&name) {
                    problems.0.push(format!("{file}: no plugin can be named `{name}`"));
                } else if let Some((other, ..)) = good.iter().find(|(_, _, c)| c.manifest().name == name) {
                    problems.0.push(format!("{file}: its plugin `{name}` is also in {other}"));
                } else {
                    good.push((file.clone(), entry.required, candidate));
                }
            }
            Err(why) if entry.required => problems.0.push(format!("{file}: {why}")),
            Err(why) => {
                tracing::warn!(target: "countersign::plugins", file, why, "an optional plugin is left out");
            }
        }
    }
    if problems.0.is_empty() { Ok(good) } else { Err(problems) }
}

/// What each of the configured files is found to be. They are judged side by side: one after the other, hashing and
/// copying these megabytes was half of what a start takes.
fn judged(config: &Config) -> Vec<Result<Candidate, String>> {
    let judge =
        |entry: &PluginEntry| Candidate::read(&config.plugin_dir.join(&entry.file), entry.sha256.as_ref());
    thread::scope(|scope| {
        let threads = config.plugins.iter().map(|entry| {
            thread::Builder::new().name("judge".into()).spawn_scoped(scope, move || judge(entry))
        });
        let threads: Vec<_> = threads.collect();
        let judgement = |thread: io::Result<ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(format!("no thread that judges it can be started: {error}")),
        };
        threads.into_iter().map(judgement).collect()
    })
}

/// Whether the configuration makes use of a plugin of that name: `store-NAME` and `delivery-NAME` are in use
/// when `use` names them, all others always.
pub(crate) fn in_use(config: &Config, name: &str) -> bool {
    match (name.strip_prefix("store-"), name.strip_prefix("delivery-")) {
        (Some(store), _) => store == config.store,
        (_, Some(delivery)) => config.delivery.as_deref() == Some(delivery),
        _ => true,
    }
}

/// Loads, registers and links; every problem is reported, not the first alone. What is as it was `before` is taken
/// over from there with all that it has under way.
pub(super) fn assemble(config: &Config, strict: Strictness, before: &Kept) -> Result<Registry, StartError> {
    let mut problems = StartError::default();
    let mut kept = Kept::after(before);
    let mut plugins = Vec::new();
    let mut all: Vec<(String, String, Registered)> = Vec::new();
    for (file, required, candidate) in candidates(config, strict)? {
        let manifest = candidate.manifest().clone();
        let name = manifest.name.clone();
        let used = in_use(config, &name);
        plugins.push(PluginInfo {
            name: name.clone(),
            version: manifest.version.clone(),
            file: file.clone(),
            sha256: hex(candidate.sha256()),
            compiler: manifest.compiler.clone(),
            in_use: used,
        });
        if !used {
            continue;
        }
        let libraries = &kept.libraries;
        let plugin = settings(config, &name).and_then(|table| {
            let identity = Identity::of(*candidate.sha256(), &table, config.folder());
            if let Some(same) =
                before.same(&name, identity).map_err(|other| refused(config, &name, &other))?
            {
                return Ok((same.clone(), true));
            }
            let loaded = libraries.open(candidate).map_err(Failure::Loading)?.in_development(strict.unpinned);
            let collected = register(config, &name, loaded, &table)?;
            Ok((Registered { identity, collected, quarantine: Quarantine::new(&name) }, false))
        });
        match plugin {
            Ok((plugin, unchanged)) => {
                let collected = &plugin.collected;
                let needed = !collected.gates.is_empty() || !collected.stores.is_empty();
                if needed && !required {
                    problems.0.push(format!(
                        "{file}: `required = false` is not for a plugin that gates logins or stores"
                    ));
                }
                if !unchanged {
                    tracing::info!(
                        target: "countersign::plugins",
                        plugin = name, version = manifest.version, stores = collected.stores.len(),
                        deliveries = collected.deliveries.len(), routes = collected.routes.len(),
                        gates = collected.gates.len(), "registered"
                    );
                }
                kept.keep(&name, plugin.clone(), &config.store);
                all.push((file, name, plugin));
            }
            Err(why) if required => problems.0.push(why.sentence(&file)),
            Err(why) => {
                let why = why.sentence(&file);
                tracing::warn!(target: "countersign::plugins", why, "an optional plugin is left out");
            }
        }
    }
    link(config, all, plugins, kept, problems)
}

enum Failure {
    Loading(String),
    Config(String),
}

impl Failure {
    fn sentence(self, file: &str) -> String {
        match self {
            Self::Loading(why) => format!("{file}: {why}"),
            // Already names the configuration file, the line and the key.
            Self::Config(why) => why,
        }
    }
}

/// The plugin's table, as the plugin gets it.
fn settings(config: &Config, name: &str) -> Result<String, Failure> {
    config.plugin_table(name).map_err(|problems| Failure::Config(problems.to_string()))
}

fn register(config: &Config, name: &str, loaded: Loaded, table: &str) -> Result<Collected, Failure> {
    loaded.register(table, config.folder(), LogSink::new(log)).map_err(|error| failed(config, name, error))
}

/// A reload would put another store in place of the one that serves.
fn refused(config: &Config, name: &str, other: &OtherStore) -> Failure {
    match other {
        OtherStore::Library => Failure::Loading(format!(
            "a running host keeps its store, and this is another {name} than the one it runs; restart it"
        )),
        OtherStore::Settings => {
            let why = "a running host keeps its store as it was set up; restart it";
            Failure::Config(config.plugin_problem(name, ".", why).to_string())
        }
    }
}

fn failed(config: &Config, name: &str, error: LoadError) -> Failure {
    match error {
        LoadError::Config(at) => {
            Failure::Config(config.plugin_problem(name, &at.path, &at.message).to_string())
        }
        other => Failure::Loading(other.to_string()),
    }
}

/// What `config check` asks beyond the host's own tables: that each plugin in use opens and takes its table.
pub(super) fn check(config: &Config, strict: Strictness) -> Result<(), StartError> {
    let mut problems = StartError::default();
    let found = candidates(config, strict)?;
    let names: Vec<String> = found.iter().map(|(_, _, c)| c.manifest().name.clone()).collect();
    for (file, required, candidate) in found {
        if in_use(config, &candidate.manifest().name)
            && let Err(why) = try_out(config, candidate, strict.unpinned)
            && required
        {
            problems.0.push(why.sentence(&file));
        }
    }
    problems.0.extend(unowned(config, &names));
    if problems.0.is_empty() { Ok(()) } else { Err(problems) }
}

/// Opens a plugin, and asks it about its table if it is in use. The error is a sentence that names `file`.
pub(super) fn try_out_file(config: &Config, file: &str, candidate: Candidate) -> Result<(), String> {
    // Installing starts nothing: what is for development only may lie there.
    try_out(config, candidate, true).map_err(|why| why.sentence(file))
}

fn try_out(config: &Config, candidate: Candidate, development: bool) -> Result<(), Failure> {
    let name = candidate.manifest().name.clone();
    if is_reserved(&name) {
        return Err(Failure::Loading(format!("no plugin can be named `{name}`")));
    }
    let table = settings(config, &name)?;
    let loaded = candidate.open().map_err(Failure::Loading)?.in_development(development);
    if in_use(config, &name) {
        loaded.check(&table, config.folder()).map_err(|error| failed(config, &name, error))?;
    }
    Ok(())
}

/// Registers the plugin of the configured store alone, and hands that out.
pub(super) fn open_store(config: &Config, strict: Strictness) -> Result<Arc<dyn Store>, StartError> {
    let plugin = format!("store-{}", config.store);
    let found = candidates(config, strict)?.into_iter().find(|(_, _, c)| c.manifest().name == plugin);
    let (file, _, candidate) =
        found.ok_or_else(|| StartError::one(format!("no [[plugin]] is `{plugin}`; install it")))?;
    let registered = settings(config, &plugin).and_then(|table| {
        let loaded = candidate.open().map_err(Failure::Loading)?;
        register(config, &plugin, loaded, &table)
    });
    let collected = registered.map_err(|why| StartError::one(why.sentence(&file)))?;
    let store = collected.stores.into_iter().find(|(name, _)| *name == config.store);
    store
        .map(|(_, store)| store)
        .ok_or_else(|| StartError::one(format!("{file}: it registers no such store")))
}

fn unowned(config: &Config, names: &[String]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = config.unowned_tables(&names).to_string();
    (!text.is_empty()).then_some(text)
}

fn link(
    config: &Config,
    all: Vec<(String, String, Registered)>,
    plugins: Vec<PluginInfo>,
    kept: Kept,
    mut problems: StartError,
) -> Result<Registry, StartError> {
    let names: Vec<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    problems.0.extend(unowned(config, &names));
    let (mut stores, mut deliveries) = (HashMap::new(), HashMap::new());
    let mut routes: HashMap<String, Vec<Mounted>> = HashMap::new();
    let mut operations: HashMap<String, Operation> = HashMap::new();
    let mut gate: Option<GateEntry> = None;
    let mut pages = Vec::new();
    for (file, plugin, Registered { collected, quarantine, .. }) in all {
        for (name, store) in collected.stores {
            let store: Arc<dyn Store> = Watched::new(store, &quarantine);
            if stores.insert(name.clone(), store).is_some() {
                problems.0.push(format!("{file}: the store `{name}` is registered by another plugin too"));
            }
        }
        for (name, delivery) in collected.deliveries {
            let delivery = Watched::new(delivery, &quarantine);
            if deliveries.insert(name.clone(), delivery).is_some() {
                problems.0.push(format!("{file}: the delivery `{name}` is registered by another plugin too"));
            }
        }
        for (route, handler) in collected.routes {
            let path = format!("/{plugin}{}", route.path);
            let handler = Watched::new(handler, &quarantine);
            routes.entry(path).or_default().push(Mounted { plugin: plugin.clone(), route, handler });
        }
        for (name, handler) in collected.operations {
            let handler = Watched::new(handler, &quarantine);
            operations.insert(format!("{plugin}.{name}"), Operation { plugin: plugin.clone(), handler });
        }
        if !collected.pages.is_empty() || !collected.texts.is_empty() {
            let (plugin, texts) = (plugin.clone(), collected.texts);
            pages.push(Offered { plugin, pages: collected.pages, texts });
        }
        for (record, one) in collected.gates {
            match &gate {
                Some(other) => {
                    let other = &other.plugin;
                    problems.0.push(format!("{file}: logins are gated by the plugin `{other}` already"));
                }
                None => {
                    let one = Watched::new(one, &quarantine);
                    gate = Some(GateEntry { plugin: plugin.clone(), record, gate: one });
                }
            }
        }
    }
    let store = stores.remove(&config.store);
    if store.is_none() && problems.0.is_empty() {
        let wanted = &config.store;
        problems.0.push(format!(
            "[store] use = \"{wanted}\": no plugin registers that store; install store-{wanted}"
        ));
    }
    let delivery = config.delivery.as_ref().and_then(|name| deliveries.remove(name));
    if let (Some(wanted), None, true) = (&config.delivery, &delivery, problems.0.is_empty()) {
        problems.0.push(format!(
            "[delivery] use = \"{wanted}\": no plugin registers that delivery; install delivery-{wanted}"
        ));
    }
    match store {
        Some(store) if problems.0.is_empty() => {
            Ok(Registry { store, delivery, routes, operations, gate, pages, plugins, kept })
        }
        _ => Err(problems),
    }
}

/// A plugin's log line.
fn log(level: Level, plugin: &str, message: &str) {
    match level {
        Level::Error => tracing::error!(target: "countersign::plugin", plugin, "{message}"),
        Level::Warn => tracing::warn!(target: "countersign::plugin", plugin, "{message}"),
        Level::Info => tracing::info!(target: "countersign::plugin", plugin, "{message}"),
        Level::Debug => tracing::debug!(target: "countersign::plugin", plugin, "{message}"),
    }
}
