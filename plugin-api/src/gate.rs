//! The gate: asked on every way to a session, after the first factor.
use crate::{
    abi::flat::{Flat, Item},
    context::Context,
    decision::{Decision, VERDICT, VERDICT_METHOD},
    error::Refusal,
    secret::Secret,
    session::{Caller, SessionMode, Subject},
    units::Time,
};
use std::time::Duration;

/// A login whose first factor is proven, before it is a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub subject: Subject,
    /// The id of the session that will be made, pending or standard.
    pub session: String,
    /// How that session will travel.
    pub mode: SessionMode,
    /// How the first factor was proven: RFC 8176 names.
    pub amr: Vec<String>,
}

/// What a gate says to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No second factor is asked for.
    Proceed,
    /// The session is made pending until the challenge is met.
    Challenge {
        /// The handle that the client brings along with its proof.
        token: String,
        /// Until when. The pending session lives as long.
        expires_at: Time,
        /// What the account can prove itself with: `totp`, `recovery`, …
        methods: Vec<String>,
    },
    /// Not now.
    Refuse {
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

/// How a session stands with the gate, asked on every request that a session makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the account has an active second factor.
    pub enrolled: bool,
    /// Whether policy wants one first, and the session may do nothing but enrol.
    pub enrollment_required: bool,
    /// Whether the proof on this session is fresh enough to change credentials: by second factor where one
    /// is active, else by password.
    pub stepped_up: bool,
}

/// Decides on logins. At most one plugin registers one, and then the store remembers that logins are gated.
pub trait Gate: Send + Sync + 'static {
    /// Asked after the first factor, on every way in. Answers [`Decision::verdict`], with the changes that
    /// belong to it; the kernel writes them with the session. With [`Verdict::Refuse`] there is none, and
    /// nothing of the decision is kept.
    fn after_primary(&self, login: &Login, context: &dyn Context) -> Result<Decision, Refusal>;
    /// Asked on every request that brings a session. Reads only the record that was named when the gate was
    /// registered, which the kernel has read along with the session.
    fn standing(&self, caller: &Caller, context: &dyn Context) -> Result<Standing, Refusal>;
    /// The rules that a new password breaks, each as a short slug such as `too-short`; none means that it may
    /// be used. `words` are texts of the account that it should not be made of, such as its address.
    fn password_violations(&self, password: &Secret<&str>, words: &[&str]) -> Result<Vec<String>, Refusal>;
}

const PROCEED: u32 = 0;
const CHALLENGE: u32 = 1;
const REFUSE: u32 = 2;

impl Verdict {
    pub(crate) fn write(&self, flat: &mut Flat) {
        let item = |code, x, a| Item { tag: VERDICT, code, x, y: 0, a, b: &[] };
        match self {
            Self::Proceed => flat.push(item(PROCEED, 0, &[])),
            Self::Challenge { token, expires_at, methods } => {
                flat.push(item(CHALLENGE, expires_at.secs(), token.as_bytes()));
                for method in methods {
                    flat.push(Item::bytes(VERDICT_METHOD, method.as_bytes()));
                }
            }
            Self::Refuse { retry_after } => flat.push(item(REFUSE, retry_after.as_secs(), &[])),
        }
    }
    pub(crate) fn read(item: &Item<'_>, flat: &Flat) -> Option<Self> {
        let methods = || flat.iter().filter(|i| i.tag == VERDICT_METHOD).map(|i| i.text().to_owned());
        Some(match item.code {
            PROCEED => Self::Proceed,
            CHALLENGE => Self::Challenge {
                token: item.text().into(),
                expires_at: Time::from_secs(item.x),
                methods: methods().collect(),
            },
            REFUSE => Self::Refuse { retry_after: Duration::from_secs(item.x) },
            _ => return None,
        })
    }
}

impl Standing {
    pub(crate) fn write(self, flat: &mut Flat) {
        let code = u32::from(self.enrolled)
            | u32::from(self.enrollment_required) << 1
            | u32::from(self.stepped_up) << 2;
        flat.push(Item { code, ..Item::default() });
    }
    pub(crate) fn read(flat: &Flat) -> Option<Self> {
        let code = flat.at(0)?.code;
        Some(Self { enrolled: code & 1 != 0, enrollment_required: code & 2 != 0, stepped_up: code & 4 != 0 })
    }
}

const LOGIN: u32 = 0x2000;

impl Login {
    pub(crate) fn write(&self, flat: &mut Flat) {
        self.subject.write(flat);
        flat.push(Item {
            tag: LOGIN,
            code: u32::from(self.mode == SessionMode::Bearer),
            a: self.session.as_bytes(),
            b: self.amr.join(" ").as_bytes(),
            ..Item::default()
        });
    }
    pub(crate) fn read(flat: &Flat) -> Option<Self> {
        let item = flat.find(LOGIN)?;
        Some(Self {
            subject: Subject::read(flat)?,
            session: item.text().into(),
            mode: if item.code == 1 { SessionMode::Bearer } else { SessionMode::Cookie },
            amr: item.text_b().split_ascii_whitespace().map(Into::into).collect(),
        })
    }
}
