//! Messages that wait for their delivery.
//!
//! A message is a record, written in the batch of the change that causes it, so none is sent for a change that
//! was not kept. When the batch is durable, a worker claims the record, hands it to the delivery off every
//! request's path, and deletes it. A message whose claim is found after a crash may have been sent, and is not
//! sent again.
mod handover;
mod waiting;
mod writing;

use super::{Call, HOST, Kernel, audit::Origin, quarantine::Watched};
use crate::{
    metrics::DELIVERIES,
    records::{decode, encode},
};
use countersign_plugin_api::{Delivery, Event, Page, Refusal, Time, Undelivered};
use handover::{hand_over, probe};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

pub(super) use writing::{kept_until, row};

/// The group of all waiting messages.
pub(crate) const GROUP: &str = ":outbox";
const PREFIX: &[u8] = b"row";
/// So many may wait; then new ones are refused, visibly.
const MOST: usize = 1000;
/// So many are handed to the delivery at a time.
const AT_ONCE: usize = 8;
/// How long after each try that failed for now the next one comes; the last wait is repeated (R56).
const WAITS: [u64; 4] = [15, 30, 60, 120];
/// Within what time of its change a message has its first turn.
const SOON: Duration = Duration::from_millis(100);
/// How long a batch of which nobody knows whether it was kept may take to be written after all.
const SURFACES: Duration = Duration::from_mins(1);

/// The queue between those who write messages and the worker. What is in it is in the store as well.
pub(super) struct Outbox {
    announced: mpsc::UnboundedSender<Turn>,
    queue: Mutex<Option<mpsc::UnboundedReceiver<Turn>>>,
    /// All messages that wait, by their keys. None may get two tries at once: the second would take the first for
    /// one that a crash has cut off.
    waiting: Mutex<HashMap<Vec<u8>, Waiting>>,
    /// What is free of [`MOST`]. A message has its place from when it is written, before its change is durable.
    free: Arc<Semaphore>,
    /// The kernel that sends: the newest of those that share this queue.
    sender: watch::Sender<Weak<Kernel>>,
}

/// A message's turn: its key, and which of its turns this is.
type Turn = (Vec<u8>, u32);

/// Room for one message, given back when dropped.
type Place = OwnedSemaphorePermit;

/// A message that is written and not yet known to be durable: its key and its place.
pub(super) struct Outgoing {
    pub(super) key: Vec<u8>,
    place: Place,
}

