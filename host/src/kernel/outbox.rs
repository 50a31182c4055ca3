//! Messages that wait for their delivery.
//!
//! A message is a record, written in the batch of the change that causes it, so none is sent for a change that
//! was not kept. When the batch is durable, a worker claims the record, hands it to the delivery off every
//! request's path, and deletes it. A message whose claim is found after a crash may have been sent, and is not
//! sent again.
mod handover;
mod waiting;

use super::{Call, HOST, Kernel, audit::Origin, people::Letter, quarantine::Watched};
use crate::{
    metrics::DELIVERIES,
    records::{decode, encode},
};
use countersign_plugin_api::{Delivery, Draft, Event, Page, Problem, Refusal, Time, Undelivered};
use handover::{hand_over, probe};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, watch};

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
/// A message whose life is over is kept for so long, so that whoever comes to it next can put on record that it was
/// not sent.
const KEPT: Duration = Duration::from_hours(24);
/// A notice of one kind is sent at most this often to an account.
const NOTICE_EVERY: Duration = Duration::from_hours(1);

/// The queue between those who write messages and the worker. What is in it is in the store as well.
pub(super) struct Outbox {
    announced: mpsc::UnboundedSender<Turn>,
    queue: Mutex<Option<mpsc::UnboundedReceiver<Turn>>>,
    /// All messages that wait, by their keys. None may get two tries at once: the second would take the first for
    /// one that a crash has cut off.
    waiting: Mutex<HashMap<Vec<u8>, Waiting>>,
    /// The kernel that sends: the newest of those that share this queue.
    sender: watch::Sender<Weak<Kernel>>,
}

/// A message's turn: its key, and which of its turns this is.
type Turn = (Vec<u8>, u32);

/// A message that waits.
#[derive(Clone, Copy, Default)]
struct Waiting {
    /// The turn that counts: one that was put off, or brought forward, is over.
    turn: u32,
    under_way: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let (announced, queue) = mpsc::unbounded_channel();
        let sender = watch::Sender::new(Weak::new());
        Self { announced, queue: Mutex::new(Some(queue)), waiting: Mutex::default(), sender }
    }

    /// These messages are durable now. Each has its first turn at a random time soon: what the delivery does must
    /// not slow down the answer that has just been made, nor tell by the next one that there is something to send.
    pub(super) fn announce(self: &Arc<Self>, keys: Vec<Vec<u8>>) {
        for key in keys {
            if !self.waiting.lock().contains_key(&key) {
                self.again(key, SOON.mul_f64(rand::random()));
            }
        }
    }

    /// Nobody knows whether these were kept. Those that were are due, once the store has had time to write them.
    pub(super) fn expect(self: &Arc<Self>, keys: Vec<Vec<u8>>) {
        keys.into_iter().for_each(|key| self.again(key, Duration::from_secs(WAITS[0])));
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
            *message = Waiting { turn: message.turn + 1, under_way: false };
            message.turn
        };
        let outbox = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = outbox.announced.send((key, turn));
        });
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

/// A key and a value.
type Record = (Vec<u8>, Vec<u8>);

