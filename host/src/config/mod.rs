//! The configuration: one TOML file, and every problem of it at once.
//!
//! ```text
//! file ─ source ─→ tree ─ read, values ─→ settings ─→ Config        the host's own tables
//!                    └──── reference ───→ plugin_table ─→ JSON      a plugin's table, secrets filled in
//!                    ↑                                     │
//!                    └──────── plugin_problem ←────────────┘        what the plugin objects to, with its place
//! ```
//!
//! A plugin's table is known only to the plugin, so the host passes it on and finds the place of what comes back.
//! [`edit`] changes the file and keeps its comments; [`template`] is the file that a beginner starts from.

mod address;
mod cidr;
pub mod edit;
pub(crate) mod folder;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod nearest;
mod objection;
mod plugin_tables;
mod problem;
mod read;
mod reference;
mod replace;
mod seed;
mod settings;
mod source;
pub mod template;
mod tree;
mod values;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use address::PublicUrl;
pub use cidr::Cidr;
pub(crate) use nearest::nearest;
pub use problem::{Problem, Problems};
pub use source::Place;

use countersign_plugin_api::Secret;
use source::{Source, Unread};
use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tree::Entry;

/// The host's settings, and the tables of its plugins.
#[derive(Clone)]
pub struct Config {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Where the host listens. Beyond loopback something in front of it must speak TLS.
    pub listen: SocketAddr,
    /// The only origin that links and redirects may carry.
    pub public_url: PublicUrl,
    /// Further values of `Host` that are answered, in lower case.
    pub allowed_hosts: Vec<String>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Who may make an account.
    pub registration: Registration,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Absolute.
    pub plugin_dir: PathBuf,
    /// The key ring; absolute.
    pub keys_file: PathBuf,
    /// What signs tokens instead of the key file's active key: `MFA_CHALLENGE_SECRET` of the environment.
    pub token_secret: Option<Secret<String>>,
    /// How long a session lives, and where its cookie goes.
    pub session: SessionConfig,
    /// How long audit events are kept.
    pub audit_retention: Duration,
    /// What a password hash costs.
    pub password: PasswordConfig,
    /// Pages for people.
    pub pages: PagesConfig,
    /// Whether the interface describes itself.
    pub openapi: bool,
    /// Where metrics are read, if they are; whoever reaches it reads them.
    pub metrics: Option<SocketAddr>,
    /// The log.
    pub log: LogConfig,
    /// The name under which a plugin registers the store.
    pub store: String,
    /// The name under which a plugin registers the delivery, if mail is sent.
    pub delivery: Option<String>,
    /// Where other languages and wordings of mails lie; absolute.
    pub mail_templates: Option<PathBuf>,
    /// In the order of the file, which is the order of loading.
    pub plugins: Vec<PluginEntry>,
    folder: PathBuf,
    document: Arc<Document>,
    env: Env,
}

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// A session that is not used for so long has ended.
    pub idle_ttl: Duration,
    /// A session ends so long after its login in any case.
    pub absolute_ttl: Duration,
    /// One sign-in for this domain and all below it.
    pub cookie_domain: Option<String>,
}

/// `[password]`: Argon2id, RFC 9106.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordConfig {
    /// m, in KiB.
    pub memory_kib: u32,
    /// t.
    pub iterations: u32,
    /// p.
    pub parallelism: u32,
    /// Each takes its memory while it runs.
    pub max_concurrent_hashes: usize,
}

/// `[pages]`: what people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagesConfig {
    /// Without them the host is an API.
    pub enabled: bool,
    /// What the site is called.
    pub name: String,
    /// A picture beside the name; absolute.
    pub logo: Option<PathBuf>,
    /// The colour of buttons and links, made darker or lighter where it could not be read.
    pub accent: Accent,
    /// Templates and texts that take the place of those that are built in; absolute.
    pub templates: Option<PathBuf>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look; if it is not said, for people on a terminal and as JSON elsewhere.
    pub format: Option<LogFormat>,
    /// What is logged: a level, and others for parts of the host, as `RUST_LOG` says it.
    pub level: String,
}

/// How the lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// An object a line.
    Json,
    /// Text for people.
    Pretty,
}

/// A colour, as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accent(pub [u8; 3]);

impl std::str::FromStr for Accent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, r, g, b] =
            number.ok_or_else(|| format!("`{text}` must be a colour like \"#0b5f8a\""))?.to_be_bytes();
        Ok(Self([r, g, b]))
    }
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Nobody but an administrator.
    Closed,
    /// Anybody, with an address that is not proven.
    Open,
    /// Whoever proves the address, by a mailed link.
    Verified,
}

