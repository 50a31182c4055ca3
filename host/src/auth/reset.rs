//! Forgotten passwords: a mailed link sets a new one. It never signs in and never passes a second factor.
use super::{
    Asked, Reply,
    links::{self, Purpose},
};
use crate::{
    accounts::{self, Email, Password},
    kernel::{Call, HOST},
};
use countersign_plugin_api::{Draft, Event, Refusal, Secret};
use serde::Deserialize;
use serde_json::{Map, json};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    email: String,
}

/// `POST /password/reset`: 202 for every address.
pub(super) fn ask(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let body: Ask = asked.request.json()?;
    let email = Email::parse(&body.email)?;
    // Asked before the address is looked up: a full outbox is 503 for every one.
    call.kernel.has_room_for_mail()?;
    let account = accounts::by_email(call, &email)?;
    let purpose = Purpose::PasswordReset;
    let link = links::issue(call, purpose, &email, account.as_ref())?;
    // Nobody's, and what goes beyond an account's share, are counted: strangers ask for it.
    let owner = account.as_ref().filter(|_| link.is_sent).map(|account| account.id.as_str());
    call.audit(HOST, &Event::success("password.reset-asked", owner.unwrap_or_default()));
    let draft = Draft::new("password-reset", owner.unwrap_or(Draft::NOBODY), call.now() + purpose.lasts());
    call.message(&draft.with("token", &link.token).with("minutes", &purpose.minutes()))?;
    Ok(Reply::json(202, Map::new()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    token: Secret<String>,
    new_password: Secret<String>,
}

/// `POST /password/reset/confirm`: the new password counts, and everything that was open is over.
pub(super) fn confirm(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let body: Confirm = asked.request.json()?;
    let account = links::spend(call, Purpose::PasswordReset, body.token.expose())?;
    let email = Email::parse(&account.email)?;
    accounts::check_password(call, body.new_password.expose(), &[email.folded(), email.local()])?;
    let password = Password::new(call, body.new_password.expose())?;
    let mut account = account;
    account.password = Some(password);
    account.epoch += 1;
    accounts::save(call, &account)?;
    // The mailbox opened this door: it must not be the second factor behind it too.
    call.kernel.tell_gate(call, "password.reset-by-mail", &json!({ "subject": account.id }))?;
    call.audit(HOST, &Event::success("password.reset", &account.id));
    let notice = Draft::notice("password-changed", &account.id, call.now() + Duration::from_hours(24));
    call.message(&notice)?;
    Ok(Reply::empty())
}
