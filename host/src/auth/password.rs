//! The caller's password: prove it again, change it.
use super::{Asked, Need, Reply, budget::Budget, enrollment_required, require};
use crate::{
    accounts::{self, Account, Email, MAX_PASSWORD, Password},
    kernel::{Call, HOST},
    sessions,
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Secret};
use serde::Deserialize;
use serde_json::Map;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    password: Secret<String>,
}

/// `POST /reauthenticate`: the first-factor half of a step-up.
pub(super) fn reauthenticate(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    let body: Reauthenticate = asked.request.json()?;
    match prove(call, &body.password)? {
        Proof::Wrong(reply) => Ok(reply),
        Proof::Right(account) => {
            let granted = sessions::reauthenticate(call)?;
            call.audit(HOST, &Event::success("reauthenticated", &account.id));
            let enrol = enrollment_required(call)?;
            Ok(Reply::json(200, Map::new()).granted(call, granted, enrol))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    current_password: Secret<String>,
    new_password: Secret<String>,
}

/// `POST /password/change`: ends everything else that the account has open.
pub(super) fn change(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    let body: Change = asked.request.json()?;
    let standing = call.kernel.standing(call)?;
    if standing.is_some_and(|standing| standing.enrolled && !standing.stepped_up) {
        return Err(Problem::StepUpRequired.into());
    }
    match prove(call, &body.current_password)? {
        Proof::Wrong(reply) => Ok(reply),
        Proof::Right(account) => {
            let email = Email::parse(&account.email)?;
            accounts::check_password(call, body.new_password.expose(), &[email.folded(), email.local()])?;
            let password = Password::new(call, body.new_password.expose())?;
            sessions::end_others(call)?;
            let mut account = accounts::by_id(call, &account.id)?.ok_or(Problem::SessionRequired)?;
            account.password = Some(password);
            accounts::save(call, &account)?;
            sessions::reauthenticate(call)?;
            call.audit(HOST, &Event::success("password.changed", &account.id));
            let until = call.now() + Duration::from_hours(24);
            call.message(&Draft::notice("password-changed", &account.id, until))?;
            Ok(Reply::empty())
        }
    }
}

enum Proof {
    Right(Account),
    Wrong(Reply),
}

/// Compares the caller's password under the same budget as a login.
fn prove(call: &Call<'_>, password: &Secret<String>) -> Result<Proof, Refusal> {
    let caller = call.caller().ok_or(Problem::SessionRequired)?;
    let account = accounts::by_id(call, &caller.subject.id)?.ok_or(Problem::SessionRequired)?;
    let email = Email::parse(&account.email)?;
    let budget = Budget::of(call, &email, Some((&account).into()))?;
    if let Some(refusal) = budget.refused(call, &email, &Event::failure("password.refused", &account.id))? {
        return Ok(Proof::Wrong(Reply::refused(refusal)));
    }
    let password = password.expose();
    if password.len() > MAX_PASSWORD || !accounts::password_matches(call, Some(&account), password)? {
        call.audit(HOST, &Event::failure("password.wrong", &account.id));
        budget.count(call)?;
        return Ok(Proof::Wrong(Reply::refused(Problem::InvalidCredentials)));
    }
    budget.reset(call)?;
    Ok(Proof::Right(account))
}
