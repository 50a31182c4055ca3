//! Signing in.
use super::{Asked, Reply, budget::Budget, device, end_older};
use crate::{
    accounts::{self, Account, Email, MAX_PASSWORD, Password},
    kernel::{Call, HOST},
    sessions,
};
use countersign_plugin_api::{
    Event, Login, Problem, Refusal, Secret, SessionKind, SessionMode, StoreError, Verdict,
};
use serde::Deserialize;
use serde_json::{Map, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    email: String,
    password: Secret<String>,
    #[serde(default)]
    session: Mode,
}

/// How the session is asked for.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    Cookie,
    Bearer,
}

impl Mode {
    pub(super) fn mode(self) -> SessionMode {
        match self {
            Self::Cookie => SessionMode::Cookie,
            Self::Bearer => SessionMode::Bearer,
        }
    }
}

/// `POST /login`
pub(super) fn login(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let body: SignIn = asked.request.json()?;
    let email = Email::parse(&body.email)?;
    let account = accounts::by_email(call, &email)?;
    let tries = Budget::of(call, &email, account.as_ref().map(Into::into))?;
    let owner = account.as_ref().map(|account| account.id.as_str()).unwrap_or_default();
    if let Some(refusal) = tries.refused(call, &email, &Event::failure("login.refused", owner))? {
        return Ok(Reply::refused(refusal));
    }
    let password = body.password.expose();
    let right = match &account {
        _ if password.len() > MAX_PASSWORD => false,
        account => accounts::password_matches(call, account.as_ref(), password)?,
    };
    let Some(mut account) = account.filter(|_| right) else {
        // Counted before the answer leaves, whoever the name belongs to.
        let owner = accounts::by_email(call, &email)?.map(|account| account.id).unwrap_or_default();
        call.audit(HOST, &Event::failure("login.failed", &owner));
        tries.count(call)?;
        return Ok(Reply::refused(Problem::InvalidCredentials));
    };
    tries.reset(call)?;
    if account.password.as_ref().is_some_and(|hashed| hashed.is_outdated(call)) {
        account.password = Some(Password::new(call, password)?);
        accounts::save(call, &account)?;
    }
    end_older(call)?;
    enter(call, &account, body.session.mode(), vec![sessions::PASSWORD.into()], asked.agent)
}

/// After the first factor: asks the gate, and makes the session that it allows. Every way in passes here.
pub(super) fn enter(
    call: &Call<'_>,
    account: &Account,
    mode: SessionMode,
    amr: Vec<String>,
    agent: &str,
) -> Result<Reply, Refusal> {
    let login =
        Login { subject: account.subject(), session: sessions::reserve(call, &account.id), mode, amr };
    let new =
        |kind, until| sessions::New { id: &login.session, kind, mode, amr: login.amr.clone(), until, agent };
    let event = |name| Event::success(name, &account.id);
    let (verdict, cookies) = call.kernel.after_primary(call, &login)?;
    // As the gate has left it: it may have ended all that the account had open, and that stays ended.
    let account = &accounts::by_id(call, &account.id)?.ok_or(StoreError::Corrupt)?;
    let mut reply = match verdict {
        Verdict::Proceed => {
            let granted = sessions::create(call, account, new(SessionKind::Standard, None))?;
            call.audit_by(Some(&granted.caller), HOST, &event("login.succeeded"));
            // Of the new session: the caller may still be that of an older one, somebody else's perhaps.
            let standing = call.kernel.standing_of(call, &granted.caller)?;
            let enrol = standing.is_some_and(|standing| standing.enrollment_required);
            let mut body = Map::new();
            body.insert("status".into(), "authenticated".into());
            let mut reply = Reply::json(200, body).granted(call, granted, enrol);
            reply.cookies.extend(device::welcome(call, account.clone(), mode, agent)?);
            reply
        }
        Verdict::Challenge { token, expires_at, methods } => {
            let granted = sessions::create(call, account, new(SessionKind::Pending, Some(expires_at)))?;
            call.audit_by(Some(&granted.caller), HOST, &event("login.challenged"));
            let body = json!({
                "status": "mfa_required",
                "challenge": token,
                "expires_at": expires_at.to_string(),
                "methods": methods,
            });
            let body = if let serde_json::Value::Object(body) = body { body } else { Map::new() };
            let mut reply = Reply::json(202, body);
            // In bearer mode the challenge is the only handle: no token of the pending session leaves.
            if let (SessionMode::Cookie, Some(secret)) = (mode, granted.token) {
                reply.cookie = super::Cookie::Set(secret, expires_at.since(call.now()).as_secs());
            }
            reply
        }
        Verdict::Refuse { retry_after } => return Err(Refusal::new(Problem::Locked).retry_after(retry_after)),
    };
    // A program keeps no cookies.
    if mode == SessionMode::Cookie {
        reply.cookies.extend(cookies);
    }
    Ok(reply)
}
