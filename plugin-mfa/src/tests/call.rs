//! What the kernel does for a handler during one call: reads are remembered, random bytes are the same when
//! the call is tried again, and a hash is refused the first time.
use super::kernel::{Kernel, Name2};
use countersign_plugin_api::{
    Caller, Claims, Context, Found, Name, Page, Problem, Record, Refusal, Secret, Subject, Time, Token,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Secrets and a salt, and what they hash to.
pub(super) type Hashes = (Vec<Vec<u8>>, Vec<u8>);

/// The services of one call.
pub(super) struct Call<'k> {
    kernel: &'k Kernel,
    caller: Option<Caller>,
    browser: &'static str,
    pub(super) read: RefCell<BTreeMap<Name2, u64>>,
    seed: u64,
    pub(super) random: Cell<u64>,
    pub(super) wanted: RefCell<Option<Hashes>>,
    pub(super) ready: Option<Hashes>,
}

impl<'k> Call<'k> {
    pub(super) fn new(kernel: &'k Kernel, session: Option<&str>, browser: &'static str, seed: u64) -> Self {
        Self {
            kernel,
            caller: session.and_then(|id| kernel.caller(id)),
            browser,
            read: RefCell::default(),
            seed,
            random: Cell::new(0),
            wanted: RefCell::default(),
            ready: None,
        }
    }
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Context for Call<'_> {
    fn now(&self) -> Time {
        self.kernel.now
    }
    fn wall(&self) -> Time {
        self.kernel.wall
    }
    fn sends_mail(&self) -> bool {
        self.kernel.sends_mail
    }
    fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok(self.kernel.subjects.get(id).cloned())
    }
    fn subject_of(&self, address: &str) -> Result<Option<Subject>, Refusal> {
        let address = address.trim().to_lowercase();
        Ok(self.kernel.subjects.values().find(|subject| subject.email == address).cloned())
    }
    fn cookie(&self, name: &str) -> Result<Option<Secret<String>>, Refusal> {
        let kept = self.kernel.cookies.get(&(self.browser.to_owned(), name.to_owned()));
        let live = kept.filter(|(_, until)| self.kernel.now < *until);
        Ok(live.map(|(value, _)| Secret::new(value.clone())))
    }
    fn is_known_browser(&self, subject: &str) -> Result<bool, Refusal> {
        Ok(self.kernel.known_browsers.contains(&(self.browser, subject.to_owned())))
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        for name in names {
            let name = (name.subject.to_owned(), name.name.to_vec());
            self.read.borrow_mut().insert(name.clone(), self.kernel.version_of(&name));
            let record = self.kernel.records.get(&name).filter(|record| record.2 > self.kernel.now);
            found.push(record.map(|(version, value, expires_at)| Record {
                value,
                version: *version,
                expires_at: *expires_at,
            }));
        }
        Ok(())
    }
    fn scan(&self, _: Name<'_>, _: Option<&[u8]>, _: usize, _: &mut Page) -> Result<(), Refusal> {
        panic!("nothing here scans")
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        for byte in out {
            self.random.set(self.random.get() + 1);
            *byte = digest((self.seed, self.random.get())).to_le_bytes()[0];
        }
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        assert!((1..=16).contains(&secrets.len()) && salt.len() >= 16);
        let asked = (secrets.iter().map(|secret| secret.to_vec()).collect(), salt.to_vec());
        if self.ready.as_ref() != Some(&asked) {
            *self.wanted.borrow_mut() = Some(asked);
            return Err(Problem::Busy.into());
        }
        let hash = |secret: &&[u8]| std::array::from_fn(|at| digest((secret, salt, at)).to_le_bytes()[0]);
        Ok(secrets.iter().map(hash).collect())
    }
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok(std::array::from_fn(|at| digest(("mac", parts, at)).to_le_bytes()[0]))
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let Claims { purpose, subject, session, id, expires_at } = claims;
        let text = format!("{purpose}|{subject}|{session}|{id}|{}", expires_at.secs());
        Ok(format!("{text}|{:x}", digest(("the key", &text))))
    }
    fn open(&self, purpose: &str, token: &str) -> Result<Option<Token>, Refusal> {
        let Some((text, mac)) = token.rsplit_once('|') else { return Ok(None) };
        let parts: Vec<&str> = text.split('|').collect();
        if mac != format!("{:x}", digest(("the key", text))) || parts[0] != purpose {
            return Ok(None);
        }
        let claims = Claims {
            purpose: parts[0].into(),
            subject: parts[1].into(),
            session: parts[2].into(),
            id: parts[3].into(),
            expires_at: Time::from_secs(parts[4].parse().unwrap()),
        };
        let live = self.kernel.now < claims.expires_at;
        Ok(Some(if live { Token::Live(claims) } else { Token::Expired(claims) }))
    }
}
