//! Watches the attempts that run on the event loop's threads, because a plugin that is called in one may hang.
//!
//! Calls into plugins run where they are asked for: a thread of their own for each would cost more than the call.
//! Nothing can end a call that hangs, so four things keep a host alive around it:
//!
//! - An attempt is entered in one of 64 [`Place`]s, with the plugin that is being called. A thread of the
//!   watchdog's own finds those that have lasted two seconds, wakes whoever waits for the answer, and blames the
//!   plugin; whatever such an attempt still decides is thrown away ([`Overdue`]).
//! - A request is answered by another task than the one that calls ([`answered`]), so that there is an answer.
//! - All threads of the event loop but one may be in an attempt. Whoever finds them taken waits for one ([`Spared`]), a few
//!   microseconds as a rule. When none comes they have hung, and whoever waited gives its thread's other work away
//!   (`block_in_place`), so that somebody is always left to answer. Who did so without waiting made 36 threads more under
//!   64 connections, each with a heap of its own and perhaps a connection of the store.
//! - A plugin that hangs again and again is not called any more: [`super::quarantine`].
use super::quarantine::Quarantine;
use countersign_plugin_api::{Latency, Problem, Refusal};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    future::Future,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor::MultiThread},
    sync::{Notify, Semaphore, SemaphorePermit},
};

/// How long an attempt may last.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// How often the watchdog looks, and by what it counts time: a machine that sleeps, or a process that is
/// stopped, makes nobody late.
const TICK: Duration = Duration::from_millis(100);
/// Ticks in a second.
pub(super) const SECOND: u32 = 10;
/// What the deadline is in ticks.
const LATE: u32 = 2 * SECOND;
/// How long an attempt waits for a thread. Longer than a busy machine keeps one from running, and short for a request that
/// comes while a plugin hangs.
const PATIENCE: Duration = Duration::from_millis(25);
/// Attempts at once; more are refused. They do not wait for anything but a processor.
const PLACES: usize = 64;

/// The attempt lasted longer than it may, and counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue;

impl From<Overdue> for Refusal {
    fn from(_: Overdue) -> Self {
        Refusal::new(Problem::PluginFault)
            .because("a call into a plugin did not come back in 2 seconds")
            .retry_after(Duration::from_secs(1))
    }
}

/// One for the process: threads belong to no kernel.
static WATCH: Watch = Watch::new();

struct Watch {
    /// Which places are taken, a bit each.
    taken: AtomicU64,
    places: [Place; PLACES],
    ticks: AtomicU32,
}

struct Place {
    attempt: Mutex<Option<Attempt>>,
    /// The plugin that is being called, by its number; 0 is the host's own code.
    inside: AtomicUsize,
}

struct Attempt {
    since: u32,
    request: Option<Arc<Notify>>,
    is_overdue: bool,
    /// The plugin that was being called when it became overdue.
    blamed: Option<Arc<Quarantine>>,
}

tokio::task_local! {
    /// Rung when an attempt of this request is overdue.
    static REQUEST: Arc<Notify>;
}

thread_local! {
    /// The place of the attempt that this thread is in.
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The time in ticks since the process began to watch.
pub(super) fn ticks() -> u32 {
    WATCH.ticks.load(Relaxed)
}

/// Watches from now on, and learns how many threads the event loop has that this is called on.
pub(super) fn start() -> io::Result<()> {
    static WATCHING: Mutex<bool> = Mutex::new(false);
    let mut watching = WATCHING.lock();
    if !*watching {
        let look = || {
            loop {
                thread::sleep(TICK);
                WATCH.look();
            }
        };
        thread::Builder::new().name("watchdog".into()).spawn(look)?;
        *watching = true;
    }
    let Ok(handle) = Handle::try_current() else { return Ok(()) };
    // With one or two there is none to spare, and none that answers while another is in an attempt.
    if let (MultiThread, threads @ 3..) = (handle.runtime_flavor(), handle.metrics().num_workers()) {
        THREADS.get_or_init(|| Semaphore::new(threads - 1));
    }
    Ok(())
}

/// The threads of the event loop that may be in attempts; unset where none can be spared, and none is counted.
static THREADS: OnceLock<Semaphore> = OnceLock::new();

/// Leave for an attempt to keep the thread that it runs on.
pub(super) struct Spared {
    /// Given back when the attempt is over.
    _thread: Option<SemaphorePermit<'static>>,
}

impl Spared {
    /// At once, or not: a store that waits on a network would keep a thread for long.
    pub(super) fn now(latency: Latency) -> Option<Self> {
        Self::now_of(THREADS.get(), latency)
    }

    /// As soon as there is one.
    pub(super) async fn soon(latency: Latency) -> Option<Self> {
        Self::soon_of(THREADS.get(), latency).await
    }

    fn now_of(threads: Option<&'static Semaphore>, latency: Latency) -> Option<Self> {
        if latency == Latency::Waits {
            return None;
        }
        let Some(threads) = threads else { return Some(Self { _thread: None }) };
        threads.try_acquire().ok().map(|thread| Self { _thread: Some(thread) })
    }

    async fn soon_of(threads: Option<&'static Semaphore>, latency: Latency) -> Option<Self> {
        let at_once = Self::now_of(threads, latency);
        if at_once.is_some() || latency == Latency::Waits {
            return at_once;
        }
        let thread = tokio::time::timeout(PATIENCE, threads?.acquire()).await.ok()?.ok()?;
        Some(Self { _thread: Some(thread) })
    }
}

/// Runs what calls plugins, on the thread that asks; where that is not spared, it gives its other work away first.
pub(super) fn attempt<T>(spared: Option<Spared>, run: impl FnOnce() -> T) -> Result<T, Refusal> {
    let Some(entered) = WATCH.enter() else {
        let busy = Refusal::new(Problem::Busy).because("too many calls at once");
        return Err(busy.retry_after(Duration::from_secs(1)));
    };
    let made =
        if spared.is_some() || !has_other_threads() { run() } else { tokio::task::block_in_place(run) };
    if entered.leave() { Ok(made) } else { Err(Overdue.into()) }
}

/// An event loop of one thread has none to give its work to.
fn has_other_threads() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == MultiThread)
}

