//! Who has come how far, and the ticket that an application's session keeps of it.
//!
//! A login that waits for its second factor is a record of the kernel's, which is gone in the write that
//! completes the login; its ticket names it. The ticket of a session that is signed in holds all there is to know,
//! with the account's epoch: a credential event since then has ended it.
use crate::{
    auth::{Owner, known_device, renewed_device},
    kernel::{Call, PluginCookie},
    records::{decode, encode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{
    Caller, Claims, Problem, Refusal, Secret, Session, SessionKind, SessionMode, Subject, Time, Token,
};
use serde::{Deserialize, Serialize};

const PURPOSE: &str = "ticket";
const EPOCH: &[u8] = b"epoch";
const PENDING: &[u8] = b"pending";
/// The epoch of an account that has seen no credential event.
const FIRST: u64 = 1;

/// Proof that somebody is an account: made by the kernel alone, from a first factor that the application or a
/// plugin has seen proven, or from a ticket. Whatever an account does to itself takes one.
#[derive(Clone)]
pub struct Authentication {
    caller: Caller,
    ticket: Secret<String>,
    device: Option<PluginCookie>,
}

impl Authentication {
    /// The account.
    pub fn account(&self) -> &Subject {
        &self.caller.subject
    }
    /// Whether a second factor is still waited for: then nobody is signed in.
    pub fn is_pending(&self) -> bool {
        self.caller.session.kind == SessionKind::Pending
    }
    /// The id of this login, which is no secret: the audit record speaks of it.
    pub fn id(&self) -> &str {
        &self.caller.session.id
    }
    /// When the first factor was last proven.
    pub fn authenticated_at(&self) -> Time {
        self.caller.session.authenticated_at
    }
    /// When a second factor was last proven.
    pub fn mfa_verified_at(&self) -> Option<Time> {
        self.caller.session.mfa_verified_at
    }
    /// How it was proven: RFC 8176 names such as `pwd` and `otp`.
    pub fn amr(&self) -> &[String] {
        &self.caller.session.amr
    }
    /// What the application's session keeps.
    pub fn ticket(&self) -> &Secret<String> {
        &self.ticket
    }

    pub(super) fn mode(&self) -> SessionMode {
        self.caller.session.mode
    }
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }
    pub(super) fn device(&self) -> Option<&PluginCookie> {
        self.device.as_ref()
    }
}

/// What a ticket says beyond its claims.
#[derive(Serialize, Deserialize)]
struct Rest {
    standard: bool,
    bearer: bool,
    authenticated_at: u64,
    mfa_verified_at: Option<u64>,
    amr: Vec<String>,
    epoch: u64,
}

/// A login that waits for its second factor, as it is stored.
#[derive(Serialize, Deserialize)]
struct Pending {
    bearer: bool,
    authenticated_at: u64,
    amr: Vec<String>,
    expires_at: u64,
    epoch: u64,
}

/// The epoch of an account.
pub(super) fn epoch(call: &Call<'_>, id: &str) -> Result<u64, Refusal> {
    let record = call.read(call.host_key(id, EPOCH))?;
    record.map_or(Ok(FIRST), |bytes| decode(&bytes))
}

/// A credential event: what carries the epoch of before is over with this write.
pub(super) fn bump(call: &Call<'_>, id: &str) -> Result<(), Refusal> {
    let next = epoch(call, id)? + 1;
    call.put(call.host_key(id, EPOCH), &encode(&next)?, Time::NEVER, false)?;
    call.end_sessions_of(id);
    Ok(())
}

fn pending_key(call: &Call<'_>, account: &str, id: &str) -> Vec<u8> {
    call.host_key(account, &[PENDING, id.as_bytes()].concat())
}

/// An id for a login that begins.
pub(super) fn new_id(call: &Call<'_>) -> String {
    let mut id = [0; 16];
    call.random(&mut id);
    URL_SAFE_NO_PAD.encode(id)
}

/// Writes down a login that waits for its second factor.
pub(super) fn wait(call: &Call<'_>, caller: &Caller) -> Result<(), Refusal> {
    let Caller { subject, session } = caller;
    let key = pending_key(call, &subject.id, &session.id);
    if call.read(key.clone())?.is_some() {
        return Err(Refusal::new(Problem::PluginFault).because("an id was drawn twice"));
    }
    let pending = Pending {
        bearer: session.mode == SessionMode::Bearer,
        authenticated_at: session.authenticated_at.secs(),
        amr: session.amr.clone(),
        expires_at: session.expires_at.secs(),
        epoch: subject.epoch,
    };
    call.put(key, &encode(&pending)?, session.expires_at, false)
}

/// A login that waits, when it still does.
fn waiting(call: &Call<'_>, subject: &Subject, id: &str) -> Result<Option<Session>, Refusal> {
    let Some(record) = call.read(pending_key(call, &subject.id, id))? else { return Ok(None) };
    let pending: Pending = decode(&record)?;
    Ok((pending.epoch == subject.epoch).then(|| Session {
        id: id.into(),
        kind: SessionKind::Pending,
        mode: mode(pending.bearer),
        authenticated_at: Time::from_secs(pending.authenticated_at),
        mfa_verified_at: None,
        amr: pending.amr,
        expires_at: Time::from_secs(pending.expires_at),
    }))
}

/// A login that waited is complete: it waits no more, and is what is answered.
pub(super) fn complete(call: &Call<'_>, subject: Subject, id: &str, amr: &str) -> Result<Caller, Refusal> {
    let mut session = waiting(call, &subject, id)?.ok_or(Problem::ChallengeInvalid)?;
    forget(call, &subject.id, id)?;
    session.kind = SessionKind::Standard;
    session.expires_at = Time::NEVER;
    prove(&mut session, call.now(), amr);
    Ok(Caller { subject, session })
}

/// A login does not wait any more.
pub(super) fn forget(call: &Call<'_>, account: &str, id: &str) -> Result<(), Refusal> {
    let key = pending_key(call, account, id);
    if call.read(key.clone())?.is_some() { call.delete(key) } else { Ok(()) }
}

/// A second factor was proven just now.
pub(super) fn prove(session: &mut Session, now: Time, amr: &str) {
    session.mfa_verified_at = Some(now);
    amr.split_ascii_whitespace().for_each(|method| add_method(session, method));
}

pub(super) fn add_method(session: &mut Session, method: &str) {
    if !session.amr.iter().any(|known| known == method) {
        session.amr.push(method.into());
    }
}

/// The ticket of who has come so far, under the epoch that this call leaves behind.
pub(super) fn issue(call: &Call<'_>, mut caller: Caller) -> Result<Authentication, Refusal> {
    caller.subject.epoch = epoch(call, &caller.subject.id)?;
    let session = &caller.session;
    let rest = Rest {
        standard: session.kind == SessionKind::Standard,
        bearer: session.mode == SessionMode::Bearer,
        authenticated_at: session.authenticated_at.secs(),
        mfa_verified_at: session.mfa_verified_at.map(Time::secs),
        amr: session.amr.clone(),
        epoch: caller.subject.epoch,
    };
    let ticket = call.sign(&Claims {
        purpose: PURPOSE.into(),
        subject: caller.subject.id.clone(),
        session: session.id.clone(),
        id: URL_SAFE_NO_PAD.encode(encode(&rest)?),
        expires_at: session.expires_at,
    })?;
    let device = device(call, &caller)?;
    Ok(Authentication { caller, ticket: Secret::new(ticket), device })
}

/// The cookie that lets a browser be known again: from a complete login on, and after what has ended it elsewhere. A
/// program keeps no cookies.
fn device(call: &Call<'_>, caller: &Caller) -> Result<Option<PluginCookie>, Refusal> {
    let Caller { subject, session } = caller;
    if session.kind == SessionKind::Pending || session.mode == SessionMode::Bearer {
        return Ok(None);
    }
    let goes_on = |own: &Caller| own.session.id == session.id && own.session.kind == SessionKind::Standard;
    let owner = Owner::from(subject);
    if call.caller().is_some_and(goes_on) {
        renewed_device(call, owner)
    } else {
        known_device(call, owner).map(Some)
    }
}

/// Who a ticket is of. One that is wrong, over or made up is nobody's; a store or an application that does not
/// answer is an error, never "nobody".
pub(super) fn resolve(call: &Call<'_>, ticket: &str) -> Result<Option<Authentication>, Refusal> {
    let Some(Token::Live(claims)) = call.open(PURPOSE, ticket) else { return Ok(None) };
    let Ok(rest) = URL_SAFE_NO_PAD.decode(&claims.id) else { return Ok(None) };
    let rest: Rest = decode(&rest)?;
    // One read of all that a request needs of the store.
    let mut keys = vec![call.host_key(&claims.subject, EPOCH)];
    keys.extend(call.kernel.gate_key(call.place(&claims.subject)));
    if !rest.standard {
        keys.push(pending_key(call, &claims.subject, &claims.session));
    }
    call.get(&keys)?;
    let Some(subject) = call.kernel.subject(call, &claims.subject)?.filter(|s| s.epoch == rest.epoch) else {
        return Ok(None);
    };
    let session = if rest.standard {
        Session {
            id: claims.session,
            kind: SessionKind::Standard,
            mode: mode(rest.bearer),
            authenticated_at: Time::from_secs(rest.authenticated_at),
            mfa_verified_at: rest.mfa_verified_at.map(Time::from_secs),
            amr: rest.amr,
            expires_at: claims.expires_at,
        }
    } else {
        match waiting(call, &subject, &claims.session)? {
            Some(session) => session,
            None => return Ok(None),
        }
    };
    let caller = Caller { subject, session };
    Ok(Some(Authentication { caller, ticket: Secret::new(ticket.to_owned()), device: None }))
}

/// The same, and it is who calls.
pub(super) fn resolve_caller(call: &Call<'_>, ticket: &str) -> Result<bool, Refusal> {
    let authentication = resolve(call, ticket)?;
    let found = authentication.is_some();
    if let Some(Authentication { caller, .. }) = authentication {
        call.set_caller(caller);
    }
    Ok(found)
}

fn mode(bearer: bool) -> SessionMode {
    if bearer { SessionMode::Bearer } else { SessionMode::Cookie }
}
