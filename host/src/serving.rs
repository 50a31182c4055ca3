//! The host that serves now, and how another takes its place without a request being lost.
//!
//! ```text
//! SIGHUP, `countersign reload` ─→ read ─→ what may not change? ─→ Host::reloaded ─→ swap
//!                                   └───────────┴── any problem: the old one serves on, and all of them are told
//! ```
//!
//! A request is answered by the application that is in place when it begins. The old host is dropped when the last of
//! those that it has begun is answered.
use crate::{
    app::Host,
    config::{Config, PublicUrl},
    control::Refused,
    http::App,
    kernel::{Changes, Ring, StartError, Strictness},
    logs,
    metrics::{DONE, REFUSED, RELOADS},
    notify::Manager,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::sync::{Mutex, watch};

pub(crate) struct Serving {
    file: PathBuf,
    strict: Strictness,
    listen: Listen,
    host: watch::Sender<Arc<Host>>,
    app: watch::Sender<Arc<App>>,
    manager: Manager,
    /// Reloads go one after the other, those of the keys alone too: the last one to read the key file wins.
    turn: Mutex<()>,
    /// Why the last reload was refused, if it was.
    refused: watch::Sender<Option<String>>,
}

/// The address of the configuration, and that which was bound: another where the port is 0.
#[derive(Clone, Copy)]
struct Listen {
    configured: SocketAddr,
    bound: SocketAddr,
}

impl Listen {
    /// With port 0 the address, and a public URL that was made of it, are those that the system gave.
    fn settle(self, config: &mut Config) {
        if PublicUrl::of(self.configured).as_ref() == Some(&config.public_url) {
            config.public_url = PublicUrl::of(self.bound).unwrap_or_else(|| config.public_url.clone());
        }
        config.listen = self.bound;
    }
}

impl Serving {
    /// Starts a host whose socket is bound already; or refuses, with every reason there is.
    pub(crate) async fn start(
        mut config: Config,
        bound: SocketAddr,
        strict: Strictness,
        manager: Manager,
    ) -> Result<Self, StartError> {
        let file = config.file.clone();
        let listen = Listen { configured: config.listen, bound };
        listen.settle(&mut config);
        let host = Host::start(config, strict).await?;
        let app = Arc::new(host.app(strict.unpinned)?);
        let (host, app) = (watch::Sender::new(host), watch::Sender::new(app));
        Ok(Self {
            file,
            strict,
            listen,
            host,
            app,
            manager,
            turn: Mutex::default(),
            refused: watch::Sender::default(),
        })
    }

    /// The host that serves now.
    pub(crate) fn host(&self) -> Arc<Host> {
        self.host.borrow().clone()
    }
    /// What answers requests now, and what will.
    pub(crate) fn apps(&self) -> watch::Receiver<Arc<App>> {
        self.app.subscribe()
    }

    /// Who started it, if anybody waits to be told.
    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Why the last reload was refused, if it was.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Reads configuration, keys and plugins again, and puts a host made of them in place; or says why the old one
    /// stays. Either is logged.
    pub(crate) async fn reload(&self) -> Result<Value, Refused> {
        let _turn = self.turn.lock().await;
        self.manager.reloading();
        let replaced = self.replace().await;
        self.manager.ready();
        self.refused.send_replace(replaced.as_ref().err().map(|problems| problems.0.join("\n")));
        RELOADS.count(if replaced.is_ok() { DONE } else { REFUSED });
        match replaced {
            Ok(Changes { changed, removed }) => {
                tracing::info!(
                    target: "countersign",
                    changed = changed.join(", "), removed = removed.join(", "), "reloaded"
                );
                Ok(json!({ "changed": changed, "removed": removed }))
            }
            Err(problems) => {
                for why in &problems.0 {
                    tracing::error!(target: "countersign", why, "not reloaded: what was there before stays in use");
                }
                Err(Refused { problem: Refused::CONFIGURATION.into(), message: problems.0.join("\n\n") })
            }
        }
    }

    async fn replace(&self) -> Result<Changes, StartError> {
        let read = Config::load(&self.file);
        let mut config =
            read.map_err(|problems| StartError(problems.iter().map(ToString::to_string).collect()))?;
        let before = self.host();
        let fixed = self.fixed(&before.config, &config);
        if !fixed.is_empty() {
            return Err(StartError(fixed));
        }
        self.listen.settle(&mut config);
        let host = before.reloaded(config, self.strict).await?;
        let app = host.app(self.strict.unpinned)?;
        let changes = host.kernel.changes_since(&before.kernel);
        // Last, because the old host signs with the same ring.
        let replaced = Ring::of(&host.config).and_then(|ring| host.kernel.replace_ring(ring));
        replaced.map_err(|error| StartError(vec![error.to_string()]))?;
        note_keys(&host, "host").await;
        self.app.send_replace(Arc::new(app));
        self.host.send_replace(host.clone());
        host.kernel.deliver();
        logs::follow(&host.config.log);
        Ok(changes)
    }

    /// What a host cannot take over while it runs.
    fn fixed(&self, before: &Config, now: &Config) -> Vec<String> {
        let file = self.file.display();
        let mut fixed = Vec::new();
        let (listen, wanted) = (self.listen.configured, now.listen);
        if wanted != listen {
            fixed.push(format!(
                "{file}: listen = \"{wanted}\": a running host keeps its address, {listen}; restart it"
            ));
        }
        let (data_dir, wanted) = (before.data_dir.display(), now.data_dir.display());
        if now.data_dir != before.data_dir {
            fixed.push(format!(
                "{file}: data_dir = \"{wanted}\": a running host keeps its data directory, {data_dir}; restart it"
            ));
        }
        if now.metrics != before.metrics {
            fixed.push(format!(
                "{file}: [metrics] listen: a running host keeps the address of its metrics; restart it"
            ));
        }
        fixed
    }

    /// Takes over the key file alone, or says why the old keys stay.
    pub(crate) async fn reload_keys(&self) -> Result<Value, Refused> {
        let _turn = self.turn.lock().await;
        let host = self.host();
        let ring = Ring::of(&host.config);
        let count = ring.as_ref().map_or(0, |ring| ring.keys().len());
        match ring.and_then(|ring| host.kernel.replace_ring(ring)) {
            Ok(()) => {
                note_keys(&host, "cli").await;
                tracing::info!(target: "countersign", keys = count, "the keys were reloaded");
                Ok(json!({ "keys": count }))
            }
            Err(error) => {
                tracing::error!(target: "countersign", %error, "the keys were not reloaded: the old ones stay in use");
                Err(Refused { problem: Refused::CONFIGURATION.into(), message: error.to_string() })
            }
        }
    }
}

/// The new keys are in use already: what cannot be put on record now is at the next change or start.
async fn note_keys(host: &Host, actor: &str) {
    if let Err(refusal) = host.kernel.note_keys(actor).await {
        tracing::warn!(target: "countersign::audit", because = refusal.log(), "a change of the keys is not on record yet");
    }
}
