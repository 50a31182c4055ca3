//! Sessions: a row that names a subject, and a token that proves the right to it.
//!
//! A token is `place (16) ‖ id (16) ‖ secret (32)` in base64url: the first two find the row, and the row holds
//! the hash of the third. When a pending session becomes a standard one, the row stays and the secret changes,
//! so the old token is dead in the same write.
use crate::{
    accounts::{self, Account},
    kernel::{Call, Granted, HOST, Place},
    metrics,
    records::{decode, encode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{
    Caller, Problem, Refusal, Secret, Session, SessionKind, SessionMode, StoreError, Time,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;

/// The most sessions of one account; the oldest ends for a new one.
const MOST: usize = 50;
/// Activity is recorded at most this often, in seconds.
const TOUCH_EVERY: u64 = 60;

/// The method of a password (RFC 8176).
pub(crate) const PASSWORD: &str = "pwd";

const PREFIX: &[u8] = b"session";

/// A session as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    subject: String,
    hash: [u8; 32],
    standard: bool,
    bearer: bool,
    created_at: u64,
    seen_at: u64,
    authenticated_at: u64,
    mfa_verified_at: Option<u64>,
    amr: Vec<String>,
    expires_at: u64,
    epoch: u64,
    generation: u64,
    peer: String,
    agent: String,
}

/// What finds a session's row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Id {
    place: Place,
    id: [u8; 16],
}

impl Id {
    fn new(call: &Call<'_>, subject: &str) -> Self {
        let mut id = [0; 16];
        call.random(&mut id);
        Self { place: call.place(subject), id }
    }
    fn text(self) -> String {
        URL_SAFE_NO_PAD.encode([self.place.0, self.id].concat())
    }
    fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Self::split(&bytes))
    }
    fn split(bytes: &[u8; 32]) -> Self {
        let (mut place, mut id) = ([0; 16], [0; 16]);
        place.copy_from_slice(&bytes[..16]);
        id.copy_from_slice(&bytes[16..]);
        Self { place: Place(place), id }
    }
    fn key(self) -> Vec<u8> {
        self.place.key(HOST, &[PREFIX, &self.id].concat())
    }
}

impl Row {
    fn session(&self, id: Id) -> Session {
        self.clone().into_session(id)
    }
    fn into_session(self, id: Id) -> Session {
        Session {
            id: id.text(),
            kind: if self.standard { SessionKind::Standard } else { SessionKind::Pending },
            mode: if self.bearer { SessionMode::Bearer } else { SessionMode::Cookie },
            authenticated_at: Time::from_secs(self.authenticated_at),
            mfa_verified_at: self.mfa_verified_at.map(Time::from_secs),
            amr: self.amr,
            expires_at: Time::from_secs(self.expires_at),
        }
    }
    /// A new secret for this row, and the token that carries it.
    fn renew(&mut self, call: &Call<'_>, id: Id) -> Secret<String> {
        let mut secret = [0; 32];
        call.random(&mut secret);
        self.hash = Sha256::digest(secret).into();
        Secret::new(URL_SAFE_NO_PAD.encode([&id.place.0[..], &id.id, &secret].concat()))
    }
    fn prove(&mut self, call: &Call<'_>, amr: &str) {
        self.mfa_verified_at = Some(call.now().secs());
        amr.split_ascii_whitespace().for_each(|method| self.add_method(method));
    }
    fn add_method(&mut self, method: &str) {
        if !self.amr.iter().any(|known| known == method) {
            self.amr.push(method.into());
        }
    }
    fn is_live(&self, call: &Call<'_>, account: &Account) -> bool {
        let now = call.now();
        let idle = Time::from_secs(self.seen_at) + call.kernel.settings.idle_ttl;
        Time::from_secs(self.expires_at) > now
            && (!self.standard || idle > now)
            && self.subject == account.id
            && self.epoch == account.epoch
            && self.generation == account.generation
    }
}

fn load(call: &Call<'_>, id: Id) -> Result<Option<Row>, Refusal> {
    call.read(id.key())?.map(|bytes| decode(&bytes)).transpose()
}

fn save(call: &Call<'_>, id: Id, row: &Row) -> Result<(), Refusal> {
    call.put(id.key(), &encode(row)?, Time::from_secs(row.expires_at), false)
}

