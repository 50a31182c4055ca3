//! A call as one plugin sees it: its own key space, and nothing of anybody else's.
use super::{call::Call, hashing::Cost, token};
use countersign_plugin_api::{
    Caller, Claims, Context, Found, Name, Page, Problem, Record, Refusal, Secret, Subject, Time, Token,
};

/// The most secrets that one question may ask to hash.
const MAX_HASHES: usize = 16;
/// The longest name of a record.
const MAX_NAME: usize = 256;

pub(crate) struct View<'c, 'k> {
    pub(crate) call: &'c Call<'k>,
    pub(crate) plugin: &'c str,
}

impl View<'_, '_> {
    pub(crate) fn key(&self, name: Name<'_>) -> Result<Vec<u8>, Refusal> {
        if name.name.is_empty() || name.name.len() > MAX_NAME {
            return Err(Refusal::new(Problem::PluginFault).because("a record's name has 1 to 256 bytes"));
        }
        Ok(self.call.place(name.subject).key(self.plugin, name.name))
    }
}

impl Context for View<'_, '_> {
    fn now(&self) -> Time {
        self.call.now()
    }
    fn wall(&self) -> Time {
        self.call.wall()
    }
    fn caller(&self) -> Option<&Caller> {
        self.call.caller()
    }
    fn sends_mail(&self) -> bool {
        self.call.kernel.sends_mail()
    }
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal> {
        self.call.kernel.people.subject(self.call, id)
    }
    fn subject_of(&self, address: &str) -> Result<Option<Subject>, Refusal> {
        self.call.kernel.people.subject_of(self.call, address)
    }
    fn cookie(&self, name: &str) -> Result<Option<Secret<String>>, Refusal> {
        Ok(self.call.cookie(self.plugin, name))
    }
    fn is_known_browser(&self, subject: &str) -> Result<bool, Refusal> {
        self.call.kernel.people.knows_browser(self.call, subject)
    }
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok(self.call.kernel.mac(self.plugin, parts))
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        let keys = names.iter().map(|name| self.key(*name)).collect::<Result<Vec<_>, _>>()?;
        for value in self.call.get(&keys)? {
            // Versions are the kernel's business; 1 says "there is one".
            found.push(value.as_deref().map(|value| Record { value, version: 1, expires_at: Time::NEVER }));
        }
        Ok(())
    }
    fn scan(
        &self,
        prefix: Name<'_>,
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), Refusal> {
        let place = self.call.place(prefix.subject);
        for (name, value) in self.call.scan(self.plugin, place, prefix.name, after, limit)? {
            page.push(&name, Record { value: &value, version: 1, expires_at: Time::NEVER });
        }
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        self.call.random(out);
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        if secrets.is_empty() || secrets.len() > MAX_HASHES || !(16..=64).contains(&salt.len()) {
            return Err(Refusal::new(Problem::PluginFault)
                .because("1 to 16 secrets are hashed under a salt of 16 to 64 bytes"));
        }
        self.call.hash(secrets, salt, Cost::PLUGINS)
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let kernel = self.call.kernel;
        let claims = Claims { purpose: self.purpose(&claims.purpose), ..claims.clone() };
        token::sign(&kernel.ring(), &kernel.settings.audience, &claims, self.now()).ok_or_else(|| {
            Refusal::new(Problem::PluginFault).because("a token cannot be signed: a claim is too long")
        })
    }
    fn open(&self, purpose: &str, token: &str) -> Result<Option<Token>, Refusal> {
        let kernel = self.call.kernel;
        let opened =
            token::open(&kernel.ring(), &kernel.settings.audience, &self.purpose(purpose), token, self.now());
        let own = |claims: Claims| Claims { purpose: purpose.to_owned(), ..claims };
        Ok(opened.map(|token| match token {
            Token::Live(claims) => {
                self.call.brings(&claims);
                Token::Live(own(claims))
            }
            Token::Expired(claims) => Token::Expired(own(claims)),
        }))
    }
}

impl View<'_, '_> {
    /// A plugin's purposes are its own: no plugin opens, or makes, a token of another.
    fn purpose(&self, purpose: &str) -> String {
        if purpose == self.plugin { purpose.to_owned() } else { format!("{}/{purpose}", self.plugin) }
    }
}
