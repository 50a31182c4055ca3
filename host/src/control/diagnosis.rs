//! How a host is, for `countersign doctor`: what only the process knows that has the store open.
use crate::{
    kernel::Kernel,
    metrics::{FORWARDING, OTHER_HOSTS, SILENT, UNTRUSTED},
};
use countersign_plugin_api::Undelivered;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was found. A host of another version may say less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Diagnosis {
    /// Why requests cannot be served, if they cannot.
    pub(crate) not_ready: Option<String>,
    /// Why the last reload was refused, if it was.
    pub(crate) reload: Option<String>,
    /// The time that the host goes by, in seconds since the Unix epoch.
    pub(crate) now: u64,
    /// The hash of each plugin's library, by its file.
    pub(crate) plugins: BTreeMap<String, String>,
    /// How many records and bytes the store holds, each with the most that it takes; 0 is no limit. `None` when it
    /// does not answer.
    pub(crate) store: Option<[(u64, u64); 2]>,
    /// How many records were opened to see whether they do, and how many do not. `None` when they cannot be read.
    pub(crate) sample: Option<(usize, usize)>,
    /// `None` when no delivery is configured.
    pub(crate) mail: Option<Mail>,
    /// How many messages wait, and for how many seconds the oldest of them has.
    pub(crate) waiting: (u64, u64),
    /// Requests of trusted proxies that named no client, since the host started.
    pub(crate) silent: u64,
    /// Those that named one and came from somebody else.
    pub(crate) untrusted: u64,
    /// Those for hosts that are not its own.
    pub(crate) elsewhere: u64,
}

/// What a delivery says when it is asked whether it could send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mail {
    Works,
    Fails(String),
    /// It cannot tell.
    Unknown,
}

/// Looks.
pub(super) async fn of(kernel: &Kernel) -> Diagnosis {
    let (messages, oldest) = kernel.outbox_level();
    let plugins = kernel.plugins().iter().map(|plugin| (plugin.file.clone(), plugin.sha256.clone()));
    let usage = kernel.usage().ok();
    Diagnosis {
        not_ready: kernel.readiness().err().map(|refusal| super::Refused::from(refusal).message),
        reload: None,
        now: kernel.now().secs(),
        plugins: plugins.collect(),
        store: usage.map(|usage| [(usage.records, usage.max_records), (usage.bytes, usage.max_bytes)]),
        sample: kernel.sample().ok(),
        mail: kernel.probe_delivery().await.map(|answer| match answer {
            Ok(()) => Mail::Works,
            Err(Undelivered::Later(why) | Undelivered::Never(why)) => Mail::Fails(why),
            Err(Undelivered::Unknown(_)) => Mail::Unknown,
        }),
        waiting: (messages as u64, oldest.as_secs()),
        silent: FORWARDING.so_far(SILENT),
        untrusted: FORWARDING.so_far(UNTRUSTED),
        elsewhere: OTHER_HOSTS.so_far(""),
    }
}
