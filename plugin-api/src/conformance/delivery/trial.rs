//! What every clause is written with: messages of all kinds, and a way to send them that ends.
use super::Broken;
use crate::{Delivery, Message, Secret, Time, Undelivered};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Stands in every text, and nowhere else.
pub(super) const CANARY: &str = "918273";
/// What the boundary answers for a delivery that panicked, and what the kit answers without one.
pub(super) const PANICKED: &str = crate::delivery::PANICKED;

/// The 30 seconds of the contract, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(40);

/// A message that is owned.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) id: String,
    to: String,
    subject: String,
    pub(super) text: String,
    html: Option<String>,
}

/// Shown without its text.
impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message to {:?} with the subject {:?}", self.to, self.subject)
    }
}

impl Letter {
    pub(super) fn plain(number: usize) -> Self {
        Self {
            id: format!("kit-{number}-{:016x}", RandomState::new().hash_one(number)),
            to: format!("kit-{number}@countersign.invalid"),
            subject: "Conformance".into(),
            text: format!("Your code is\n\n{CANARY}\n\nand nobody else's."),
            html: None,
        }
    }
    fn to(to: &str) -> Self {
        Self { to: to.into(), ..Self::plain(0) }
    }
    fn about(subject: &str) -> Self {
        Self { subject: subject.into(), ..Self::plain(0) }
    }
    fn saying(text: &str) -> Self {
        Self { text: format!("{text}\n{CANARY}"), ..Self::plain(0) }
    }

    pub(super) fn hostile() -> Vec<Self> {
        let long = "x".repeat(6_000);
        let recipients = [
            "",
            "@",
            "nobody",
            "a@b@c.invalid",
            "a@",
            "@b.invalid",
            "a b@c.invalid",
            "a@c.invalid, b@c.invalid",
            "a@c.invalid;b@c.invalid",
            "<a@c.invalid>",
            "\"a b\"@c.invalid",
            "a@[127.0.0.1]",
            "-oQ/tmp@c.invalid",
            "ä@ö.invalid",
            "\u{202e}a@c.invalid",
            "a@c.invalid> SIZE=1",
            &long,
        ];
        let subjects =
            ["", " ", "=?utf-8?q?Bcc:=20x@y.invalid?=", "ü\u{1f511}\u{202e}", "a: b", "%s%n{}", &long];
        let texts =
            ["", ".", ".\n.\n", "\r\n.\r\nMAIL FROM:<>\r\n", "\r.\r", "\0", "\u{1b}[2J", "<b>&amp;", &long];
        let mut letters: Vec<Self> = recipients.iter().map(|to| Self::to(to)).collect();
        letters.extend(subjects.iter().map(|subject| Self::about(subject)));
        letters.extend(texts.iter().map(|text| Self::saying(text)));
        letters.push(Self { id: String::new(), ..Self::plain(0) });
        letters.push(Self { id: "<>@\"\u{e9}".into(), ..Self::plain(0) });
        letters.push(Self { html: Some(String::new()), ..Self::plain(0) });
        letters
    }

    pub(super) fn of_two_lines() -> Vec<Self> {
        let endings = ["\r\n", "\n", "\r", "\0", "\u{b}", "\u{7f}", "\u{85}"];
        let one_each = |ending: &&str| {
            [
                Self::to(&format!("a@c.invalid{ending}RCPT TO:<b@c.invalid>")),
                Self::to(&format!("{ending}a@c.invalid")),
                Self::about(&format!("Hello{ending}Bcc: b@c.invalid")),
                Self::about(&format!("Hello{ending}")),
                Self { id: format!("a{ending}b"), ..Self::plain(0) },
            ]
        };
        endings.iter().flat_map(one_each).collect()
    }

    /// Texts that a transport is tempted to change.
    pub(super) fn of_many_shapes() -> Vec<Self> {
        let long = "all on one line ".repeat(200);
        let texts = [
            "Your code is\n\n918273\n",
            ".\n..\n.hidden\n\n.",
            "From here to there\n>From",
            "https://auth.example.org/x?token=v1.k.p.m=3D&next=%2F",
            "Grüße, 鍵, \u{1f511}",
            "tab\tand =20 and trailing",
            long.trim_end(),
        ];
        let letter =
            |(number, text): (usize, &&str)| Self { text: (*text).to_owned(), ..Self::plain(number) };
        texts.iter().cycle().take(21).enumerate().map(letter).collect()
    }
}

/// A letter, and what became of it.
pub(super) type Sent = (Letter, Result<(), Undelivered>);

/// One run of one clause.
pub(super) struct Trial {
    clause: &'static str,
    delivery: Arc<dyn Delivery>,
}

impl Trial {
    pub(super) fn new(clause: &'static str, delivery: &Arc<dyn Delivery>) -> Self {
        Self { clause, delivery: delivery.clone() }
    }

    pub(super) fn holds(&self, expected: &str, truth: bool, seen: impl fmt::Display) -> Result<(), Broken> {
        if truth {
            return Ok(());
        }
        Err(Broken { clause: self.clause, expected: expected.to_owned(), seen: seen.to_string() })
    }

    pub(super) fn no_panic(&self, sent: &[Sent]) -> Result<(), Broken> {
        for (letter, outcome) in sent {
            let panicked = matches!(outcome, Err(Undelivered::Unknown(reason)) if reason == PANICKED);
            self.holds("an answer", !panicked, format_args!("a panic for {letter}"))?;
        }
        Ok(())
    }

    /// Sends all of them at once, each from a thread of its own. A thread that hangs is left behind.
    pub(super) fn send(&self, letters: Vec<Letter>) -> Result<Vec<Sent>, Broken> {
        let (tell, told) = mpsc::channel();
        let count = letters.len();
        for letter in letters {
            let (delivery, tell) = (self.delivery.clone(), tell.clone());
            thread::spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| delivery.send(&message(&letter))));
                let outcome = outcome.unwrap_or_else(|_| Err(Undelivered::Unknown(PANICKED.into())));
                let _ = tell.send((letter, outcome));
            });
        }
        let give_up = Instant::now() + PATIENCE;
        let next = || told.recv_timeout(give_up.saturating_duration_since(Instant::now())).ok();
        let sent: Vec<Sent> = std::iter::from_fn(next).take(count).collect();
        let all = sent.len() == count;
        self.holds("every try to end within 30 seconds", all, format_args!("{} of {count}", sent.len()))?;
        Ok(sent)
    }
}

fn message(letter: &Letter) -> Message<'_> {
    Message {
        id: &letter.id,
        to: &letter.to,
        subject: &letter.subject,
        text: Secret::new(&letter.text),
        html: letter.html.as_deref().map(Secret::new),
        expires_at: Time::NEVER,
    }
}
