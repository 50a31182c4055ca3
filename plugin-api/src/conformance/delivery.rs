//! The delivery contract, clause by clause.
//!
//! ```no_run
//! # use countersign_plugin_api::{Delivery, conformance::delivery};
//! # use std::sync::Arc;
//! # fn run(open: impl Fn() -> Arc<dyn Delivery>) {
//! let scratch: Arc<dyn Delivery> = open();
//! for (name, clause) in delivery::CLAUSES {
//!     match clause(&scratch) {
//!         Ok(()) => println!("ok      {name}"),
//!         Err(broken) => println!("BROKEN  {broken}"),
//!     }
//! }
//! # }
//! ```
//!
//! The clauses send some hundred messages to addresses below `.invalid` (RFC 2606), so the next hop had better be
//! a scratch one; it may take them, refuse them or be gone. A delivery that is not in a library is seen as a host
//! sees it through [`across`]. Two clauses need more than a delivery and stand beside the table:
//! [`messages_arrive_once_and_whole`], which asks what arrived, and [`silence_is_given_up`], which wants a next
//! hop that never answers.
//!
//! What no kit can show is that `Ok` is said only when the next hop has really taken a message for good.
#[cfg(test)]
mod tests;
mod trial;

pub use super::store::Broken;

use crate::{
    Delivery, Undelivered,
    abi::objects::delivery_object,
    delivery::{Exported, Imported},
};
use std::sync::Arc;
use trial::{CANARY, Letter, PANICKED, Trial};

/// One clause, run on a delivery.
pub type Clause = fn(&Arc<dyn Delivery>) -> Result<(), Broken>;

macro_rules! clauses {
    ($($clause:ident),* $(,)?) => {
        /// Every clause that needs nothing but a delivery, by name.
        pub const CLAUSES: &[(&str, Clause)] = &[$((stringify!($clause), $clause),)*];
    };
}
clauses![
    any_number_are_sent_at_once,
    hostile_messages_are_no_panic,
    control_characters_in_a_head_are_refused,
    reasons_repeat_no_text,
];

/// Runs every clause and answers all that are broken.
pub fn check_all(delivery: &Arc<dyn Delivery>) -> Result<(), Vec<Broken>> {
    let broken: Vec<Broken> = CLAUSES.iter().filter_map(|(_, clause)| clause(delivery).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// A delivery as a host sees it: through the boundary between libraries, where a panic becomes an answer.
pub fn across(delivery: impl Delivery) -> Arc<dyn Delivery> {
    Arc::new(Imported(delivery_object(Exported(delivery))))
}

/// Sends run at once on many threads, and each ends within 30 seconds.
pub fn any_number_are_sent_at_once(delivery: &Arc<dyn Delivery>) -> Result<(), Broken> {
    let trial = Trial::new("any_number_are_sent_at_once", delivery);
    trial.no_panic(&trial.send((0..32).map(Letter::plain).collect())?)
}

/// Whatever stands in a message, the answer is an answer.
pub fn hostile_messages_are_no_panic(delivery: &Arc<dyn Delivery>) -> Result<(), Broken> {
    let trial = Trial::new("hostile_messages_are_no_panic", delivery);
    trial.no_panic(&trial.send(Letter::hostile())?)
}

/// A recipient, a subject or an id that is not one line would be a header, a command or a log line of somebody
/// else's making. It can never be sent, so the answer is `Never`.
pub fn control_characters_in_a_head_are_refused(delivery: &Arc<dyn Delivery>) -> Result<(), Broken> {
    let trial = Trial::new("control_characters_in_a_head_are_refused", delivery);
    for (letter, outcome) in trial.send(Letter::of_two_lines())? {
        let refused = matches!(outcome, Err(Undelivered::Never(_)));
        trial.holds("Never", refused, format_args!("{outcome:?} for {letter}"))?;
    }
    Ok(())
}

/// Reasons are logged, and what is logged cannot sign in.
pub fn reasons_repeat_no_text(delivery: &Arc<dyn Delivery>) -> Result<(), Broken> {
    let trial = Trial::new("reasons_repeat_no_text", delivery);
    let letters = [Letter::hostile(), Letter::of_two_lines(), vec![Letter::plain(0)]].concat();
    for (letter, outcome) in trial.send(letters)? {
        let (Undelivered::Later(reason) | Undelivered::Never(reason) | Undelivered::Unknown(reason)) =
            match outcome {
                Ok(()) => continue,
                Err(why) => why,
            };
        // The reason itself is not shown: it is what must not be seen.
        trial.holds(
            "a reason without the text",
            !reason.contains(CANARY),
            format_args!("it for {letter}"),
        )?;
        trial.holds("a reason", !reason.trim().is_empty(), format_args!("none for {letter}"))?;
    }
    Ok(())
}

/// With a next hop that takes everything: each message arrives exactly once, and its text is what was sent. `received`
/// answers the texts that have arrived under the id of a message, decoded, in whatever kind of line ends.
pub fn messages_arrive_once_and_whole(
    delivery: &Arc<dyn Delivery>,
    received: &dyn Fn(&str) -> Vec<String>,
) -> Result<(), Broken> {
    let trial = Trial::new("messages_arrive_once_and_whole", delivery);
    for (letter, outcome) in trial.send(Letter::of_many_shapes())? {
        trial.holds("Ok", outcome.is_ok(), format_args!("{outcome:?} for {letter}"))?;
        let arrived = received(&letter.id);
        trial.holds("one copy", arrived.len() == 1, format_args!("{} of {letter}", arrived.len()))?;
        let whole = |text: &str| text.replace("\r\n", "\n").trim_end_matches('\n').to_owned();
        let (sent, arrived) = (whole(&letter.text), whole(&arrived[0]));
        trial.holds("the text that was sent", sent == arrived, format_args!("{arrived:?} for {sent:?}"))?;
    }
    Ok(())
}

/// With a next hop that takes a whole message and breaks off without an answer: it is `Unknown`, and only one copy is
/// there.
pub fn breaking_off_is_unknown(
    delivery: &Arc<dyn Delivery>,
    received: &dyn Fn(&str) -> Vec<String>,
) -> Result<(), Broken> {
    let trial = Trial::new("breaking_off_is_unknown", delivery);
    for (letter, outcome) in trial.send(vec![Letter::plain(0)])? {
        let unknown = matches!(&outcome, Err(Undelivered::Unknown(reason)) if reason != PANICKED);
        trial.holds("Unknown", unknown, format_args!("{outcome:?} for {letter}"))?;
        let arrived = received(&letter.id).len();
        trial.holds("one copy", arrived == 1, format_args!("{arrived} of {letter}"))?;
    }
    Ok(())
}

/// With a next hop that never answers: the try ends within 30 seconds, and it is `Later`.
pub fn silence_is_given_up(delivery: &Arc<dyn Delivery>) -> Result<(), Broken> {
    let trial = Trial::new("silence_is_given_up", delivery);
    for (letter, outcome) in trial.send(vec![Letter::plain(0)])? {
        let later = matches!(&outcome, Err(Undelivered::Later(_)));
        trial.holds("Later", later, format_args!("{outcome:?} for {letter}"))?;
    }
    Ok(())
}
