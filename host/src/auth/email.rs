//! Proving an address: a mailed link makes the account that waited for it, or proves the one there is.
use super::{
    Asked, Need, Reply,
    links::{self, Purpose},
    registration, require,
};
use crate::{
    accounts::{self, Email},
    kernel::{Call, HOST},
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Secret};
use serde::Deserialize;
use serde_json::Map;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    token: Secret<String>,
}

/// `POST /email/verify`: whoever has the mailed link reads the mailbox. It signs nobody in.
pub(super) fn verify(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let Verify { token } = asked.request.json()?;
    if !registration::confirm(call, token.expose())? {
        let mut account = links::spend(call, Purpose::Email, token.expose())?;
        accounts::prove(call, &mut account)?;
    }
    Ok(Reply::empty())
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `POST /email/verify/send`: a link to the caller's own address.
///
/// It is sent when it is asked for, and not at sign-up: the proof takes away the password and the factors that
/// were there before it, which nobody should meet with unprepared.
pub(super) fn send(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    let Nothing {} = asked.request.json()?;
    let caller = call.caller().ok_or(Problem::SessionRequired)?;
    let account = accounts::by_id(call, &caller.subject.id)?.ok_or(Problem::SessionRequired)?;
    if account.email_verified {
        return Err(Refusal::new(Problem::Conflict).saying("The address is proven already"));
    }
    let (purpose, email) = (Purpose::Email, Email::parse(&account.email)?);
    let token = links::issue(call, purpose, &email, Some(&account))?
        .ok_or_else(|| Refusal::new(Problem::RateLimited).retry_after(links::PER))?;
    let draft = Draft::new("email-verify", &account.id, call.now() + purpose.lasts());
    call.message(&draft.with("token", &token).with("minutes", &purpose.minutes()))?;
    call.audit(HOST, &Event::success("email.proof-asked", &account.id));
    Ok(Reply::json(202, Map::new()))
}