/// Finds who a token belongs to, and makes it the caller. A token that is wrong, over or made up is no session;
/// a store that does not answer is an error, never "no session".
pub(crate) fn resolve(call: &Call<'_>, token: &str) -> Result<(), Refusal> {
    let Some(bytes) = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == 64) else {
        return Ok(());
    };
    let (head, secret) = bytes.split_at(32);
    let Ok(head) = head.try_into() else { return Ok(()) };
    let id = Id::split(head);
    // One read of all that a request needs: the session, its account, and what the gate will look at.
    let mut keys = vec![id.key(), id.place.key(HOST, accounts::RECORD)];
    keys.extend(call.kernel.gate_key(id.place));
    let found = call.get(&keys)?;
    let (Some(row), Some(account)) = (&found[0], &found[1]) else { return Ok(()) };
    let (row, account): (Row, Account) = (decode(row)?, decode(account)?);
    let hash: [u8; 32] = Sha256::digest(secret).into();
    if !bool::from(hash.ct_eq(&row.hash)) || !row.is_live(call, &account) {
        return Ok(());
    }
    if row.standard && call.now().secs() >= row.seen_at + TOUCH_EVERY {
        let seen = Row { seen_at: call.now().secs(), ..row.clone() };
        call.touch(id.key(), encode(&seen)?, Time::from_secs(row.expires_at));
    }
    call.set_caller(Caller { subject: account.into_subject(), session: row.into_session(id) });
    Ok(())
}

/// What a new session starts with.
pub(crate) struct New<'a> {
    /// From [`reserve`].
    pub(crate) id: &'a str,
    pub(crate) kind: SessionKind,
    pub(crate) mode: SessionMode,
    pub(crate) amr: Vec<String>,
    /// A pending session lives as long as its challenge; a standard one as long as the configuration says.
    pub(crate) until: Option<Time>,
    /// The browser, as it names itself.
    pub(crate) agent: &'a str,
}

/// The id of a session that is going to be made.
pub(crate) fn reserve(call: &Call<'_>, subject: &str) -> String {
    Id::new(call, subject).text()
}

/// Makes a session.
pub(crate) fn create(call: &Call<'_>, account: &Account, new: New<'_>) -> Result<Granted, Refusal> {
    let id =
        Id::parse(new.id).filter(|id| id.place == call.place(&account.id)).ok_or(Problem::PluginFault)?;
    let now = call.now();
    make_room(call, account)?;
    let mut row = Row {
        subject: account.id.clone(),
        hash: [0; 32],
        standard: new.kind == SessionKind::Standard,
        bearer: new.mode == SessionMode::Bearer,
        created_at: now.secs(),
        seen_at: now.secs(),
        authenticated_at: now.secs(),
        mfa_verified_at: None,
        amr: new.amr,
        expires_at: new.until.unwrap_or(now + call.kernel.settings.absolute_ttl).secs(),
        epoch: account.epoch,
        generation: account.generation,
        peer: call.origin.peer.clone(),
        agent: new.agent.chars().take(200).collect(),
    };
    let token = row.renew(call, id);
    if load(call, id)?.is_some() {
        return Err(StoreError::Corrupt.into());
    }
    save(call, id, &row)?;
    call.count_session(if row.standard { metrics::STANDARD } else { metrics::PENDING });
    Ok(Granted {
        caller: Caller { subject: account.subject(), session: row.session(id) },
        token: Some(token),
    })
}

fn make_room(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    let mut live = rows(call, account)?;
    live.sort_by_key(|(_, row)| row.created_at);
    let over = (live.len() + 1).saturating_sub(MOST);
    for (id, _) in live.iter().take(over.min(8)) {
        if load(call, *id)?.is_some() {
            call.delete(id.key())?;
        }
    }
    Ok(())
}

fn rows(call: &Call<'_>, account: &Account) -> Result<Vec<(Id, Row)>, Refusal> {
    let place = call.place(&account.id);
    let mut live = Vec::new();
    for (name, value) in call.scan(HOST, place, PREFIX, None, 1000)? {
        let Some(id) = name.strip_prefix(PREFIX).and_then(|id| id.try_into().ok()) else { continue };
        let row: Row = decode(&value)?;
        if row.is_live(call, account) {
            live.push((Id { place, id }, row));
        }
    }
    Ok(live)
}