impl Registration {
    /// As the file spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Verified => "verified",
        }
    }
}
impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `[[plugin]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEntry {
    /// The bare name of a file in `plugin_dir`.
    pub file: String,
    /// The pin. Without it the plugin is refused, unless the host was told that it is in development.
    pub sha256: Option<[u8; 32]>,
    /// Whether the host refuses to start without it.
    pub required: bool,
    /// Where its file name stands, for [`Config::problem`].
    pub at: Place,
}

struct Document {
    source: Source,
    root: Vec<Entry>,
}

/// How a variable of the environment is asked for.
type Env = fn(&str) -> Option<OsString>;

impl Config {
    /// Reads a file, and refuses it with everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        match Self::examine(file) {
            (Some(config), mut problems) if !problems.is_empty() => {
                problems.extend(config.tables_without_a_file());
                Err(problems)
            }
            (Some(config), _) => Ok(config),
            (None, problems) => Err(problems),
        }
    }

    /// Reads a text instead of a file; relative paths start at `folder`.
    pub fn from_text(text: &str, folder: &Path) -> Result<Self, Problems> {
        let file = folder.join("configuration");
        let folder = folder_of(&file).map_err(|error| unreadable(&file, &Unread::Failed(error)))?;
        let env: Env = |name| std::env::var_os(name);
        match Self::of(Source::new(&file, text.to_owned()), &folder, env) {
            (Some(config), mut problems) if !problems.is_empty() => {
                problems.extend(config.tables_without_a_file());
                Err(problems)
            }
            (Some(config), _) => Ok(config),
            (None, problems) => Err(problems),
        }
    }

    /// The keys of the file that concern the host `countersign` alone, and no embedded kernel.
    pub(crate) fn not_for_an_embedder(&self) -> Vec<&str> {
        const HOSTS: [&str; 6] = ["listen", "registration", "openapi", "session", "metrics", "log"];
        let keys = self.document.root.iter().map(|entry| entry.key.as_str());
        keys.filter(|key| HOSTS.contains(key)).collect()
    }

    /// Reads a file as far as it can be read. A configuration that comes with problems has defaults in their
    /// places and is good for one thing: to find out what its plugins object to, in the same report.
    pub fn examine(file: &Path) -> (Option<Self>, Problems) {
        Self::examine_in(file, |name| std::env::var_os(name))
    }

    fn examine_in(file: &Path, env: Env) -> (Option<Self>, Problems) {
        let (source, writable) = match source::read(file) {
            Ok(read) => read,
            Err(unread) => return (None, unreadable(file, &unread).into()),
        };
        let folder = match folder_of(file) {
            Ok(folder) => folder,
            Err(error) => return (None, unreadable(file, &Unread::Failed(error)).into()),
        };
        let (config, mut problems) = Self::of(source, &folder, env);
        if let Some(why) = writable {
            problems.push(Problem::of_file(file, None, &why));
        }
        (config, problems)
    }

    fn of(source: Source, folder: &Path, env: Env) -> (Option<Self>, Problems) {
        let (root, syntax) = tree::parse(&source);
        settings::read(&Arc::new(Document { source, root }), &syntax, folder, env)
    }

    /// The folder of the file, absolute: relative paths start here, those in plugins' tables included.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files that hold values of this one, `{ file = "path" }`; absolute.
    pub(crate) fn value_files(&self) -> Vec<PathBuf> {
        let mut names = Vec::new();
        reference::files(&self.document.root, &self.document.source, &mut names);
        names.into_iter().map(|name| self.folder.join(name)).collect()
    }

    /// A problem at a place of this file, such as a [`PluginEntry`]'s.
    pub fn problem(&self, at: Place, message: impl fmt::Display) -> Problem {
        Problem::at(&self.document.source, at, None, &message.to_string())
    }
}

/// The folder of a file, from the root. One with `..` is looked up, because after a link only the system knows where
/// it leads; any other keeps its links, which a plugin's path must not have.
fn folder_of(file: &Path) -> std::io::Result<PathBuf> {
    let file = std::path::absolute(file)?;
    let folder = file.parent().unwrap_or(&file);
    let climbs = folder.components().any(|part| part == Component::ParentDir);
    if climbs { std::fs::canonicalize(folder) } else { Ok(folder.to_owned()) }
}

fn unreadable(file: &Path, unread: &Unread) -> Problem {
    match unread {
        Unread::Failed(error) => Problem::of_file(file, None, &format!("it cannot be read: {error}")),
        Unread::Refused(why) => Problem::of_file(file, None, why),
        Unread::NotText(source, at) => Problem::at(source, *at, None, "this is not UTF-8"),
    }
}
