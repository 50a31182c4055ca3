//! Whether the host can serve, known at any time without asking anybody.
use super::{
    Kernel,
    watchdog::{self, SECOND},
};
use countersign_plugin_api::{Found, Keys, Problem, Refusal, StoreError};
use std::{
    io,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{AcqRel, Relaxed},
        },
    },
    thread,
    time::Duration,
};

/// How often the store is asked for a record.
const EVERY: Duration = Duration::from_millis(500);
/// An answer that is older says nothing any more.
const STALE: u32 = 3 * SECOND;
/// So many batches in a row that were not durable in time, and the store gets but one a second to prove itself.
const SILENT: u32 = 3;

/// What is known of the store.
#[derive(Default)]
pub(super) struct Health {
    /// Whether somebody asks at all.
    is_watched: AtomicBool,
    answers: AtomicBool,
    /// When it did last, in ticks.
    answered: AtomicU32,
    /// Batches in a row that were not durable in time.
    silent: AtomicU32,
    /// When the next batch may be tried, in ticks.
    again: AtomicU32,
}

impl Health {
    /// Whether a batch is worth handing over: callers would wait for nothing, and all of them for as long.
    pub(super) fn admits_a_batch(&self) -> bool {
        if self.silent.load(Relaxed) < SILENT {
            return true;
        }
        let (now, again) = (watchdog::ticks(), self.again.load(Relaxed));
        let is_time = now.wrapping_sub(again) < u32::MAX / 2;
        is_time && self.again.compare_exchange(again, now.wrapping_add(SECOND), AcqRel, Relaxed).is_ok()
    }
    /// What became of one.
    pub(super) fn batch_was(&self, in_time: bool) {
        if in_time {
            if self.silent.swap(0, AcqRel) >= SILENT {
                tracing::warn!(target: "countersign::store", "the store confirms batches again");
            }
            return;
        }
        self.again.store(watchdog::ticks().wrapping_add(SECOND), Relaxed);
        if self.silent.fetch_add(1, AcqRel) + 1 == SILENT {
            tracing::error!(target: "countersign::store", "the store confirms no batch in time: one a second is tried");
        }
    }

    fn hears(&self, answers: bool) {
        if answers {
            self.answered.store(watchdog::ticks(), Relaxed);
        }
        if self.answers.swap(answers, AcqRel) != answers && self.is_watched.load(Relaxed) {
            tracing::warn!(target: "countersign::store", answers, "whether the store answers has changed");
        }
        self.is_watched.store(true, Relaxed);
    }
}

impl Kernel {
    /// Asks the store now and then, on a thread of its own, until the kernel is dropped.
    pub(crate) fn watch_store(self: &Arc<Self>) -> io::Result<()> {
        let weak = Arc::downgrade(self);
        self.ask_store();
        let ask = move || {
            while let Some(kernel) = weak.upgrade() {
                kernel.ask_store();
                drop(kernel);
                thread::sleep(EVERY);
            }
        };
        thread::Builder::new().name("health".into()).spawn(ask).map(|_| ())
    }

    fn ask_store(&self) {
        let mut keys = Keys::new();
        keys.push(&self.clock_key());
        let asked = self.attend(|| self.store.get(&keys, &mut Found::new()));
        self.health.hears(matches!(asked, Ok(Ok(()))));
    }

    /// Whether it can serve: the store answers, and no plugin is in quarantine. Waits for nothing.
    pub fn readiness(&self) -> Result<(), Refusal> {
        if let Some(plugin) = self.registry.kept.quarantines().find(|plugin| plugin.is_on()) {
            let why = format!("the plugin `{}` is in quarantine", plugin.name());
            return Err(Refusal::new(Problem::PluginFault).because(why));
        }
        let health = &self.health;
        let age = watchdog::ticks().wrapping_sub(health.answered.load(Relaxed));
        let answers = health.answers.load(Relaxed) && age < STALE && health.silent.load(Relaxed) < SILENT;
        if answers || !health.is_watched.load(Relaxed) { Ok(()) } else { Err(StoreError::Unavailable.into()) }
    }
}
