//! The kit, tried on a small delivery that is right, and on the same delivery with one fault after another.
use super::{
    Broken, across, breaking_off_is_unknown, check_all, messages_arrive_once_and_whole, silence_is_given_up,
};
use crate::{Delivery, Message, Undelivered};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    PanicsAtOddAddresses,
    RepeatsTheText,
    SaysNothing,
    DeliversTwice,
    LosesInSilence,
    UnstuffsDots,
    CallsSilenceFinal,
    TriesAgainWhatMayBeThere,
    BreaksOff,
}
use Fault::*;

#[derive(Default)]
struct Boxes(Mutex<HashMap<String, Vec<String>>>);

impl Boxes {
    fn put(&self, message: &Message<'_>, text: &str) {
        self.0.lock().unwrap().entry(message.id.into()).or_default().push(text.into());
    }
    fn of(&self, id: &str) -> Vec<String> {
        self.0.lock().unwrap().get(id).cloned().unwrap_or_default()
    }
}

struct Toy {
    boxes: Arc<Boxes>,
    fault: Fault,
}

impl Delivery for Toy {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        let text = message.text.expose();
        let odd = message.to.matches('@').count() != 1;
        match self.fault {
            PanicsAtOddAddresses => assert!(!odd),
            RepeatsTheText if odd => return Err(Undelivered::Never(format!("cannot send {text}"))),
            SaysNothing if odd => return Err(Undelivered::Never(String::new())),
            CallsSilenceFinal => return Err(Undelivered::Never("no answer".into())),
            LosesInSilence => return Ok(()),
            DeliversTwice => self.boxes.put(message, text),
            TriesAgainWhatMayBeThere => {
                self.boxes.put(message, text);
                return Err(Undelivered::Later("it hung up".into()));
            }
            BreaksOff => {
                self.boxes.put(message, text);
                return Err(Undelivered::Unknown("it hung up".into()));
            }
            UnstuffsDots => {
                self.boxes.put(message, &text.replace("\n.", "\n"));
                return Ok(());
            }
            _ => {}
        }
        if odd {
            return Err(Undelivered::Never("not one address".into()));
        }
        self.boxes.put(message, text);
        Ok(())
    }
}

/// The kit's verdict, its two clauses beside the table included.
fn verdict(fault: Fault) -> Vec<Broken> {
    let boxes = Arc::<Boxes>::default();
    let toy = across(Toy { boxes: boxes.clone(), fault });
    let mut broken = check_all(&toy).err().unwrap_or_default();
    broken.extend(match fault {
        CallsSilenceFinal => silence_is_given_up(&toy).err(),
        TriesAgainWhatMayBeThere | BreaksOff => breaking_off_is_unknown(&toy, &|id| boxes.of(id)).err(),
        _ => messages_arrive_once_and_whole(&toy, &|id| boxes.of(id)).err(),
    });
    broken
}

#[test]
fn a_delivery_that_is_right_keeps_every_clause() {
    assert_eq!(verdict(None), []);
    assert_eq!(verdict(BreaksOff), []);
}

#[test]
fn every_fault_is_noticed() {
    for (fault, clause) in [
        (PanicsAtOddAddresses, "hostile_messages_are_no_panic"),
        (RepeatsTheText, "reasons_repeat_no_text"),
        (SaysNothing, "reasons_repeat_no_text"),
        (DeliversTwice, "messages_arrive_once_and_whole"),
        (LosesInSilence, "messages_arrive_once_and_whole"),
        (UnstuffsDots, "messages_arrive_once_and_whole"),
        (CallsSilenceFinal, "silence_is_given_up"),
        (TriesAgainWhatMayBeThere, "breaking_off_is_unknown"),
    ] {
        let broken = verdict(fault);
        assert!(broken.iter().any(|one| one.clause == clause), "{fault:?}: {broken:?}");
    }
}

/// The interface refuses such a head before a delivery sees it, so this clause is broken by one that is not behind
/// the interface alone.
#[test]
fn heads_of_two_lines_are_noticed() {
    let toy: Arc<dyn Delivery> = Arc::new(Toy { boxes: Arc::default(), fault: None });
    let broken = check_all(&toy).expect_err("nobody refuses them");
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert_eq!(broken[0].clause, "control_characters_in_a_head_are_refused");
}
