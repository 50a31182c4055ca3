//! A message as part of its change: whether it is to be sent, whether there is room, and its record.
use super::{GROUP, MOST, Outgoing, PREFIX, Row, record};
use crate::{
    kernel::{Call, Kernel, people::Letter},
    records::encode,
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Time};
use std::time::Duration;

/// So many while something is asked for: that does not take the room of what an owner must be told.
const ASKED_FOR: usize = 900;
/// Of them so many at most while strangers sign up who are nobody yet.
const FOR_STRANGERS: usize = 500;
/// What comes again and again by itself is told at most this often to an account.
const AGAIN: Duration = Duration::from_hours(1);
/// A message whose life is over is kept for so long, so that whoever comes to it next can put on record that it was
/// not sent.
const KEPT: Duration = Duration::from_hours(24);

/// The record of a new message, and what is to be sent once it is durable. `None` when it is not to be sent: nobody is
/// there; or it is but a notice, and there is no delivery, or it was told within the hour, or it cannot wait or be written,
/// which is put on record.
pub(in crate::kernel) fn row(
    call: &Call<'_>,
    draft: &Draft<'_>,
) -> Result<Option<(Outgoing, Vec<u8>)>, Refusal> {
    let kernel = call.kernel;
    // What somebody has asked for is refused when it cannot be sent; no change is refused for a notice.
    let untold = |why: &str| {
        let event = Event::failure("mail.failed", draft.to).with("template", draft.template).with("why", why);
        record(call, event);
        Ok(None)
    };
    if !draft.notice {
        kernel.has_room_for_mail()?;
    } else if !kernel.sends_mail() || !is_due(call, draft)? {
        return Ok(None);
    }
    let place = match kernel.outbox.place(if draft.notice { MOST } else { ASKED_FOR }) {
        None if draft.notice => return untold("the outbox is full"),
        place => place.ok_or_else(is_full)?,
    };
    let letter = match kernel.people.letter(call, draft) {
        Err(refusal) if draft.notice && refusal.problem() == Problem::DeliveryUnavailable => {
            tracing::error!(target: "countersign::mail", because = refusal.log(), template = draft.template, "a notice cannot be written");
            return untold("it could not be written");
        }
        letter => letter?,
    };
    let Some(letter) = letter else { return Ok(None) };
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
    Ok(Some((Outgoing { key: call.host_key(GROUP, &name), place }, encode(&row)?)))
}

fn is_full() -> Refusal {
    Refusal::new(Problem::DeliveryUnavailable).because("the outbox is full")
}

/// Until when the record of a message is kept.
pub(in crate::kernel) fn kept_until(expires_at: Time) -> Time {
    expires_at + KEPT
}

impl Kernel {
    /// Refuses when a message that is asked for could not wait.
    pub(crate) fn has_room_for_mail(&self) -> Result<(), Refusal> {
        self.has_room_below(ASKED_FOR)
    }

    /// The same for what anybody may ask for with an address that is nobody's.
    pub(crate) fn has_room_for_strangers(&self) -> Result<(), Refusal> {
        self.has_room_below(FOR_STRANGERS)
    }

    fn has_room_below(&self, most: usize) -> Result<(), Refusal> {
        if !self.sends_mail() {
            return Err(Refusal::new(Problem::DeliveryUnavailable).because("no delivery is configured"));
        }
        if self.outbox.taken() >= most { Err(is_full()) } else { Ok(()) }
    }
}

/// Whether an account is to be told; notes that it is, of what it is not told again within the hour.
fn is_due(call: &Call<'_>, draft: &Draft<'_>) -> Result<bool, Refusal> {
    let Some(name) = recurring(call, draft) else { return Ok(true) };
    let key = call.host_key(draft.to, &name);
    if call.read(key.clone())?.is_some() {
        return Ok(false);
    }
    call.put(key, &[1], call.now() + AGAIN, false)?;
    Ok(true)
}

/// What comes again and again by itself, and by what one is as another: what others' guesses cause (R23), by its kind; the
/// logins of a program, which keeps no cookie, by its name and from where. Of all else that is done to an account each is told.
fn recurring(call: &Call<'_>, draft: &Draft<'_>) -> Option<Vec<u8>> {
    match draft.template {
        "locked" | "guesses" => Some(format!("notice:{}", draft.template).into_bytes()),
        "new-browser" => Some([b"notice:", &call.place(&format!("{:?}", draft.fields)).0[..]].concat()),
        _ => None,
    }
}
