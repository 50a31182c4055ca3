//! `/api/auth/admin`: who may, and how it is answered.
use super::{ADMIN, Wanted, acts, audit, show};
use crate::{
    accounts::{self, Account},
    auth::{Asked, Cookie, Need, Reply, require},
    kernel::{Call, audit as record},
};
use countersign_plugin_api::{Caller, Event, Problem, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Asks for an administrator, and does what one may. That somebody else asked is put on record, once a minute.
fn administrating(
    call: &Call<'_>,
    asked: &Asked<'_>,
    act: impl FnOnce(&Caller) -> Result<Reply, Refusal>,
) -> Result<Reply, Refusal> {
    let refusal = match administrator(call) {
        Ok(caller) => return act(caller),
        Err(refusal) => refusal,
    };
    // A store that does not answer says nothing about who asked.
    if !matches!(refusal.problem().status(), 401 | 403) {
        return Err(refusal);
    }
    let who = call.caller().map_or("", |caller| caller.subject.id.as_str());
    let why = refusal.problem().slug();
    let event = Event::failure("admin.refused", who).with("reason", why).with("path", asked.request.path());
    record::seldom(call, &event)?;
    Ok(Reply::refused(refusal))
}

/// An administrator who has proven a second factor on this session just now. A login that a trusted browser
/// shortened has proven none.
fn administrator<'c>(call: &'c Call<'_>) -> Result<&'c Caller, Refusal> {
    require(call, Need::Standard)?;
    let caller = call.caller().ok_or(Problem::SessionRequired)?;
    if caller.subject.role != ADMIN {
        return Err(Problem::Forbidden.into());
    }
    // Where nothing gates logins nobody has a second factor, so nobody administrates over HTTP.
    match call.kernel.standing(call)? {
        Some(standing) if standing.enrolled => {
            let proven = standing.stepped_up && caller.session.mfa_verified_at.is_some();
            if proven { Ok(caller) } else { Err(Problem::StepUpRequired.into()) }
        }
        _ => Err(Problem::EnrollmentRequired.into()),
    }
}

fn target(call: &Call<'_>, asked: &Asked<'_>) -> Result<Account, Refusal> {
    accounts::by_id(call, asked.id)?.ok_or_else(|| Problem::NotFound.into())
}

fn answer(body: Value) -> Reply {
    let body = if let Value::Object(body) = body { body } else { Map::new() };
    Reply::json(200, body)
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `GET /admin/users`
pub(crate) fn users(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |caller| {
        record::seldom(call, &Event::success("admin.users-listed", &caller.subject.id))?;
        let query = asked.request.query("query").unwrap_or_default();
        show::accounts(call, query, asked.request.query("after")).map(answer)
    })
}

/// `GET /admin/users/{id}`
pub(crate) fn user(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |_| {
        let account = target(call, asked)?;
        record::seldom(call, &Event::success("admin.user-shown", &account.id))?;
        show::account(call, &account).map(answer)
    })
}

/// `POST /admin/users/{id}/mfa/reset`
pub(crate) fn mfa_reset(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |caller| {
        let Nothing {} = asked.request.json()?;
        let account = target(call, asked)?;
        if account.id == caller.subject.id {
            // Policy may forbid to remove one's last factor, and this would be the way around it.
            return Err(
                Refusal::new(Problem::Forbidden).saying("Another administrator can reset your factor")
            );
        }
        acts::mfa_reset(call, &account)?;
        Ok(Reply::empty())
    })
}

/// `POST /admin/users/{id}/unlock`
pub(crate) fn unlock(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |_| {
        let Nothing {} = asked.request.json()?;
        acts::unlock(call, &target(call, asked)?)?;
        Ok(Reply::empty())
    })
}

/// `DELETE /admin/users/{id}/sessions`
pub(crate) fn end_sessions(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |caller| {
        let account = target(call, asked)?;
        let own = account.id == caller.subject.id;
        acts::end_sessions(call, account)?;
        Ok(Reply { cookie: if own { Cookie::Clear } else { Cookie::Keep }, ..Reply::empty() })
    })
}

/// `GET /admin/audit`
pub(crate) fn events(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    administrating(call, asked, |caller| {
        record::seldom(call, &Event::success("admin.audit-read", &caller.subject.id))?;
        let request = asked.request;
        let wanted = Wanted { after: request.query("after"), since: None, account: request.query("account") };
        audit::page(call, &wanted).map(answer)
    })
}
