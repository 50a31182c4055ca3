//! From a configuration, and an application's accounts and sessions, to a kernel that serves.
use super::{Accounts, Embedded, Sessions, people::Theirs, routes, sessions::AnySessions};
use crate::{
    config::{Config, Problems},
    control::DataDir,
    http::{Cookie, Site},
    kernel::{Kernel, StartError, Strictness},
    mail::Mails,
    pages::{Pages, Setting},
    people,
};
use countersign_plugin_api::Latency;
use std::{path::Path, sync::Arc};
use tokio::runtime::{Handle, RuntimeFlavor};

/// What an embedded kernel is made of.
pub struct Builder {
    config: Option<Config>,
    problems: Vec<String>,
    accounts: Option<Arc<dyn Accounts>>,
    sessions: Option<Arc<dyn AnySessions>>,
    development: bool,
}

impl Kernel {
    /// A kernel for an application that has accounts and sessions of its own; see [`Embedded`].
    pub fn builder(config: Config) -> Builder {
        Builder::new(Some(config), Problems::default())
    }

    /// The same from a file, whose problems are reported with all others by [`Builder::start`].
    pub fn configured_by(file: impl AsRef<Path>) -> Builder {
        let (config, problems) = Config::examine(file.as_ref());
        Builder::new(config, problems)
    }
}

impl Builder {
    fn new(config: Option<Config>, problems: Problems) -> Self {
        let problems = problems.iter().map(ToString::to_string).collect();
        Self { config, problems, accounts: None, sessions: None, development: false }
    }

    /// Whose logins they are.
    #[must_use]
    pub fn accounts(self, accounts: impl Accounts) -> Self {
        Self { accounts: Some(Arc::new(accounts)), ..self }
    }
    /// How a proven login becomes a session.
    #[must_use]
    pub fn sessions(self, sessions: impl Sessions) -> Self {
        Self { sessions: Some(Arc::new(sessions)), ..self }
    }
    /// Takes plugins without a pin, and those for development alone, such as `delivery-log`; every answer is marked.
    #[must_use]
    pub fn development(self, development: bool) -> Self {
        Self { development, ..self }
    }

    /// Loads, registers and links everything that is configured, and delivers what waits to be sent; or refuses,
    /// with every reason there is.
    ///
    /// Call it in the tokio runtime that will serve. It takes `data_dir` for this process alone: two that work
    /// on one outbox would send twice.
    pub async fn start(self) -> Result<Embedded, StartError> {
        let strict = Strictness { unpinned: self.development, ..Strictness::default() };
        let mut problems = self.problems;
        for (missing, what, call) in [
            (self.accounts.is_none(), "accounts", "accounts(..)"),
            (self.sessions.is_none(), "sessions", "sessions(..)"),
        ] {
            if missing {
                problems.push(format!("the kernel has no {what}: say `.{call}` before `.start()`"));
            }
        }
        let waits = self.accounts.as_ref().is_some_and(|accounts| accounts.latency() == Latency::Waits);
        if waits && Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            problems.push(WAITS_ON_ONE_THREAD.into());
        }
        if self.development && self.config.as_ref().is_some_and(|config| config.public_url.is_https()) {
            problems.push(
                "`.development(true)` is for a `public_url` on loopback: its plugins need no pin".into(),
            );
        }
        if let (false, Some(config)) = (problems.is_empty(), &self.config) {
            let more = people::check(config, strict).err().map(|error| error.0).unwrap_or_default();
            let new: Vec<String> = more.into_iter().filter(|text| !problems.contains(text)).collect();
            problems.extend(new);
        }
        let parts = (self.config, self.accounts, self.sessions, problems.is_empty());
        let (Some(config), Some(accounts), Some(sessions), true) = parts else {
            return Err(StartError(problems));
        };
        start(config, strict, accounts, sessions).await
    }
}

const WAITS_ON_ONE_THREAD: &str = "`Accounts::latency` says that the accounts wait on a network, which needs tokio's multi-thread runtime: `#[tokio::main]`, or answer `Latency::Quick` if they do not";

async fn start(
    config: Config,
    strict: Strictness,
    accounts: Arc<dyn Accounts>,
    sessions: Arc<dyn AnySessions>,
) -> Result<Embedded, StartError> {
    let one = |why: String| StartError(vec![why]);
    let idle = config.not_for_an_embedder();
    if !idle.is_empty() {
        let keys = idle.join(", ");
        tracing::info!(target: "countersign", keys, "these settings are for the host `countersign`, and mean nothing where the kernel is embedded");
    }
    let data_dir = DataDir::claim(&config.data_dir).map_err(one)?;
    let proxies = config.trusted_proxies.clone();
    let trusts = move |address| proxies.iter().any(|proxy| proxy.contains(address));
    let site = Site::new(config.public_url.origin(), &config.allowed_hosts, trusts).map_err(one)?;
    let cookie = Cookie::new("countersign", config.public_url.is_https(), None);
    let mails = Mails::load(&config).map_err(|problems| one(problems.to_string()))?;
    let theirs = Theirs { accounts: accounts.clone(), mails };
    let kernel = Kernel::start(&config, strict, Box::new(theirs)).await?;
    if kernel.gate().is_none() {
        return Err(one(
            "no plugin gates logins, so there would be no second factor: run `countersign plugin install libplugin_mfa.so`"
                .into(),
        ));
    }
    let kernel = Arc::new(kernel);
    kernel
        .watch_store()
        .map_err(|error| one(format!("no thread that asks the store can be started: {error}")))?;
    let setting = Setting {
        config: &config.pages,
        served: false,
        registration: config.registration,
        sends_mail: kernel.sends_mail(),
        has_route: &|_, _| true,
        openapi: false,
    };
    let pages = Pages::new(&setting, kernel.pages()).map_err(StartError)?;
    let forms = kernel.clone();
    let site = site.development(strict.unpinned).forms(move |path| routes::takes_forms(&forms, path));
    let hashes = config.password.max_concurrent_hashes;
    Ok(Embedded::new(kernel, accounts, sessions, site, pages, cookie, hashes, data_dir))
}
