//! The execution of calls: attempt, one conditional batch, and again when the world has moved.
use super::{
    Kernel,
    audit::Origin,
    call::{Aftermath, Call, Memo},
    watchdog::{self, DEADLINE, Spared},
};
use crate::metrics::{self, CONFLICTS, STORE_SECONDS};
use countersign_plugin_api::{Batch, Completion, Problem, Refusal, StoreError, kernel::OnDone};
use parking_lot::Mutex;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How often a call is tried when records that it read have changed. Contenders take turns, but whoever comes anew
/// tries once before asking for one, and may win: so many newcomers are borne with.
const ATTEMPTS: usize = 96;
/// How many different sets of hashes one call may ask for.
const HASHES: usize = 3;
/// Whoever asks for a message is answered no earlier than this after asking. The same is done for every address, in well
/// under a millisecond; what is left of a difference ends in this wait, and a clock's tick.
const UNHURRIED: Duration = Duration::from_millis(20);

impl Kernel {
    /// Runs `decide` until what it decided is durable, or it refuses.
    ///
    /// `decide` must depend on what it reads through the call and on nothing that changes: it is called again
    /// after a conflict and after a hash. A refusal writes nothing; a decision that must count although the
    /// answer is a refusal returns `Ok` with that answer in it.
    pub(crate) async fn run<T>(
        &self,
        origin: &Origin,
        decide: impl Fn(&Call<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (memo, asked) = (Memo::new(), tokio::time::Instant::now());
        let (mut attempts, mut hashes) = (0, 0);
        let mut turn = None;
        loop {
            let spared = Spared::soon(self.latency).await;
            let attempt = watchdog::attempt(spared, || self.attempt(origin, &memo, &decide))?;
            let (value, batch, mut aftermath, lead) = match attempt {
                Attempt::Refused(refusal) => return Err(refusal),
                Attempt::Pending(job) => {
                    hashes += 1;
                    if hashes > HASHES {
                        return Err(
                            Refusal::new(Problem::PluginFault).because("a call asks for hash after hash")
                        );
                    }
                    let busy = || Refusal::new(Problem::Busy).retry_after(Duration::from_secs(1));
                    let made = self.pool.hash(job.clone()).await.map_err(|_| busy().because("hashing"))?;
                    memo.remember(&job, made);
                    continue;
                }
                Attempt::Decided { value, batch, aftermath, lead } => (value, batch, aftermath, lead),
            };
            let Some(batch) = batch else {
                self.recorded(aftermath);
                return Ok(value);
            };
            match self.apply(batch).await {
                Ok(()) => {
                    self.outbox.announce(std::mem::take(&mut aftermath.outgoing));
                    let answer_at = aftermath.asked.then(|| asked + UNHURRIED);
                    self.recorded(aftermath);
                    if let Some(at) = answer_at {
                        tokio::time::sleep_until(at).await;
                    }
                    return Ok(value);
                }
                Err(StoreError::Conflict) => {
                    CONFLICTS.count("");
                    attempts += 1;
                    if attempts >= ATTEMPTS {
                        return Err(Refusal::new(Problem::Busy)
                            .because("conflicts")
                            .retry_after(Duration::from_secs(1)));
                    }
                    // From the first conflict on, contenders for one home take turns; other homes go on.
                    if turn.is_none() {
                        let next = self.turns[lead % self.turns.len()].lock();
                        // Whoever has the turn may hang in a plugin.
                        turn = Some(tokio::time::timeout(DEADLINE, next).await.map_err(|_| {
                            let busy = Refusal::new(Problem::Busy).because("no turn came in 2 seconds");
                            busy.retry_after(Duration::from_secs(1))
                        })?);
                    }
                }
                Err(error) => {
                    if error == StoreError::Unknown {
                        self.outbox.expect(aftermath.outgoing);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// Asks the store outside of a call, watched.
    pub(super) fn attend<T>(&self, ask: impl FnOnce() -> T) -> Result<T, Refusal> {
        watchdog::attempt(Spared::now(self.latency), ask)
    }

    fn attempt<T>(
        &self,
        origin: &Origin,
        memo: &Memo,
        decide: impl Fn(&Call<'_>) -> Result<T, Refusal>,
    ) -> Attempt<T> {
        let call = Call::new(self, origin, memo);
        let outcome = decide(&call);
        // Looked at first: an attempt that lacked a hash has decided nothing, whatever it made of the refusal.
        if let Some(job) = call.take_pending() {
            return Attempt::Pending(Arc::new(job));
        }
        let value = match outcome {
            Ok(value) => value,
            Err(refusal) => return Attempt::Refused(refusal),
        };
        let touched = call.touched();
        match call.into_batch() {
            Err(refusal) => Attempt::Refused(refusal),
            Ok((None, aftermath)) => {
                if let Some(batch) = touched {
                    // Activity is worth recording, not waiting for; a conflict means that somebody else did.
                    self.store.apply(batch, Completion::new(Arc::new(Ignored)));
                }
                Attempt::Decided { value, batch: None, aftermath, lead: 0 }
            }
            Ok((Some(batch), aftermath)) => {
                let lead = batch.ops().next().map_or(0, |op| usize::from(op.key[7]));
                Attempt::Decided { value, batch: Some(batch), aftermath, lead }
            }
        }
    }

    /// Submits a batch and waits until it is durable. A store that sits on it runs into the deadline, and then
    /// nobody knows whether it was written.
    pub(crate) async fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let since = Instant::now();
        let outcome = self.hand_over(batch).await;
        STORE_SECONDS.took(metrics::APPLY, since.elapsed());
        metrics::failed("apply", outcome);
        outcome
    }

    async fn hand_over(&self, batch: Batch) -> Result<(), StoreError> {
        if !self.health.admits_a_batch() {
            return Err(StoreError::Unavailable);
        }
        let slot = Arc::new(Slot::default());
        let spared = Spared::soon(self.latency).await;
        let apply = || self.store.apply(batch, Completion::new(slot.clone()));
        let handed_over = watchdog::attempt(spared, apply);
        let outcome = match handed_over {
            Ok(()) => tokio::time::timeout(DEADLINE, Waiting(slot)).await,
            // It may have been written before it was late.
            Err(_) => return Err(StoreError::Unknown),
        };
        self.health.batch_was(outcome.is_ok());
        outcome.unwrap_or(Err(StoreError::Unknown))
    }
}

enum Attempt<T> {
    Refused(Refusal),
    Pending(Arc<super::hashing::Job>),
    Decided { value: T, batch: Option<Batch>, aftermath: Aftermath, lead: usize },
}

/// Where a completion lands and a task waits.
#[derive(Default)]
struct Slot(Mutex<(Option<Outcome>, Option<Waker>)>);

type Outcome = Result<(), StoreError>;

impl OnDone for Slot {
    fn done(&self, outcome: Outcome) {
        let waker = {
            let mut state = self.0.lock();
            state.0 = Some(outcome);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Waiting(Arc<Slot>);

impl Future for Waiting {
    type Output = Outcome;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.0.lock();
        match state.0.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub(super) struct Ignored;

impl OnDone for Ignored {
    fn done(&self, _outcome: Result<(), StoreError>) {}
}
