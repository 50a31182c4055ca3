//! Deliveries: how a message reaches a person.
use crate::{
    abi::{
        flat::{Flat, Item},
        objects::{DONE, DeliveryFace, DeliveryObject, FAULT},
    },
    secret::Secret,
    units::Time,
};
use std::fmt;

/// A message to one person.
pub struct Message<'a> {
    /// The same for every try of one message.
    pub id: &'a str,
    /// One address.
    pub to: &'a str,
    /// One line.
    pub subject: &'a str,
    /// The text, which may hold a code or a link.
    pub text: Secret<&'a str>,
    /// The same as HTML.
    pub html: Option<Secret<&'a str>>,
    /// From when on it is of no use, and must not be sent.
    pub expires_at: Time,
}

/// Sends messages.
///
/// What a delivery is handed is what [`Message`] says: the interface refuses a message whose id, recipient or
/// subject holds a control character, so that none can become a header, a command or a log line.
pub trait Delivery: Send + Sync + 'static {
    /// Sends one message. Runs on a pool and may block for up to 30 seconds; any number at once. `Ok` means
    /// that the next hop has taken it. The kernel tries again what may be tried again, never after
    /// `expires_at`; a send that panics, or is not back after 45 seconds, is taken for [`Undelivered::Unknown`].
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered>;

    /// Whether the next hop would take a message now, as far as that can be told without sending any: an operator
    /// asks (`countersign doctor`). Sends nothing. Runs like [`send`](Self::send), and may block for up to 15 seconds.
    /// [`Undelivered::Unknown`] says that it cannot be told, as a delivery does that has no answer of its own.
    fn probe(&self) -> Result<(), Undelivered> {
        Err(Undelivered::Unknown("it can be told by a message alone".into()))
    }
}

/// Why a message was not taken. The reason goes to the log and must not repeat the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// It may go through later: a timeout, a greylisting, a refused connection.
    Later(String),
    /// It will never: the address does not exist, the message is refused.
    Never(String),
    /// Nobody knows: the next hop had all of it, and broke off without an answer. It is not sent again, because a
    /// second copy is worse than asking for another mail.
    Unknown(String),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(reason) => write!(f, "not delivered yet: {reason}"),
            Self::Never(reason) => write!(f, "not deliverable: {reason}"),
            Self::Unknown(reason) => write!(f, "perhaps delivered: {reason}"),
        }
    }
}
impl std::error::Error for Undelivered {}

const HEAD: u32 = 1;
const TEXT: u32 = 2;
const HTML: u32 = 3;
const ID: u32 = 4;
const LATER: u32 = 1;
const NEVER: u32 = 2;
/// Also what a delivery answers that was built before there was the question.
pub(crate) const UNKNOWN: u32 = 3;

/// The reason of a delivery that panicked.
pub(crate) const PANICKED: &str = "the delivery plugin panicked";

/// A plugin's delivery as flat data.
pub(crate) struct Exported<T>(pub(crate) T);

impl<T: Delivery> DeliveryFace for Exported<T> {
    fn send(&self, message: &Flat, reason: &mut Flat) -> u32 {
        let item = |tag| message.find(tag).unwrap_or_default();
        let (head, id) = (item(HEAD), item(ID));
        let message = Message {
            id: id.text(),
            to: head.text(),
            subject: head.text_b(),
            text: Secret::new(item(TEXT).text()),
            html: message.find(HTML).map(|html| Secret::new(html.text())),
            expires_at: Time::from_secs(id.x),
        };
        let heads = [("id", message.id), ("recipient", message.to), ("subject", message.subject)];
        let split = heads.iter().find(|(_, head)| head.contains(char::is_control));
        let outcome = match split {
            Some((head, _)) => Err(Undelivered::Never(format!("its {head} holds a control character"))),
            None => self.0.send(&message),
        };
        told(outcome, reason)
    }
    fn probe(&self, reason: &mut Flat) -> u32 {
        told(self.0.probe(), reason)
    }
}

/// An outcome as a code and its reason.
fn told(outcome: Result<(), Undelivered>, reason: &mut Flat) -> u32 {
    let (code, why) = match outcome {
        Ok(()) => return DONE,
        Err(Undelivered::Later(why)) => (LATER, why),
        Err(Undelivered::Never(why)) => (NEVER, why),
        Err(Undelivered::Unknown(why)) => (UNKNOWN, why),
    };
    reason.push(Item::bytes(0, why.as_bytes()));
    code
}

/// The outcome that they tell of.
fn heard(code: u32, reason: &Flat) -> Result<(), Undelivered> {
    let why = || {
        let said = reason.is_sound().then(|| reason.at(0)).flatten();
        said.map(|item| item.text().to_owned()).unwrap_or_default()
    };
    match code {
        DONE => Ok(()),
        NEVER => Err(Undelivered::Never(why())),
        UNKNOWN => Err(Undelivered::Unknown(why())),
        // Before or after it was handed over, nobody can tell.
        FAULT => Err(Undelivered::Unknown(PANICKED.into())),
        _ => Err(Undelivered::Later(why())),
    }
}

/// A delivery in another library, as the plain trait.
pub(crate) struct Imported(pub(crate) DeliveryObject);

impl Delivery for Imported {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let mut flat = Flat::with_capacity(4, 4096);
        flat.push(Item {
            tag: HEAD,
            a: message.to.as_bytes(),
            b: message.subject.as_bytes(),
            ..Item::default()
        });
        flat.push(Item::bytes(TEXT, message.text.expose().as_bytes()));
        if let Some(html) = &message.html {
            flat.push(Item::bytes(HTML, html.expose().as_bytes()));
        }
        let (id, x) = (message.id.as_bytes(), message.expires_at.secs());
        flat.push(Item { tag: ID, a: id, x, ..Item::default() });
        let mut reason = Flat::default();
        let code = self.0.send(&flat, &mut reason);
        heard(code, &reason)
    }
    fn probe(&self) -> Result<(), Undelivered> {
        let mut reason = Flat::default();
        let code = self.0.probe(&mut reason);
        // Nothing was handed over, so that is known.
        if code == FAULT { Err(Undelivered::Later(PANICKED.into())) } else { heard(code, &reason) }
    }
}
