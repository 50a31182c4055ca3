//! The caller's sessions: show, list, end.
use super::{Asked, Cookie, Need, Reply, caller_json, enrollment_required, redirect, require, user_json};
use crate::{
    accounts,
    kernel::{Call, HOST},
    sessions::{self, Listed},
};
use countersign_plugin_api::{Caller, Event, Problem, Refusal, SessionKind};
use serde_json::{Map, Value, json};

fn caller<'c>(call: &'c Call<'_>) -> Result<&'c Caller, Refusal> {
    call.caller().ok_or_else(|| Problem::SessionRequired.into())
}

/// `POST /logout`: ends the session of any type; without one there is nothing to end.
pub(super) fn logout(call: &Call<'_>, _asked: &Asked<'_>) -> Result<Reply, Refusal> {
    if let Some(caller) = call.caller() {
        sessions::end(call, &caller.subject.id, &caller.session.id)?;
        call.audit(HOST, &Event::success("logout", &caller.subject.id));
    }
    Ok(Reply { cookie: Cookie::Clear, ..Reply::empty() })
}

/// `GET /session`
pub(super) fn show(call: &Call<'_>, _asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let caller = caller(call)?;
    let enrol = caller.session.kind == SessionKind::Standard && enrollment_required(call)?;
    Ok(Reply::json(200, caller_json(caller, enrol)))
}

/// `GET /me`
pub(super) fn me(call: &Call<'_>, _asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Content)?;
    let mut body = Map::new();
    body.insert("user".into(), user_json(&caller(call)?.subject).into());
    Ok(Reply::json(200, body))
}

/// `GET /verify`: what a reverse proxy asks. A browser that is refused is sent to the page that helps it on; any
/// other is told which it is.
pub(super) fn verify(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    if let Err(refusal) = require(call, Need::Content) {
        return redirect::to_page(asked, refusal);
    }
    let subject = &caller(call)?.subject;
    let mut headers = vec![("remote-user", subject.id.clone()), ("remote-role", subject.role.clone())];
    if subject.email_verified {
        headers.push(("remote-email", subject.email.clone()));
    }
    Ok(Reply { status: 200, headers, ..Reply::empty() })
}

/// `GET /sessions`
pub(super) fn list(call: &Call<'_>, _asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    let caller = caller(call)?;
    let account = accounts::by_id(call, &caller.subject.id)?.ok_or(Problem::SessionRequired)?;
    let sessions = sessions::list(call, &account)?;
    let listed: Vec<Value> = sessions.iter().map(|one| listed(one, &caller.session.id)).collect();
    let mut body = Map::new();
    body.insert("sessions".into(), listed.into());
    Ok(Reply::json(200, body))
}

/// A session in a list.
pub(crate) fn listed(one: &Listed, current: &str) -> Value {
    let kind = if one.session.kind == SessionKind::Standard { "standard" } else { "mfa_pending" };
    json!({
        "id": one.session.id,
        "type": kind,
        "created_at": one.created_at.to_string(),
        "last_seen_at": one.seen_at.to_string(),
        "expires_at": one.session.expires_at.to_string(),
        "address": one.peer,
        "user_agent": one.agent,
        "current": one.session.id == current,
    })
}

/// `DELETE /sessions/{id}`
pub(super) fn end_one(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    let caller = caller(call)?;
    let account = accounts::by_id(call, &caller.subject.id)?.ok_or(Problem::SessionRequired)?;
    if !sessions::list(call, &account)?.iter().any(|one| one.session.id == asked.id) {
        return Err(Problem::NotFound.into());
    }
    sessions::end(call, &account.id, asked.id)?;
    call.audit(HOST, &Event::success("session.ended", &account.id).with("session", asked.id));
    let cookie = if asked.id == caller.session.id { Cookie::Clear } else { Cookie::Keep };
    Ok(Reply { cookie, ..Reply::empty() })
}

/// `DELETE /sessions`: ends all others.
pub(super) fn end_others(call: &Call<'_>, _asked: &Asked<'_>) -> Result<Reply, Refusal> {
    require(call, Need::Standard)?;
    sessions::sign_out_others(call)?;
    call.audit(HOST, &Event::success("sessions.ended", &caller(call)?.subject.id));
    Ok(Reply::empty())
}