/// Runs a request in a task of its own, and answers for it when a call in it hangs.
pub(crate) async fn answered<F>(request: F) -> Result<F::Output, Overdue>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let overdue = Arc::new(Notify::new());
    let mut task = tokio::spawn(REQUEST.scope(overdue.clone(), request));
    tokio::select! {
        biased;
        done = &mut task => done.map_err(|_| Overdue),
        () = overdue.notified() => Err(Overdue),
    }
}

/// Notes which plugin this thread is about to call; answers what it was in before.
pub(super) fn step_into(plugin: usize) -> Option<usize> {
    HERE.get().map(|place| WATCH.places[place].inside.swap(plugin, Relaxed))
}

/// The call has come back.
pub(super) fn step_out(before: Option<usize>) {
    if let (Some(place), Some(before)) = (HERE.get(), before) {
        WATCH.places[place].inside.store(before, Relaxed);
    }
}

/// An attempt that is under way.
struct Entered {
    watch: &'static Watch,
    place: usize,
    outer: Option<usize>,
    has_left: bool,
}

impl Watch {
    const fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            places: [const { Place { attempt: Mutex::new(None), inside: AtomicUsize::new(0) } }; PLACES],
            ticks: AtomicU32::new(0),
        }
    }

    fn enter(&'static self) -> Option<Entered> {
        let free = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
        let before = self.taken.fetch_update(AcqRel, Acquire, free).ok()?;
        let place = before.trailing_ones() as usize;
        let request = REQUEST.try_with(Arc::clone).ok();
        self.places[place].inside.store(0, Relaxed);
        let attempt = Attempt { since: self.ticks.load(Relaxed), request, is_overdue: false, blamed: None };
        *self.places[place].attempt.lock() = Some(attempt);
        let outer = HERE.replace(Some(place));
        Some(Entered { watch: self, place, outer, has_left: false })
    }

    /// Finds what is overdue.
    fn look(&self) {
        let now = self.ticks.fetch_add(1, Relaxed).wrapping_add(1);
        let mut taken = self.taken.load(Acquire);
        while taken != 0 {
            let place = &self.places[taken.trailing_zeros() as usize];
            taken &= taken - 1;
            let mut attempt = place.attempt.lock();
            let Some(attempt) = attempt.as_mut() else { continue };
            if attempt.is_overdue || now.wrapping_sub(attempt.since) < LATE {
                continue;
            }
            attempt.is_overdue = true;
            attempt.blamed = Quarantine::of_number(place.inside.load(Relaxed));
            match &attempt.blamed {
                Some(plugin) => plugin.hangs(),
                None => tracing::error!(
                    target: "countersign::watchdog",
                    "a call has kept its thread for 2 seconds outside of any plugin"
                ),
            }
            if let Some(request) = &attempt.request {
                request.notify_one();
            }
        }
    }
}

impl Entered {
    /// Whether the attempt counts.
    fn leave(mut self) -> bool {
        self.end()
    }

    fn end(&mut self) -> bool {
        self.has_left = true;
        HERE.set(self.outer);
        let attempt = self.watch.places[self.place].attempt.lock().take();
        self.watch.taken.fetch_and(!(1 << self.place), AcqRel);
        let Some(attempt) = attempt.filter(|attempt| attempt.is_overdue) else { return true };
        attempt.blamed.iter().for_each(|plugin| plugin.came_back());
        false
    }
}

/// An attempt that panics has ended as well.
impl Drop for Entered {
    fn drop(&mut self) {
        if !self.has_left {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_thread_spared_waits_a_while() {
        // Threads of its own: other tests make attempts meanwhile.
        static TWO: Semaphore = Semaphore::const_new(2);
        let now = |latency| Spared::now_of(Some(&TWO), latency);
        let soon = |latency| Spared::soon_of(Some(&TWO), latency);
        assert!(now(Latency::Waits).is_none() && soon(Latency::Waits).await.is_none());
        let (first, second) =
            (now(Latency::Quick).expect("one of two"), now(Latency::Quick).expect("two of two"));
        assert!(now(Latency::Quick).is_none() && soon(Latency::Quick).await.is_none(), "none comes back");

        let next = tokio::spawn(soon(Latency::Quick));
        tokio::task::yield_now().await;
        drop(first);
        // Whoever waited has it, or has given up meanwhile on a busy machine.
        let third = next.await.expect("no panic");
        assert_eq!(now(Latency::Quick).is_none(), third.is_some());
        drop((second, third));
        let both = [now(Latency::Quick), now(Latency::Quick)];
        assert!(both.iter().all(Option::is_some), "what an attempt kept is given back");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn an_attempt_without_a_thread_runs_on_the_thread_that_asks_and_gives_its_place_back() {
        start().expect("a watchdog");
        let asks = thread::current().id();
        let (ran, place) = attempt(None, || (thread::current().id(), HERE.get())).expect("in time");
        assert_eq!(ran, asks);
        // Other tests make attempts meanwhile, and may take the same place.
        let (place, since) = (place.expect("an attempt has a place"), std::time::Instant::now());
        while WATCH.taken.load(Relaxed) & 1 << place != 0 {
            assert!(since.elapsed() < DEADLINE, "the place is still taken");
            tokio::task::yield_now().await;
        }
        assert_eq!(HERE.get(), None);
    }
}
