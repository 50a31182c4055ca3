//! A context with nobody's records: what handlers and gates are asked in.
use crate::{
    Caller, Claims, Context, Found, Name, Page, Problem, Refusal, Secret, Session, SessionKind, SessionMode,
    StoreError, Subject, Time, Token,
};
use std::{
    cell::{Cell, RefCell},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

const NOW: Time = Time::from_secs(1_800_000_000);

/// Nobody, and one account with a session of each kind.
pub(super) fn callers() -> [(&'static str, Option<Caller>); 3] {
    let caller = |kind| {
        let subject = Subject {
            id: "kit-subject".into(),
            email: "kit@countersign.invalid".into(),
            email_verified: true,
            role: "user".into(),
            epoch: 1,
            created_at: NOW,
        };
        let session = Session {
            id: "kit-session".into(),
            kind,
            mode: SessionMode::Cookie,
            authenticated_at: NOW,
            mfa_verified_at: None,
            amr: vec!["pwd".into()],
            expires_at: NOW + Duration::from_hours(12),
        };
        Some(Caller { subject, session })
    };
    [
        ("by nobody", None),
        ("with a pending session", caller(SessionKind::Pending)),
        ("with a session", caller(SessionKind::Standard)),
    ]
}

/// A context in which there is no record, or none can be read.
pub(super) struct Bare {
    caller: Option<Caller>,
    is_readable: bool,
    refused: Cell<bool>,
    read: RefCell<Vec<(String, Vec<u8>)>>,
}

impl Bare {
    pub(super) fn new(caller: Option<Caller>) -> Self {
        Self { caller, is_readable: true, refused: Cell::default(), read: RefCell::default() }
    }
    /// The same, of which nothing has been asked.
    pub(super) fn again(&self) -> Self {
        Self::new(self.caller.clone())
    }
    /// The same over a store that does not answer.
    pub(super) fn unreadable(&self) -> Self {
        Self { is_readable: false, ..self.again() }
    }

    /// Whether a read was refused.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.get()
    }
    pub(super) fn has_read(&self, name: Name<'_>) -> bool {
        self.read.borrow().iter().any(|read| is(read, name))
    }
    pub(super) fn has_read_beside(&self, name: Name<'_>) -> bool {
        self.read.borrow().iter().any(|read| !is(read, name))
    }

    fn reads(&self, name: Name<'_>) -> Result<(), Refusal> {
        self.read.borrow_mut().push((name.subject.into(), name.name.into()));
        self.answers()
    }
    fn answers(&self) -> Result<(), Refusal> {
        if self.is_readable {
            return Ok(());
        }
        self.refused.set(true);
        Err(StoreError::Unavailable.into())
    }
}

fn is((subject, name): &(String, Vec<u8>), of: Name<'_>) -> bool {
    subject == of.subject && name == of.name
}

/// 32 bytes that depend on what they are made of, and on nothing else.
fn digest(of: &impl Hash) -> [u8; 32] {
    let mut out = [0; 32];
    for (at, part) in out.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (at, of).hash(&mut hasher);
        part.copy_from_slice(&hasher.finish().to_be_bytes());
    }
    out
}

impl Context for Bare {
    fn now(&self) -> Time {
        NOW
    }
    fn wall(&self) -> Time {
        NOW
    }
    fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
    fn sends_mail(&self) -> bool {
        true
    }
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok(self.caller.as_ref().map(|caller| caller.subject.clone()).filter(|subject| subject.id == id))
    }
    fn subject_of(&self, _: &str) -> Result<Option<Subject>, Refusal> {
        Ok(None)
    }
    fn is_known_browser(&self, _: &str) -> Result<bool, Refusal> {
        self.answers().map(|()| false)
    }
    fn cookie(&self, _: &str) -> Result<Option<Secret<String>>, Refusal> {
        Ok(None)
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        for name in names {
            self.reads(*name)?;
            found.push(None);
        }
        Ok(())
    }
    fn scan(&self, prefix: Name<'_>, _: Option<&[u8]>, _: usize, _: &mut Page) -> Result<(), Refusal> {
        self.reads(prefix)
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        out.iter_mut().zip(0u8..=u8::MAX).for_each(|(byte, next)| *byte = next);
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        if secrets.len() > 16 || salt.len() < 16 {
            return Err(Problem::PluginFault.into());
        }
        Ok(secrets.iter().map(|secret| digest(&(secret, salt))).collect())
    }
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok(digest(&parts))
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let Claims { purpose, subject, session, id, expires_at } = claims;
        Ok(format!("kit.{purpose}.{subject}.{session}.{id}.{}", expires_at.secs()))
    }
    fn open(&self, _: &str, _: &str) -> Result<Option<Token>, Refusal> {
        Ok(None)
    }
}
