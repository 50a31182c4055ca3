//! How it stands with the kernel, for whoever watches it.
use super::{Kernel, quarantine::Quarantine};
use std::time::Duration;

/// How it stands with one plugin in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginState {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is asked nothing more.
    pub(crate) is_quarantined: bool,
    /// Calls that have not come back in time.
    pub(crate) hanging: u32,
    /// Calls that ever did not.
    pub(crate) overdue: u64,
    /// Calls in which it was at fault.
    pub(crate) faults: u64,
}

impl Kernel {
    /// The plugins in use, by name.
    pub(crate) fn plugin_states(&self) -> Vec<PluginState> {
        let mut states: Vec<_> = self.registry.kept.quarantines().map(Quarantine::state).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// Password hashes that wait for their turn.
    pub(crate) fn hashes_waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// How many messages wait to be sent, and how long the oldest of them has.
    pub(crate) fn outbox_level(&self) -> (usize, Duration) {
        let (messages, since) = self.outbox.level();
        (messages, since.map_or(Duration::ZERO, |since| self.now().since(since)))
    }
}
