//! `serve`: the host, from its first look at the environment to the last answer.
use super::{Failure, Serve, check, host::runtime};
use crate::{
    config::{Config, LogFormat},
    control::{Control, DataDir},
    http::{App, Server, ServerLimits},
    kernel::strangers_hashed_for,
    logs, metrics,
    notify::Manager,
    serving::Serving,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{ffi::OsString, future::Future, path::Path, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// What makes the loader run code that no pin names.
const PRELOADS: [&str; 3] = ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"];
/// More threads than cores: calls into plugins and the store run on them, and some may hang.
const SPARE: usize = 2;
/// Descriptors beside those of connections: the store's files, listeners, the loader's.
const DESCRIPTORS: u64 = 256;
/// Few ask for metrics, and who does is not waited for at the end.
const METRICS: ServerLimits = ServerLimits { max_connections: 32, per_address: 32, ..ServerLimits::DEFAULT };
/// Requests that are begun beside those of strangers that wait for a hash, so that these alone keep nobody outside. They wait
/// for a processor, or for the store's drive.
const BESIDE: usize = 30;
/// For threads that hang in a plugin, once all is answered: the process ends without them.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn run(file: &Path, args: &Serve, json: bool) -> Result<(), Failure> {
    let preloads = preloads(|name| std::env::var_os(name));
    if !preloads.is_empty() && !args.allow_preload {
        let names = preloads.join(", ");
        return Err(Failure::usage(format_args!(
            "the environment sets {names}, by which other code than the pinned plugins runs in this process: unset it, or say --allow-preload"
        )));
    }
    let config = check::whole(file, args.dev)?;
    let format = args.log_format.or(json.then_some(LogFormat::Json));
    logs::start(format, args.log_level.as_deref(), &config.log).map_err(Failure::usage)?;
    if !preloads.is_empty() {
        let names = preloads.join(", ");
        tracing::warn!(target: "countersign", names, "code that no pin names may run in this process (--allow-preload)");
    }
    write_no_dumps();
    if args.dev {
        tracing::warn!(target: "countersign", "development: plugins need no pin, and every answer is marked");
    }
    let data_dir = DataDir::claim(&config.data_dir).map_err(Failure::new)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from) + SPARE;
    let strangers = strangers_hashed_for(config.password.max_concurrent_hashes);
    let limits = ServerLimits { requests: strangers + BESIDE, ..ServerLimits::default() };
    raise_descriptors(limits.max_connections);
    let runtime = runtime(threads)?;
    let ended = runtime.block_on(serve(config, args.dev, &data_dir, limits));
    runtime.shutdown_timeout(PATIENCE);
    ended
}

/// A dump of a process that dies has what is in its memory at that moment, keys included.
fn write_no_dumps() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(target: "countersign", %error, "a crash may leave a core dump, with keys in it");
    }
}

/// Each connection needs a descriptor, and the usual soft limit, made for `select`, is 1024.
fn raise_descriptors(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = DESCRIPTORS + connections as u64;
    let (has, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if has >= wanted {
        return;
    }
    let possible = wanted.min(most);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: limit.maximum });
    if raised.is_err() || possible < wanted {
        let has = if raised.is_ok() { possible } else { has };
        tracing::warn!(
            target: "countersign",
            has, wanted, "too few file descriptors for {connections} connections: raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}

/// Which of them are set to anything.
fn preloads(env: impl Fn(&str) -> Option<OsString>) -> Vec<&'static str> {
    PRELOADS.into_iter().filter(|name| env(name).is_some_and(|value| !value.is_empty())).collect()
}

async fn serve(config: Config, dev: bool, data_dir: &DataDir, limits: ServerLimits) -> Result<(), Failure> {
    // Before anything is loaded, so that a signal during the start is not lost.
    let signals = Signals::new().map_err(|error| Failure::new(format_args!("signals: {error}")))?;
    let listen = config.listen;
    let unbound = |error| Failure::new(format_args!("listen = \"{listen}\": {error}"));
    let server = Server::bind(listen, limits).map_err(unbound)?;
    let address = server.local_addr().map_err(unbound)?;
    let serving =
        Arc::new(Serving::start(config, address, check::strictness(dev), Manager::of_environment()).await?);
    let metrics = Metrics::bind(&serving)?;
    let socket = Control::bind(data_dir);
    let control =
        socket.map_err(|error| Failure::new(format_args!("the control socket in data_dir: {error}")))?;

    let url = format!("http://{address}");
    tracing::info!(
        target: "countersign",
        %address, public_url = serving.host().config.public_url.origin(), version = env!("CARGO_PKG_VERSION"),
        "listening on {url}"
    );
    serving.manager().ready();
    let (stop, stopping) = watch::channel(false);
    let stopped = || {
        let mut stopping = stopping.clone();
        async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    };
    let to_the_end = async {
        tokio::join!(
            server.run(serving.apps(), stopped()),
            metrics.run(stopped()),
            control.run(serving.clone(), stopped()),
            async {
                signals.wait(&serving).await;
                serving.manager().stopping();
                let _ = stop.send(true);
            }
        )
    };
    // Signs of life go on while what was begun is answered.
    tokio::select! {
        _ = to_the_end => {}
        never = serving.manager().beat() => match never {},
    }
    serving.host().kernel.write_counts().await;
    tracing::info!(target: "countersign", "stopped");
    Ok(())
}

/// What answers on the address of `[metrics]`, if there is one.
struct Metrics(Option<(Server, watch::Sender<Arc<App>>)>);

impl Metrics {
    fn bind(serving: &Arc<Serving>) -> Result<Self, Failure> {
        let Some(listen) = serving.host().config.metrics else { return Ok(Self(None)) };
        let unbound = |error| Failure::new(format_args!("[metrics] listen = \"{listen}\": {error}"));
        let server = Server::bind(listen, METRICS).map_err(unbound)?;
        let address = server.local_addr().map_err(unbound)?;
        tracing::info!(target: "countersign", %address, "metrics at http://{address}/metrics");
        Ok(Self(Some((server, watch::Sender::new(Arc::new(metrics::app(serving)))))))
    }

    async fn run(self, stopped: impl Future<Output = ()>) {
        if let Some((server, app)) = self.0 {
            server.run(app.subscribe(), stopped).await;
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until the host is to stop.
    async fn wait(mut self, serving: &Serving) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    // It has logged how it went, and what was there before goes on.
                    let _ = serving.reload().await;
                    continue;
                }
            };
            tracing::info!(target: "countersign", signal = name, "stopping: what was begun is answered");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_the_loader_run_other_code_is_seen() {
        let set = |all: &'static [(&str, &str)]| {
            preloads(|name| all.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
        };
        assert_eq!(
            set(&[("LD_PRELOAD", "x.so"), ("LD_LIBRARY_PATH", "/x")]),
            ["LD_PRELOAD", "LD_LIBRARY_PATH"]
        );
        assert_eq!(set(&[("LD_AUDIT", "x.so")]), ["LD_AUDIT"]);
        assert!(set(&[("LD_PRELOAD", ""), ("LD_DEBUG", "all")]).is_empty());
    }
}