/// A pending session becomes a standard one: the same row, a new token.
pub(crate) fn elevate(call: &Call<'_>, subject: &str, id: &str, amr: &str) -> Result<Granted, Refusal> {
    let invalid = || Refusal::new(Problem::ChallengeInvalid);
    let account = accounts::by_id(call, subject)?.ok_or_else(invalid)?;
    let id = Id::parse(id).filter(|id| id.place == call.place(subject)).ok_or_else(invalid)?;
    let mut row = load(call, id)?.ok_or_else(invalid)?;
    if row.standard || !row.is_live(call, &account) {
        return Err(invalid());
    }
    let now = call.now();
    row.standard = true;
    row.seen_at = now.secs();
    row.expires_at = (Time::from_secs(row.created_at) + call.kernel.settings.absolute_ttl).secs();
    row.prove(call, amr);
    let token = row.renew(call, id);
    save(call, id, &row)?;
    call.count_session(metrics::ELEVATED);
    Ok(Granted {
        caller: Caller { subject: account.subject(), session: row.session(id) },
        token: Some(token),
    })
}

/// The caller's standard session has proven a second factor just now.
pub(crate) fn step_up(call: &Call<'_>, amr: &str) -> Result<Granted, Refusal> {
    change(call, |row| row.prove(call, amr))
}

/// The caller's standard session has proven the first factor just now.
pub(crate) fn reauthenticate(call: &Call<'_>) -> Result<Granted, Refusal> {
    change(call, |row| {
        row.authenticated_at = call.now().secs();
        row.add_method(PASSWORD);
    })
}

fn change(call: &Call<'_>, edit: impl FnOnce(&mut Row)) -> Result<Granted, Refusal> {
    let (caller, id, mut row) = own(call)?;
    if !row.standard {
        return Err(Problem::MfaRequired.into());
    }
    edit(&mut row);
    save(call, id, &row)?;
    Ok(Granted { caller: Caller { session: row.session(id), ..caller }, token: None })
}

fn own(call: &Call<'_>) -> Result<(Caller, Id, Row), Refusal> {
    let required = || Refusal::new(Problem::SessionRequired);
    let caller = call.caller().ok_or_else(required)?.clone();
    let id = Id::parse(&caller.session.id).ok_or_else(required)?;
    let row = load(call, id)?.ok_or_else(required)?;
    Ok((caller, id, row))
}

/// A credential event: one epoch bump ends every session, challenge and link of the caller, and the acting
/// session is stamped anew.
pub(crate) fn end_others(call: &Call<'_>) -> Result<(), Refusal> {
    bump(call, |account| account.epoch += 1)
}

/// Ends all other sessions of the caller, and nothing else.
pub(crate) fn sign_out_others(call: &Call<'_>) -> Result<(), Refusal> {
    bump(call, |account| account.generation += 1)
}

fn bump(call: &Call<'_>, edit: impl FnOnce(&mut Account)) -> Result<(), Refusal> {
    let (caller, id, mut row) = own(call)?;
    let mut account = accounts::by_id(call, &caller.subject.id)?.ok_or(Problem::SessionRequired)?;
    edit(&mut account);
    accounts::save(call, &account)?;
    (row.epoch, row.generation) = (account.epoch, account.generation);
    save(call, id, &row)
}

/// Ends one session of `subject`; that it is over already is as good.
pub(crate) fn end(call: &Call<'_>, subject: &str, id: &str) -> Result<(), Refusal> {
    let Some(id) = Id::parse(id).filter(|id| id.place == call.place(subject)) else { return Ok(()) };
    match load(call, id)? {
        Some(row) if row.subject == subject => call.delete(id.key()),
        _ => Ok(()),
    }
}

/// A session as its owner sees it in a list.
pub(crate) struct Listed {
    pub(crate) session: Session,
    pub(crate) created_at: Time,
    pub(crate) seen_at: Time,
    pub(crate) peer: String,
    pub(crate) agent: String,
}

/// The live sessions of an account, newest first.
pub(crate) fn list(call: &Call<'_>, account: &Account) -> Result<Vec<Listed>, Refusal> {
    let mut live = rows(call, account)?;
    live.sort_by_key(|(_, row)| std::cmp::Reverse(row.created_at));
    let listed = |(id, row): (Id, Row)| Listed {
        session: row.session(id),
        created_at: Time::from_secs(row.created_at),
        seen_at: Time::from_secs(row.seen_at),
        peer: row.peer,
        agent: row.agent,
    };
    Ok(live.into_iter().map(listed).collect())
}