/// The key and the record of a new message. `None` when it is not to be sent: nobody is there, or a notice of
/// its kind went out within the hour, or there is no delivery and it is but a notice.
pub(super) fn row(call: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Record>, Refusal> {
    let kernel = call.kernel;
    // What somebody has asked for is refused when it cannot be sent; no change is refused for a notice.
    match kernel.has_room_for_mail() {
        Err(_) if draft.notice => return Ok(None),
        room => room?,
    }
    if draft.notice && !is_due(call, draft)? {
        return Ok(None);
    }
    let Some(letter) = kernel.people.letter(call, draft)? else { return Ok(None) };
    let Letter { to, subject, text, html } = letter;
    let row = Row {
        subject_id: draft.to.into(),
        template: draft.template.into(),
        to,
        subject,
        text,
        html,
        expires_at: draft.expires_at.secs(),
        tries: 0,
        next_at: call.now().secs(),
        why: String::new(),
        claimed: false,
    };
    let name = [PREFIX, &call.now().secs().to_be_bytes(), &kernel.next_row()].concat();
    Ok(Some((call.host_key(GROUP, &name), encode(&row)?)))
}

/// Until when the record of a message is kept.
pub(super) fn kept_until(expires_at: Time) -> Time {
    expires_at + KEPT
}

impl Kernel {
    /// Refuses when a message could not wait.
    pub(crate) fn has_room_for_mail(&self) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Refusal::new(Problem::DeliveryUnavailable).because(why));
        if !self.sends_mail() {
            return refuse("no delivery is configured");
        }
        if self.outbox.waiting.lock().len() >= MOST { refuse("the outbox is full") } else { Ok(()) }
    }
}

/// Whether an account has had no notice of this kind within the hour; notes that it gets one.
fn is_due(call: &Call<'_>, draft: &Draft<'_>) -> Result<bool, Refusal> {
    let key = call.host_key(draft.to, format!("notice:{}", draft.template).as_bytes());
    if call.read(key.clone())?.is_some() {
        return Ok(false);
    }
    call.put(key, &[1], call.now() + NOTICE_EVERY, false)?;
    Ok(true)
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
            self.outbox.announce(keys);
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
            Ok(Outcome::Sent | Outcome::Gone) => {
                self.outbox.waiting.lock().remove(&key);
            }
            // The store does not answer: the record is still there, and so is the message's turn.
            Err(refusal) => {
                tracing::warn!(target: "countersign::outbox", because = refusal.log(), "a message waits for the store");
                self.outbox.again(key, Duration::from_secs(WAITS[0]));
            }
        }
    }

    async fn one_try(&self, key: &[u8], delivery: &Watchful) -> Result<Outcome, Refusal> {
        let Some((id, row)) = self.claim(key).await? else { return Ok(Outcome::Gone) };
        let tries = row.tries;
        let sent = hand_over(delivery.clone(), id, row).await;
        DELIVERIES.count(match &sent {
            Ok(()) => "result=\"sent\"",
            Err(Undelivered::Later(_)) => "result=\"later\"",
            Err(Undelivered::Never(_)) => "result=\"never\"",
            Err(Undelivered::Unknown(_)) => "result=\"unknown\"",
        });
        self.settle(key, tries, sent).await
    }

    /// Takes a message for a try, durably, so that no second worker and no later process sends it too.
    pub(super) async fn claim(&self, key: &[u8]) -> Result<Option<(String, Row)>, Refusal> {
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
                if row.claimed {
                    record(
                        call,
                        failure("mail.uncertain", &row, "what became of its last try was not written down"),
                    );
                    call.delete(key.to_vec())?;
                    return Ok(None);
                }
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
        sent: Result<(), Undelivered>,
    ) -> Result<Outcome, Refusal> {
        let origin = Origin { actor: "outbox".into(), ..Origin::default() };
        self.run(&origin, |call| {
            let Some(bytes) = call.read(key.to_vec())? else { return Ok(Outcome::Gone) };
            let row: Row = decode(&bytes)?;
            let wait = WAITS[usize::try_from(tries).unwrap_or(usize::MAX).clamp(1, WAITS.len()) - 1];
            let next = call.now() + Duration::from_secs(wait);
            let (event, why) = match &sent {
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

/// Records what became of a mail. One to somebody who has no account yet is counted: strangers cause such.
fn record(call: &Call<'_>, event: Event<'_>) {
    let subject = if event.subject.starts_with(':') { "" } else { event.subject };
    call.audit(HOST, &Event { subject, ..event });
}

fn failure<'a>(name: &'a str, row: &'a Row, why: &'a str) -> Event<'a> {
    Event::failure(name, &row.subject_id).with("template", &row.template).with("why", why)
}
