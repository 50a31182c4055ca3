//! After the first factor: asks the gate, and makes of the login what it allows. Every way in passes here.
use super::{
    Authentication, Issued,
    authentication::{issue, new_id, wait},
};
use crate::{
    api,
    auth::{Reply, plugin::MAILBOX},
    http::{self, Failure},
    kernel::{Call, HOST, PluginCookie},
    sessions::PASSWORD,
};
use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
    response::IntoResponse,
};
use countersign_plugin_api::{
    Caller, Event, Login, Problem, Refusal, Secret, Session, SessionKind, SessionMode, Subject, Time, Verdict,
};
use serde_json::{Map, json};

/// A first factor that the application has seen proven. To make one is the application's word for it: make it
/// right after the check, and of nothing that a client has sent.
#[derive(Debug, Clone)]
pub struct FirstFactor {
    pub(super) account: String,
    pub(super) amr: Vec<String>,
    pub(super) mode: SessionMode,
}

impl FirstFactor {
    /// The password of the account `id` was right.
    pub fn password(id: impl Into<String>) -> Self {
        Self::by(id, &[PASSWORD])
    }
    /// The account `id` was proven by these methods (RFC 8176 names; `email` where it was the mailbox).
    pub fn by(id: impl Into<String>, amr: &[&str]) -> Self {
        let amr = amr.iter().map(|method| (*method).to_owned()).collect();
        Self { account: id.into(), amr, mode: SessionMode::Cookie }
    }
    /// A program asks that keeps its token itself: it gets the challenge alone, and no session waits. The challenge
    /// then is a secret of the client's; otherwise it is worth nothing without the session that waits.
    #[must_use]
    pub fn bearer(self) -> Self {
        Self { mode: SessionMode::Bearer, ..self }
    }
}

/// What has become of a login whose first factor was right.
#[must_use = "a challenge that is not handed on is a login that nobody can complete"]
pub enum Entry {
    /// No second factor is asked for.
    SignedIn(SignedIn),
    /// The second factor is waited for.
    Challenged(Challenged),
}

/// Somebody is signed in.
pub struct SignedIn {
    /// Who.
    pub authentication: Authentication,
    /// Whether policy lets the account do nothing but set up a second factor.
    pub enrollment_required: bool,
    /// What the answer must carry.
    pub issued: Issued,
}

/// A second factor is waited for.
pub struct Challenged {
    /// What the client brings along with its code.
    pub challenge: Secret<String>,
    /// Until when.
    pub expires_at: Time,
    /// What the account can prove itself with: `totp`, `recovery`, `email_otp`.
    pub methods: Vec<String>,
    /// The login that waits.
    pub pending: Authentication,
    /// What the answer must carry.
    pub issued: Issued,
}

/// As the HTTP contract answers a login: 200 `authenticated` or 202 `mfa_required`, with the cookies.
impl IntoResponse for Entry {
    fn into_response(self) -> Response<Body> {
        let issued = self.issued().clone();
        respond(self.into_reply(), issued, None)
    }
}

impl Entry {
    /// What the answer must carry.
    pub fn issued(&self) -> &Issued {
        match self {
            Self::SignedIn(entry) => &entry.issued,
            Self::Challenged(entry) => &entry.issued,
        }
    }
    /// Who it is about.
    pub fn authentication(&self) -> &Authentication {
        match self {
            Self::SignedIn(entry) => &entry.authentication,
            Self::Challenged(entry) => &entry.pending,
        }
    }

    /// What the application's session keeps: of a program's login that waits nothing, as the challenge is its one
    /// handle.
    pub(super) fn to_keep(&self) -> Option<&Authentication> {
        match self {
            Self::SignedIn(entry) => Some(&entry.authentication),
            Self::Challenged(entry) => Some(&entry.pending).filter(|own| own.mode() == SessionMode::Cookie),
        }
    }

    pub(super) fn carry(&mut self, issued: Issued) {
        let own = match self {
            Self::SignedIn(entry) => &mut entry.issued,
            Self::Challenged(entry) => &mut entry.issued,
        };
        own.token = issued.token.or(own.token.take());
        own.cookies.extend(issued.cookies);
    }

    pub(super) fn into_reply(self) -> Reply {
        let mut body = Map::new();
        match self {
            Self::SignedIn(SignedIn { authentication, enrollment_required, .. }) => {
                body.insert("status".into(), "authenticated".into());
                let mut reply = Reply::json(200, body);
                reply.show(authentication.caller(), enrollment_required);
                reply
            }
            Self::Challenged(Challenged { challenge, expires_at, methods, .. }) => {
                body.insert("status".into(), "mfa_required".into());
                body.insert("challenge".into(), challenge.expose().as_str().into());
                body.insert("expires_at".into(), expires_at.to_string().into());
                body.insert("methods".into(), json!(methods));
                Reply::json(202, body)
            }
        }
    }
}

