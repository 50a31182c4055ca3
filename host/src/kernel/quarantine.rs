//! Plugins that hang again and again are not called any more.
use super::{state::PluginState, watchdog};
use crate::metrics::{self, STORE_SECONDS};
use countersign_plugin_api::{
    Batch, Caller, Completion, Context, Decision, Delivery, Found, Gate, Handler, Keys, Latency, Login,
    Message, Page, Problem, Refusal, Request, Secret, Standing, Store, StoreError, Undelivered, Usage,
};
use parking_lot::RwLock;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Duration,
};

/// So many calls that hang at once, and the plugin is in quarantine until all of them have come back. One that
/// waits for something that will never be stays there until the process ends.
const HANGING: u32 = 3;
/// Calls of one plugin at once: one that hangs in a crowd leaves room for the others.
const INSIDE: u32 = 48;

/// How it stands with one plugin.
pub(crate) struct Quarantine {
    name: String,
    /// Its number in `ALL`, from 1 up.
    number: usize,
    inside: AtomicU32,
    hanging: AtomicU32,
    is_on: AtomicBool,
    /// Calls that ever hung.
    overdue: AtomicU64,
    /// Calls in which it was at fault.
    faults: AtomicU64,
}

/// Every plugin that was ever linked: as many as were loaded, and no library is unloaded.
static ALL: RwLock<Vec<Arc<Quarantine>>> = RwLock::new(Vec::new());

impl Quarantine {
    /// For a plugin that is being linked.
    pub(super) fn new(name: &str) -> Arc<Self> {
        let mut all = ALL.write();
        let made = Arc::new(Self {
            name: name.into(),
            number: all.len() + 1,
            inside: AtomicU32::new(0),
            hanging: AtomicU32::new(0),
            is_on: AtomicBool::new(false),
            overdue: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        all.push(made.clone());
        made
    }
    pub(super) fn of_number(number: usize) -> Option<Arc<Self>> {
        ALL.read().get(number.checked_sub(1)?).cloned()
    }

    /// Who it is about.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    /// Whether the plugin is called no more.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    pub(super) fn state(&self) -> PluginState {
        PluginState {
            name: self.name.clone(),
            is_quarantined: self.is_on(),
            hanging: self.hanging.load(Relaxed),
            overdue: self.overdue.load(Relaxed),
            faults: self.faults.load(Relaxed),
        }
    }

    /// A call has not come back in time.
    pub(super) fn hangs(&self) {
        self.overdue.fetch_add(1, Relaxed);
        let (plugin, hanging) = (&self.name, self.hanging.fetch_add(1, AcqRel) + 1);
        tracing::error!(target: "countersign::watchdog", plugin, hanging, "a call into the plugin hangs");
        if hanging >= HANGING && !self.is_on.swap(true, AcqRel) {
            tracing::error!(target: "countersign::watchdog", plugin, "the plugin is in quarantine: whatever needs it is refused");
        }
    }
    /// One that hung has come back.
    pub(super) fn came_back(&self) {
        let (plugin, hanging) = (&self.name, self.hanging.fetch_sub(1, AcqRel) - 1);
        tracing::warn!(target: "countersign::watchdog", plugin, hanging, "a call that hung has come back");
        if hanging == 0 && self.is_on.swap(false, AcqRel) {
            tracing::warn!(target: "countersign::watchdog", plugin, "the plugin is out of quarantine");
        }
    }

    fn enter(&self) -> Result<Inside<'_>, Refusal> {
        let refused = |problem: Problem, why: &str| {
            let because = format!("the plugin `{}` {why}", self.name);
            Err(Refusal::new(problem).because(because).retry_after(Duration::from_secs(1)))
        };
        if self.is_on() {
            return refused(Problem::PluginFault, "is in quarantine, because calls into it hang");
        }
        if self.inside.fetch_add(1, AcqRel) >= INSIDE {
            self.inside.fetch_sub(1, AcqRel);
            return refused(Problem::Busy, "has too many calls at once");
        }
        Ok(Inside { quarantine: self, before: watchdog::step_into(self.number) })
    }
}

/// A call that is under way.
struct Inside<'a> {
    quarantine: &'a Quarantine,
    before: Option<usize>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        watchdog::step_out(self.before);
        self.quarantine.inside.fetch_sub(1, AcqRel);
    }
}

/// What a plugin registered, called only while it is not in quarantine.
pub(super) struct Watched<T: ?Sized> {
    inner: Arc<T>,
    quarantine: Arc<Quarantine>,
}

impl<T: ?Sized> Watched<T> {
    pub(super) fn new(inner: Arc<T>, quarantine: &Arc<Quarantine>) -> Arc<Self> {
        Arc::new(Self { inner, quarantine: quarantine.clone() })
    }
    /// How it stands with the plugin.
    pub(super) fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }
    fn call<R>(&self, call: impl FnOnce(&T) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let _inside = self.quarantine.enter()?;
        let answer = call(&self.inner);
        if matches!(&answer, Err(refusal) if refusal.problem() == Problem::PluginFault) {
            self.quarantine.faults.fetch_add(1, Relaxed);
        }
        answer
    }
}

impl Handler for Watched<dyn Handler> {
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        self.call(|handler| handler.handle(request, context))
    }
}

impl Gate for Watched<dyn Gate> {
    fn after_primary(&self, login: &Login, context: &dyn Context) -> Result<Decision, Refusal> {
        self.call(|gate| gate.after_primary(login, context))
    }
    fn standing(&self, caller: &Caller, context: &dyn Context) -> Result<Standing, Refusal> {
        self.call(|gate| gate.standing(caller, context))
    }
    fn password_violations(&self, password: &Secret<&str>, words: &[&str]) -> Result<Vec<String>, Refusal> {
        self.call(|gate| gate.password_violations(password, words))
    }
}

/// What waits while the plugin is in quarantine is tried again like what the next hop did not take.
impl Delivery for Watched<dyn Delivery> {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let _inside = self.quarantine.enter().map_err(|refusal| Undelivered::Later(refusal.log().into()))?;
        self.inner.send(message)
    }
    fn probe(&self) -> Result<(), Undelivered> {
        let _inside = self.quarantine.enter().map_err(|refusal| Undelivered::Later(refusal.log().into()))?;
        self.inner.probe()
    }
}

impl Watched<dyn Store> {
    fn ask<R>(&self, ask: impl FnOnce(&dyn Store) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let _inside = self.quarantine.enter().map_err(|_| StoreError::Unavailable)?;
        ask(&*self.inner)
    }
}

impl Store for Watched<dyn Store> {
    fn latency(&self) -> Latency {
        self.inner.latency()
    }
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        let got = STORE_SECONDS.time(metrics::GET, || self.ask(|store| store.get(keys, found)));
        metrics::failed("get", got);
        got
    }
    fn apply(&self, batch: Batch, done: Completion) {
        match self.quarantine.enter() {
            Ok(_inside) => self.inner.apply(batch, done),
            Err(_) => done.finish(Err(StoreError::Unavailable)),
        }
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let ask = || self.ask(|store| store.scan(prefix, after, limit, page));
        let scanned = STORE_SECONDS.time(metrics::SCAN, ask);
        metrics::failed("scan", scanned);
        scanned
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        self.ask(<dyn Store>::usage)
    }
}