/// A message that waits.
#[derive(Default)]
struct Waiting {
    /// The turn that counts: one that was put off, or brought forward, is over.
    turn: u32,
    under_way: bool,
    /// Until when it may not be there yet.
    unsure_until: Option<Instant>,
    /// `None` for what an earlier process left beyond the bound.
    _place: Option<Place>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let (announced, queue) = mpsc::unbounded_channel();
        let sender = watch::Sender::new(Weak::new());
        Self {
            announced,
            queue: Mutex::new(Some(queue)),
            waiting: Mutex::default(),
            free: Arc::new(Semaphore::new(MOST)),
            sender,
        }
    }

    /// These messages are durable now. Each has its first turn at a random time soon: what the delivery does must
    /// not slow down the answer that has just been made, nor tell by the next one that there is something to send.
    pub(super) fn announce(self: &Arc<Self>, messages: Vec<Outgoing>) {
        messages.into_iter().for_each(|message| self.admit(message.key, Some(message.place)));
    }

    /// The same for one that has a place, or finds none.
    fn admit(self: &Arc<Self>, key: Vec<u8>, place: Option<Place>) {
        match self.waiting.lock().entry(key.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(vacant) => vacant.insert(Waiting { _place: place, ..Waiting::default() }),
        };
        self.again(key, SOON.mul_f64(rand::random()));
    }

    /// Nobody knows whether these were kept. Those that were are due, once the store has had time to write them.
    pub(super) fn expect(self: &Arc<Self>, messages: Vec<Outgoing>) {
        let unsure_until = Some(Instant::now() + SURFACES);
        for Outgoing { key, place } in messages {
            let message = Waiting { unsure_until, _place: Some(place), ..Waiting::default() };
            self.waiting.lock().insert(key.clone(), message);
            self.again(key, Duration::from_secs(WAITS[0]));
        }
    }

    /// There is no message of that key, or none any more: it is forgotten, unless it may yet come.
    fn forget(self: &Arc<Self>, key: Vec<u8>) {
        let mut waiting = self.waiting.lock();
        let unsure = waiting.get(&key).and_then(|message| message.unsure_until);
        if unsure.is_some_and(|until| Instant::now() < until) {
            drop(waiting);
            self.again(key, Duration::from_secs(WAITS[0]));
        } else {
            waiting.remove(&key);
        }
    }

    /// The next turn of a message comes now, whenever it would have come, unless it is under way.
    fn hurry(&self, key: Vec<u8>) {
        let mut waiting = self.waiting.lock();
        let message = waiting.entry(key.clone()).or_default();
        if !message.under_way {
            message.turn += 1;
            let _ = self.announced.send((key, message.turn));
        }
    }

    /// The turn of a message that waits comes again.
    fn again(self: &Arc<Self>, key: Vec<u8>, after: Duration) {
        let turn = {
            let mut waiting = self.waiting.lock();
            let message = waiting.entry(key.clone()).or_default();
            message.turn += 1;
            message.under_way = false;
            message.turn
        };
        let outbox = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = outbox.announced.send((key, turn));
        });
    }

    /// A place, as long as so many are taken at most.
    fn place(&self, below: usize) -> Option<Place> {
        if self.taken() >= below { None } else { self.free.clone().try_acquire_owned().ok() }
    }

    fn taken(&self) -> usize {
        MOST - self.free.available_permits()
    }

    /// How many messages wait, and since when the oldest of them does.
    pub(super) fn level(&self) -> (usize, Option<Time>) {
        let waiting = self.waiting.lock();
        // The name of a message starts with its second, and ends its key.
        let since = |key: &Vec<u8>| {
            let at = key.len().checked_sub(16)?;
            key[at..at + 8].try_into().map(u64::from_be_bytes).ok()
        };
        (waiting.len(), waiting.keys().filter_map(since).min().map(Time::from_secs))
    }

    /// Begins a turn, if it still counts.
    fn begin(&self, (key, turn): &Turn) -> bool {
        let mut waiting = self.waiting.lock();
        let message = waiting.get_mut(key).filter(|message| message.turn == *turn && !message.under_way);
        message.map(|message| message.under_way = true).is_some()
    }
}

/// A message as it is stored, sealed like every record.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    subject_id: String,
    template: String,
    to: String,
    subject: String,
    text: String,
    html: Option<String>,
    expires_at: u64,
    tries: u32,
    /// When the next try comes.
    next_at: u64,
    /// Why the last one failed; never what the message says.
    why: String,
    /// A try is under way: whoever finds this after a crash does not know whether it was sent.
    claimed: bool,
}

/// The worker. A try is begun and ended by one kernel; the next may be another's.
async fn work(mut queue: mpsc::UnboundedReceiver<Turn>, mut sender: watch::Receiver<Weak<Kernel>>) {
    tokio::spawn(recall(sender.clone()));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(turn) = queue.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some((kernel, delivery)) = sending(&mut sender).await else { return };
        if !kernel.outbox.begin(&turn) {
            continue;
        }
        tokio::spawn(async move {
            kernel.see_off(turn.0, &delivery).await;
            drop(place);
        });
    }
}

/// Asks what an earlier process left, until the store has answered.
async fn recall(mut sender: watch::Receiver<Weak<Kernel>>) {
    while let Some((kernel, _)) = sending(&mut sender).await {
        let Err(refusal) = kernel.recall_messages() else { return };
        drop(kernel);
        tracing::error!(target: "countersign::outbox", because = refusal.log(), "the messages that wait cannot be read yet");
        tokio::time::sleep(Duration::from_secs(WAITS[0])).await;
    }
}

