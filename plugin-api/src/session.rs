//! Who is calling: a subject, and the session that proves it.
use crate::{
    abi::flat::{Flat, Item},
    units::Time,
};

/// An account, as a plugin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Opaque, stable for the life of the account.
    pub id: String,
    /// The address as it is shown to people.
    pub email: String,
    /// Whether somebody with access to the mailbox has confirmed it.
    pub email_verified: bool,
    /// The role, such as `user` or `admin`.
    pub role: String,
    /// Bumped by every credential event: a challenge, link or trusted browser made under another epoch is
    /// over.
    pub epoch: u64,
    /// When the account was made.
    pub created_at: Time,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// The first factor is proven, the second is not: good for proving it, and for nothing else.
    Pending,
    /// Signed in.
    Standard,
}

/// How a session travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionMode {
    /// As a cookie.
    Cookie,
    /// As `Authorization: Bearer`.
    Bearer,
}

/// A session, without what proves the right to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Opaque; not a secret.
    pub id: String,
    /// How far it has come.
    pub kind: SessionKind,
    /// How it travels.
    pub mode: SessionMode,
    /// When a first factor was last proven.
    pub authenticated_at: Time,
    /// When a second factor was last proven on this session.
    pub mfa_verified_at: Option<Time>,
    /// How it was proven: RFC 8176 names such as `pwd` and `otp`.
    pub amr: Vec<String>,
    /// When it ends at the latest.
    pub expires_at: Time,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose session it is.
    pub subject: Subject,
    /// The session.
    pub session: Session,
}

const SUBJECT: u32 = 0x3000;
const SUBJECT_MORE: u32 = 0x3001;
const SESSION: u32 = 0x3002;
const SESSION_MORE: u32 = 0x3003;

impl Subject {
    pub(crate) fn write(&self, flat: &mut Flat) {
        flat.push(Item {
            tag: SUBJECT,
            code: u32::from(self.email_verified),
            x: self.epoch,
            y: self.created_at.secs(),
            a: self.id.as_bytes(),
            b: self.email.as_bytes(),
        });
        flat.push(Item::bytes(SUBJECT_MORE, self.role.as_bytes()));
    }
    pub(crate) fn read(flat: &Flat) -> Option<Self> {
        let (head, more) = (flat.find(SUBJECT)?, flat.find(SUBJECT_MORE)?);
        Some(Self {
            id: head.text().into(),
            email: head.text_b().into(),
            email_verified: head.code != 0,
            role: more.text().into(),
            epoch: head.x,
            created_at: Time::from_secs(head.y),
        })
    }
}

impl Session {
    pub(crate) fn write(&self, flat: &mut Flat) {
        let kind = u32::from(self.kind == SessionKind::Standard);
        let mode = u32::from(self.mode == SessionMode::Bearer);
        flat.push(Item {
            tag: SESSION,
            code: kind | mode << 1,
            x: self.authenticated_at.secs(),
            y: self.expires_at.secs(),
            a: self.id.as_bytes(),
            b: self.amr.join(" ").as_bytes(),
        });
        if let Some(at) = self.mfa_verified_at {
            flat.push(Item { tag: SESSION_MORE, x: at.secs(), ..Item::default() });
        }
    }
    pub(crate) fn read(flat: &Flat) -> Option<Self> {
        let head = flat.find(SESSION)?;
        Some(Self {
            id: head.text().into(),
            kind: if head.code & 1 == 1 { SessionKind::Standard } else { SessionKind::Pending },
            mode: if head.code & 2 == 2 { SessionMode::Bearer } else { SessionMode::Cookie },
            authenticated_at: Time::from_secs(head.x),
            mfa_verified_at: flat.find(SESSION_MORE).map(|item| Time::from_secs(item.x)),
            amr: head.text_b().split_ascii_whitespace().map(Into::into).collect(),
            expires_at: Time::from_secs(head.y),
        })
    }
}

impl Caller {
    pub(crate) fn write(&self, flat: &mut Flat) {
        self.subject.write(flat);
        self.session.write(flat);
    }
    pub(crate) fn read(flat: &Flat) -> Option<Self> {
        Some(Self { subject: Subject::read(flat)?, session: Session::read(flat)? })
    }
}
