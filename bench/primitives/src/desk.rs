//! The kernel that a decision is asked with: records in memory, and services that cost next to nothing, so that what is
//! measured is the plugin and the boundary.
use countersign_plugin_api::{
    Act, Caller, Claims, Context, Decision, Found, Name, Page, Record, Refusal, Secret, Session, SessionKind,
    SessionMode, Subject, Time, Token,
};
use std::{cell::Cell, collections::BTreeMap, time::Duration};

pub(crate) const START: Time = Time::from_secs(1_800_000_000);

pub(crate) struct Desk {
    pub(crate) now: Time,
    pub(crate) subject: Subject,
    pub(crate) caller: Option<Caller>,
    records: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    random: Cell<u64>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let subject = Subject {
            id: "5d7f".repeat(8),
            email: "ann@example.org".into(),
            email_verified: true,
            role: "user".into(),
            epoch: 1,
            created_at: START,
        };
        Self { now: START, subject, caller: None, records: BTreeMap::new(), random: Cell::new(1) }
    }

    /// A session that has proven this.
    pub(crate) fn caller(&self, amr: &[&str]) -> Caller {
        let session = Session {
            id: "9a3c".repeat(8),
            kind: SessionKind::Standard,
            mode: SessionMode::Bearer,
            authenticated_at: self.now,
            mfa_verified_at: Some(self.now),
            amr: amr.iter().map(|method| (*method).into()).collect(),
            expires_at: self.now + Duration::from_hours(12),
        };
        Caller { subject: self.subject.clone(), session }
    }

    /// Writes what a decision writes, and answers what it sends by mail.
    pub(crate) fn carry_out(&mut self, decision: &Decision) -> BTreeMap<String, String> {
        let mut mailed = BTreeMap::new();
        for act in decision.acts().flatten() {
            match act {
                Act::Put { name, value, .. } => {
                    self.records.insert((name.subject.into(), name.name.into()), value.into());
                }
                Act::Message(draft) => {
                    mailed.extend(draft.fields.iter().map(|(key, value)| ((*key).into(), (*value).into())));
                }
                _ => {}
            }
        }
        mailed
    }
}

/// 32 bytes that differ where the parts do; secret they are not.
fn mixed(parts: &[&[u8]]) -> [u8; 32] {
    let of = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, of);
    let mut out = [0; 32];
    for (at, eight) in (1..).zip(out.chunks_mut(8)) {
        eight.copy_from_slice(&sum.wrapping_mul(2 * at + 1).to_be_bytes());
    }
    out
}

impl Context for Desk {
    fn now(&self) -> Time {
        self.now
    }
    fn wall(&self) -> Time {
        self.now
    }
    fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
    fn sends_mail(&self) -> bool {
        true
    }
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok((self.subject.id == id).then(|| self.subject.clone()))
    }
    fn subject_of(&self, address: &str) -> Result<Option<Subject>, Refusal> {
        Ok((self.subject.email == address).then(|| self.subject.clone()))
    }
    fn cookie(&self, _: &str) -> Result<Option<Secret<String>>, Refusal> {
        Ok(None)
    }
    fn is_known_browser(&self, _: &str) -> Result<bool, Refusal> {
        Ok(false)
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        for name in names {
            let value = self.records.get(&(name.subject.to_owned(), name.name.to_vec()));
            found.push(value.map(|value| Record { value, version: 1, expires_at: Time::NEVER }));
        }
        Ok(())
    }
    fn scan(&self, _: Name<'_>, _: Option<&[u8]>, _: usize, _: &mut Page) -> Result<(), Refusal> {
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        for byte in out {
            self.random.set(self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            *byte = self.random.get().to_be_bytes()[0];
        }
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        Ok(secrets.iter().map(|secret| mixed(&[secret, salt])).collect())
    }
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok(mixed(parts))
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let Claims { purpose, subject, session, id, expires_at } = claims;
        Ok(format!("{purpose} {subject} {session} {id} {}", expires_at.secs()))
    }
    fn open(&self, wanted: &str, token: &str) -> Result<Option<Token>, Refusal> {
        let mut parts = token.split(' ').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (purpose, subject, session, id) = (part(), part(), part(), part());
        let expires_at = Time::from_secs(part().parse().unwrap_or(0));
        let is_meant = purpose == wanted;
        Ok(is_meant.then_some(Token::Live(Claims { purpose, subject, session, id, expires_at })))
    }
}