/// What takes the messages.
type Watchful = Arc<Watched<dyn Delivery>>;

/// The kernel that sends, as soon as it is one with a delivery; `None` when there is none any more.
async fn sending(sender: &mut watch::Receiver<Weak<Kernel>>) -> Option<(Arc<Kernel>, Watchful)> {
    loop {
        let kernel = sender.borrow_and_update().upgrade()?;
        if let Some(delivery) = kernel.delivery.clone() {
            return Some((kernel, delivery));
        }
        drop(kernel);
        sender.changed().await.ok()?;
    }
}

/// What became of a try.
enum Outcome {
    Sent,
    Later(Time),
    Gone,
}

impl Kernel {
    /// From now on it is this kernel that hands messages to its delivery. All kernels over one store have one
    /// worker, which the first of them starts; it ends when the last of them is dropped. Must be called on the
    /// event loop.
    pub(crate) fn deliver(self: &Arc<Self>) {
        self.outbox.sender.send_replace(Arc::downgrade(self));
        if let Some(queue) = self.outbox.queue.lock().take() {
            tokio::spawn(work(queue, self.outbox.sender.subscribe()));
        }
    }

    /// Whether the delivery could send now; `None` when there is none.
    pub(crate) async fn probe_delivery(&self) -> Option<Result<(), Undelivered>> {
        Some(probe(self.delivery.clone()?).await)
    }

