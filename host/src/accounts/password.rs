//! Password hashes: Argon2id with a salt of its own, then a pepper that is not in the store.
use super::Account;
use crate::kernel::{Call, Cost};
use countersign_plugin_api::{Problem, Refusal};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The longest password, in bytes.
pub(crate) const MAX_PASSWORD: usize = 1024;

/// What is stored of a password.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Password {
    salt: [u8; 16],
    cost: Cost,
    hash: [u8; 32],
}

impl Password {
    /// Hashes a new password.
    pub(crate) fn new(call: &Call<'_>, password: &str) -> Result<Self, Refusal> {
        let mut salt = [0; 16];
        call.random(&mut salt);
        let cost = call.kernel.settings.password_cost;
        let hash = one(call, password, &salt, cost)?;
        Ok(Self { salt, cost, hash })
    }

    /// Whether this is the password.
    pub(crate) fn matches(&self, call: &Call<'_>, password: &str) -> Result<bool, Refusal> {
        let hash = one(call, password, &self.salt, self.cost)?;
        Ok(hash.ct_eq(&self.hash).into())
    }

    /// Spends the time of a comparison for an account that does not exist.
    fn matches_nothing(call: &Call<'_>, password: &str) -> Result<bool, Refusal> {
        one(call, password, &[0; 16], call.kernel.settings.password_cost).map(|_| false)
    }

    /// Whether it was hashed at another cost than new ones are.
    pub(crate) fn is_outdated(&self, call: &Call<'_>) -> bool {
        self.cost != call.kernel.settings.password_cost
    }
}

fn one(call: &Call<'_>, password: &str, salt: &[u8; 16], cost: Cost) -> Result<[u8; 32], Refusal> {
    call.hash(&[password.as_bytes()], salt, cost)?.pop().ok_or_else(|| Problem::PluginFault.into())
}

/// Whether this is the password of an account. That of nobody, and that of an account without one, is compared
/// in the same time, and never right.
pub(crate) fn matches(call: &Call<'_>, account: Option<&Account>, password: &str) -> Result<bool, Refusal> {
    match account.and_then(|account| account.password.as_ref()) {
        Some(hashed) => hashed.matches(call, password),
        None => Password::matches_nothing(call, password),
    }
}

/// Refuses a password that the policy does not want, naming every rule that it breaks.
pub(crate) fn check(call: &Call<'_>, password: &str, words: &[&str]) -> Result<(), Refusal> {
    let broken = if password.len() > MAX_PASSWORD {
        vec!["too-long".to_owned()]
    } else {
        call.kernel.password_violations(password, words)?
    };
    if broken.is_empty() { Ok(()) } else { Err(Refusal::new(Problem::PasswordPolicy).violations(broken)) }
}
