//! What the host itself answers under `/api/auth`: accounts, logins, sessions.
//!
//! Each operation is a function of one call: it reads and decides, and the kernel carries it out.
mod budget;
mod device;
mod email;
mod links;
mod login;
mod password;
pub(crate) mod plugin;
mod redirect;
mod registration;
mod reset;
mod session;
mod views;
mod waiting;

#[cfg(any(fuzzing, test))]
pub(crate) use device::fuzzing::cookie as device_cookie;

pub(crate) use budget::Budget;
pub(crate) use device::{
    Device, Owner, known as known_device, renew as renew_device, renewed as renewed_device,
};
pub(crate) use redirect::{may_follow, wants_html};
pub(crate) use registration::sign_up;
pub(crate) use session::listed;
pub(crate) use views::{caller_json, user_json};
pub(crate) use waiting::address as registering;

use crate::{
    admin::http,
    config::Config,
    kernel::{Call, Granted, PluginCookie},
    sessions,
};
use countersign_plugin_api::{Caller, Problem, Refusal, Request, Secret, SessionKind, SessionMode};
use serde_json::{Map, Value};

/// What an operation answers, once it is durable.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// A JSON object; `None` is 204.
    pub(crate) body: Option<Map<String, Value>>,
    /// What happens to the session's cookie.
    pub(crate) cookie: Cookie,
    /// A page, instead of a body.
    pub(crate) page: Option<Shown>,
    pub(crate) cookies: Vec<PluginCookie>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A refusal that was counted, and is the answer.
    pub(crate) refusal: Option<Refusal>,
}

/// A page that stands alone, and what it is given.
pub(crate) struct Shown {
    /// With the plugin's before it.
    pub(crate) name: String,
    pub(crate) values: Map<String, Value>,
}

/// What happens to the session's cookie.
pub(crate) enum Cookie {
    Keep,
    /// A new token, and for how many seconds; only in cookie mode.
    Set(Secret<String>, u64),
    Clear,
}

impl Reply {
    pub(crate) fn empty() -> Self {
        Self {
            status: 204,
            body: None,
            cookie: Cookie::Keep,
            page: None,
            cookies: Vec::new(),
            headers: Vec::new(),
            refusal: None,
        }
    }
    pub(crate) fn json(status: u16, body: Map<String, Value>) -> Self {
        Self { status, body: Some(body), ..Self::empty() }
    }
    /// A refusal whose decision is kept.
    pub(crate) fn refused(refusal: impl Into<Refusal>) -> Self {
        Self { refusal: Some(refusal.into()), ..Self::empty() }
    }
    /// Adds what a sign-in answers: the user, the session and, in bearer mode, the token.
    pub(crate) fn granted(mut self, call: &Call<'_>, granted: Granted, enrollment_required: bool) -> Self {
        self.show(&granted.caller, enrollment_required);
        let session = &granted.caller.session;
        let Some(token) = granted.token else { return self };
        match session.mode {
            SessionMode::Bearer => {
                self.body.get_or_insert_default().insert("token".into(), token.expose().as_str().into());
            }
            SessionMode::Cookie => {
                let lasts = session.expires_at.since(call.now()).as_secs();
                self.cookie = Cookie::Set(token, lasts);
            }
        }
        self
    }
    /// Adds who is signed in.
    pub(crate) fn show(&mut self, caller: &Caller, enrollment_required: bool) {
        self.body.get_or_insert_default().append(&mut caller_json(caller, enrollment_required));
    }
}

/// What an operation is asked with.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) config: &'a Config,
    /// What stands for `{id}` in the row's path.
    pub(crate) id: &'a str,
    /// Whether a trusted proxy asks, for a request of its own.
    pub(crate) proxied: bool,
    /// The browser, as it names itself.
    pub(crate) agent: &'a str,
}

type Operation = fn(&Call<'_>, &Asked<'_>) -> Result<Reply, Refusal>;

/// One row of the host's table.
pub(crate) struct Row {
    pub(crate) method: &'static str,
    /// Below `/api/auth`; one part may be `{id}`, which stands for any one part.
    pub(crate) path: &'static str,
    pub(crate) run: Operation,
}

/// The host's own routes.
pub(crate) const ROUTES: &[Row] = &[
    Row { method: "POST", path: "/register", run: registration::register },
    Row { method: "GET", path: "/email/verify", run: email::look },
    Row { method: "POST", path: "/email/verify", run: email::verify },
    Row { method: "POST", path: "/email/verify/send", run: email::send },
    Row { method: "POST", path: "/login", run: login::login },
    Row { method: "POST", path: "/logout", run: session::logout },
    Row { method: "GET", path: "/session", run: session::show },
    Row { method: "GET", path: "/me", run: session::me },
    Row { method: "GET", path: "/verify", run: session::verify },
    Row { method: "GET", path: "/sessions", run: session::list },
    Row { method: "DELETE", path: "/sessions", run: session::end_others },
    Row { method: "DELETE", path: "/sessions/{id}", run: session::end_one },
    Row { method: "POST", path: "/reauthenticate", run: password::reauthenticate },
    Row { method: "POST", path: "/password/change", run: password::change },
    Row { method: "POST", path: "/password/reset", run: reset::ask },
    Row { method: "POST", path: "/password/reset/confirm", run: reset::confirm },
    Row { method: "GET", path: "/admin/users", run: http::users },
    Row { method: "GET", path: "/admin/users/{id}", run: http::user },
    Row { method: "POST", path: "/admin/users/{id}/mfa/reset", run: http::mfa_reset },
    Row { method: "POST", path: "/admin/users/{id}/unlock", run: http::unlock },
    Row { method: "DELETE", path: "/admin/users/{id}/sessions", run: http::end_sessions },
    Row { method: "GET", path: "/admin/audit", run: http::events },
];

/// How much of a session an operation wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A standard session, also one that must enrol first.
    Standard,
    /// A standard session that policy is content with.
    Content,
}

/// Refuses a caller that does not have what is needed.
pub(crate) fn require(call: &Call<'_>, need: Need) -> Result<(), Refusal> {
    let caller = call.caller().ok_or(Problem::SessionRequired)?;
    if caller.session.kind == SessionKind::Pending {
        return Err(Problem::MfaRequired.into());
    }
    if need == Need::Content && enrollment_required(call)? {
        return Err(Problem::EnrollmentRequired.into());
    }
    Ok(())
}

/// Whether policy wants the caller to enrol first.
pub(crate) fn enrollment_required(call: &Call<'_>) -> Result<bool, Refusal> {
    Ok(call.kernel.standing(call)?.is_some_and(|standing| standing.enrollment_required))
}

/// A sign-in beside a session ends the older one.
fn end_older(call: &Call<'_>) -> Result<(), Refusal> {
    match call.caller() {
        Some(caller) => sessions::end(call, &caller.subject.id, &caller.session.id),
        None => Ok(()),
    }
}