    /// What an earlier process left. Only the names are read: one message that does not open keeps no other back.
    fn recall_messages(&self) -> Result<(), Refusal> {
        let prefix = self.places.of(GROUP).key(HOST, PREFIX);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let mut page = Page::new();
            self.attend(|| self.store.scan(&prefix, after.as_deref(), MOST, &mut page))??;
            let keys: Vec<Vec<u8>> = page.iter().map(|(key, _)| key.to_vec()).collect();
            after = keys.last().filter(|_| keys.len() == MOST).cloned();
            for key in keys {
                let place = self.outbox.place(MOST);
                self.outbox.admit(key, place);
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn see_off(&self, key: Vec<u8>, delivery: &Watchful) {
        match self.one_try(&key, delivery).await {
            Ok(Outcome::Later(at)) => {
                self.outbox.again(key, at.since(self.now()));
            }
            Ok(Outcome::Sent) => {
                self.outbox.waiting.lock().remove(&key);
            }
            Ok(Outcome::Gone) => self.outbox.forget(key),
            // The store does not answer: the record is still there, and so is the message's turn.
            Err(refusal) => {
                tracing::warn!(target: "countersign::outbox", because = refusal.log(), "a message waits for the store");
                self.outbox.again(key, Duration::from_secs(WAITS[0]));
            }
        }
    }

    async fn one_try(&self, key: &[u8], delivery: &Watchful) -> Result<Outcome, Refusal> {
        let ours = AtomicBool::new(false);
        let claim = loop {
            match self.claim(key, &ours).await {
                // It may have been written, and then nobody but us knows that the message was not handed over.
                Err(refusal) if ours.load(Relaxed) => wait_for_the_store(&refusal).await,
                claim => break claim?,
            }
        };
        let Some((id, row)) = claim else { return Ok(Outcome::Gone) };
        let tries = row.tries;
        let sent = hand_over(delivery.clone(), id, row).await;
        DELIVERIES.count(match &sent {
            Ok(()) => "result=\"sent\"",
            Err(Undelivered::Later(_)) => "result=\"later\"",
            Err(Undelivered::Never(_)) => "result=\"never\"",
            Err(Undelivered::Unknown(_)) => "result=\"unknown\"",
        });
        loop {
            match self.settle(key, tries, &sent).await {
                Err(refusal) => wait_for_the_store(&refusal).await,
                settled => return settled,
            }
        }
    }

    /// Takes a message for a try, durably, so that no second worker and no later process sends it too. `ours` is whether it
    /// was free when we took it.
    pub(super) async fn claim(
        &self,
        key: &[u8],
        ours: &AtomicBool,
    ) -> Result<Option<(String, Row)>, Refusal> {
        let origin = Origin { actor: "outbox".into(), ..Origin::default() };
        let claimed = self
            .run(&origin, |call| {
                let Some(bytes) = call.read(key.to_vec())? else { return Ok(None) };
                let row: Row = decode(&bytes)?;
                if Time::from_secs(row.expires_at) <= call.now() {
                    record(call, failure("mail.failed", &row, "its life ended before it was taken"));
                    call.delete(key.to_vec())?;
                    return Ok(None);
                }
                if row.claimed && ours.load(Relaxed) {
                    return Ok(Some(row));
                }
                if row.claimed {
                    record(
                        call,
                        failure("mail.uncertain", &row, "what became of its last try was not written down"),
                    );
                    call.delete(key.to_vec())?;
                    return Ok(None);
                }
                ours.store(true, Relaxed);
                let claim = Row { claimed: true, tries: row.tries + 1, ..decode(&bytes)? };
                let kept = kept_until(Time::from_secs(row.expires_at));
                call.put(key.to_vec(), &encode(&claim)?, kept, false)?;
                Ok(Some(claim))
            })
            .await?;
        Ok(claimed.map(|row| (super::hex(&key[key.len() - 16..]), row)))
    }

    /// Writes down what became of a try.
    async fn settle(
        &self,
        key: &[u8],
        tries: u32,
        sent: &Result<(), Undelivered>,
    ) -> Result<Outcome, Refusal> {
        let origin = Origin { actor: "outbox".into(), ..Origin::default() };
        self.run(&origin, |call| {
            let Some(bytes) = call.read(key.to_vec())? else { return Ok(Outcome::Gone) };
            let row: Row = decode(&bytes)?;
            let wait = WAITS[usize::try_from(tries).unwrap_or(usize::MAX).clamp(1, WAITS.len()) - 1];
            let next = call.now() + Duration::from_secs(wait);
            let (event, why) = match sent {
                Ok(()) => {
                    let event = Event::success("mail.sent", &row.subject_id).with("template", &row.template);
                    record(call, event);
                    call.delete(key.to_vec())?;
                    return Ok(Outcome::Sent);
                }
                Err(Undelivered::Later(why)) if next < Time::from_secs(row.expires_at) => {
                    tracing::warn!(target: "countersign::outbox", template = row.template, tries, why, "not delivered yet");
                    let again =
                        Row { claimed: false, next_at: next.secs(), why: why.clone(), ..decode(&bytes)? };
                    let kept = kept_until(Time::from_secs(row.expires_at));
                    call.put(key.to_vec(), &encode(&again)?, kept, false)?;
                    return Ok(Outcome::Later(next));
                }
                Err(Undelivered::Later(why) | Undelivered::Never(why)) => ("mail.failed", why),
                // It may have been taken, and two are worse than none: whoever waits for it asks for another.
                Err(Undelivered::Unknown(why)) => ("mail.uncertain", why),
            };
            tracing::error!(target: "countersign::outbox", template = row.template, tries, why, "not delivered");
            record(call, failure(event, &row, why));
            call.delete(key.to_vec())?;
            Ok(Outcome::Gone)
        })
        .await
    }
}

/// The store does not answer, or nobody knows what it has written.
async fn wait_for_the_store(refusal: &Refusal) {
    tracing::warn!(target: "countersign::outbox", because = refusal.log(), "a message waits for the store");
    tokio::time::sleep(Duration::from_secs(WAITS[0])).await;
}

/// Records what became of a mail. One to somebody who has no account yet is counted: strangers cause such.
fn record(call: &Call<'_>, event: Event<'_>) {
    let subject = if event.subject.starts_with(':') { "" } else { event.subject };
    call.audit(HOST, &Event { subject, ..event });
}

fn failure<'a>(name: &'a str, row: &'a Row, why: &'a str) -> Event<'a> {
    Event::failure(name, &row.subject_id).with("template", &row.template).with("why", why)
}
