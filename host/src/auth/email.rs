//! Proving an address: a mailed link makes the account that waited for it, or proves the one there is.
use super::{
    Asked, Need, Reply,
    links::{self, Purpose},
    registration::{self, Said},
    require,
    waiting::Found,
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
    password: Option<Secret<String>>,
    new_password: Option<Secret<String>>,
}

/// `POST /email/verify`: whoever has the mailed link reads the mailbox. It signs nobody in.
pub(super) fn verify(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let body: Verify = asked.request.json()?;
    let said = match (&body.password, &body.new_password) {
        (None, None) => Said::Nothing,
        (Some(password), None) => Said::Chosen(password),
        (None, Some(password)) => Said::Another(password),
        (Some(_), Some(_)) => return Err(Refusal::malformed("give `password` or `new_password`, not both")),
    };
    if let Some(found) = Found::by_link(call, body.token.expose())? {
        return registration::confirm(call, asked, found, &said);
    }
    let mut account = links::spend(call, Purpose::Email, body.token.expose())?;
    if !matches!(said, Said::Nothing) {
        return Err(Refusal::malformed("this link is of an account: it takes no password"));
    }
    accounts::prove(call, &mut account)?;
    Ok(Reply::empty())
}

/// `GET /email/verify`: what a link is for, and whether a browser must say a password with it. Nothing is used up.
pub(super) fn look(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let token = asked.request.query("token").unwrap_or_default();
    let (email, purpose, password_required) = match Found::by_link(call, token)? {
        Some(found) => {
            let at_home = found.is_at_home(call)?;
            (found.sign_up.email, Purpose::Registration, !at_home)
        }
        None => (links::peek(call, Purpose::Email, token)?.email, Purpose::Email, false),
    };
    let mut answer = Map::new();
    answer.insert("email".into(), email.into());
    answer.insert("purpose".into(), purpose.name().into());
    answer.insert("password_required".into(), password_required.into());
    Ok(Reply::json(200, answer))
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
    let link = links::issue(call, purpose, &email, Some(&account))?;
    if !link.is_sent {
        return Err(Refusal::new(Problem::RateLimited).retry_after(links::PER));
    }
    let draft = Draft::new("email-verify", &account.id, call.now() + purpose.lasts());
    call.message(&draft.with("token", &link.token).with("minutes", &purpose.minutes()))?;
    call.audit(HOST, &Event::success("email.proof-asked", &account.id));
    Ok(Reply::json(202, Map::new()))
}