/// An answer, with what the application's session adds to it.
pub(super) fn respond(mut reply: Reply, issued: Issued, page: Option<Response<Body>>) -> Response<Body> {
    if let (Some(body), Some(token)) = (&mut reply.body, &issued.token) {
        body.insert("token".into(), token.expose().as_str().into());
    }
    // The reply has no cookie any more: the session's is the application's, those of plugins are lines already.
    let mut response = match api::render(&http::Cookie::new("countersign", true, None), reply, page) {
        Ok(response) => response,
        Err(failure) => return failure.into_response(),
    };
    // It may be the answer of a route of the application's, which nothing else keeps out of caches.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in issued.cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Lines that set the cookies of plugins.
pub(super) fn lines(session: &http::Cookie, cookies: Vec<PluginCookie>) -> Result<Vec<HeaderValue>, Failure> {
    let line = |(name, value, lasts): PluginCookie| {
        let cookie = session.beside(&name);
        let line = if lasts.is_zero() { cookie.remove() } else { cookie.set(value.expose(), lasts) };
        Ok(line?)
    };
    cookies.into_iter().map(line).collect()
}

/// What a login comes to, before the application's session has it.
pub(super) struct Entered {
    pub(super) entry: Entry,
    pub(super) cookies: Vec<PluginCookie>,
    /// Whether the mailbox was proven for the first time: the application is to be told.
    pub(super) proven: bool,
}

pub(super) fn enter(call: &Call<'_>, first: &FirstFactor) -> Result<Entered, Refusal> {
    let invalid = || Refusal::new(Problem::InvalidCredentials).because("there is no such account");
    let subject = call.kernel.subject(call, &first.account)?.ok_or_else(invalid)?;
    let proven = !subject.email_verified && first.amr.iter().any(|method| method == MAILBOX);
    let subject = if proven { owned(call, subject)? } else { subject };
    if let Some(older) = call.caller() {
        // A login beside a session takes its place.
        super::authentication::forget(call, &older.subject.id, &older.session.id)?;
    }
    let id = new_id(call);
    let login = Login { subject, session: id, mode: first.mode, amr: first.amr.clone() };
    let (verdict, cookies) = call.kernel.after_primary(call, &login)?;
    let Login { subject, session, mode, amr } = login;
    let caller = |kind, expires_at| Caller {
        subject: subject.clone(),
        session: Session {
            id: session.clone(),
            kind,
            mode,
            authenticated_at: call.now(),
            mfa_verified_at: None,
            amr: amr.clone(),
            expires_at,
        },
    };
    let entry = match verdict {
        Verdict::Proceed => {
            let caller = caller(SessionKind::Standard, Time::NEVER);
            call.audit_by(Some(&caller), HOST, &Event::success("login.succeeded", &subject.id));
            let standing = call.kernel.standing_of(call, &caller)?;
            Entry::SignedIn(SignedIn {
                enrollment_required: standing.is_some_and(|standing| standing.enrollment_required),
                authentication: issue(call, caller)?,
                issued: Issued::default(),
            })
        }
        Verdict::Challenge { token, expires_at, methods } => {
            let caller = caller(SessionKind::Pending, expires_at);
            call.audit_by(Some(&caller), HOST, &Event::success("login.challenged", &subject.id));
            wait(call, &caller)?;
            Entry::Challenged(Challenged {
                challenge: Secret::new(token),
                expires_at,
                methods,
                pending: issue(call, caller)?,
                issued: Issued::default(),
            })
        }
        Verdict::Refuse { retry_after } => return Err(Refusal::new(Problem::Locked).retry_after(retry_after)),
    };
    // A program keeps no cookies.
    let cookies = if mode == SessionMode::Cookie { cookies } else { Vec::new() };
    Ok(Entered { entry, cookies, proven })
}

/// The first proof of a mailbox ends what was prepared in its name before: factors, sessions and trusted browsers
/// here, the password by the application.
fn owned(call: &Call<'_>, subject: Subject) -> Result<Subject, Refusal> {
    call.kernel.tell_gate(call, "forget", &json!({ "subject": subject.id }))?;
    super::authentication::bump(call, &subject.id)?;
    call.audit(HOST, &Event::success("email.proven", &subject.id));
    let epoch = super::authentication::epoch(call, &subject.id)?;
    Ok(Subject { epoch, email_verified: true, ..subject })
}
