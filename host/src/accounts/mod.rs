//! Accounts: an address, a password hash, a role, an epoch.
//!
//! An account is a record at its subject's place; a directory finds it by the keyed hash of its address.
mod directory;
mod password;

pub(crate) use directory::{is_place, remove, search};
pub(crate) use password::{MAX_PASSWORD, Password, check as check_password, matches as password_matches};

use crate::{
    kernel::{Call, HOST},
    records::{decode, encode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, StoreError, Subject, Time};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The group of the directory.
const DIRECTORY: &str = ":directory";
/// The name of an account's record.
pub(crate) const RECORD: &[u8] = b"account";

/// An account as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) email_verified: bool,
    pub(crate) role: String,
    pub(crate) created_at: u64,
    /// Bumped by credential events: sessions, challenges and links of another epoch are over.
    pub(crate) epoch: u64,
    /// An operator has made it for its owner; anybody may make the others, for an address that is not theirs.
    pub(crate) vouched: bool,
    /// Whether a login was ever completed.
    pub(crate) signed_in: bool,
    /// Bumped when all other sessions are ended without a credential event.
    pub(crate) generation: u64,
    /// The languages that its owner reads, the best first, as the browser said at the sign-up; empty: it did not.
    pub(crate) language: String,
    /// `None`: there is none that opens anything.
    pub(crate) password: Option<Password>,
}

impl Account {
    /// As plugins see it.
    pub(crate) fn subject(&self) -> Subject {
        self.clone().into_subject()
    }
    /// The same, of an account that is not needed any more.
    pub(crate) fn into_subject(self) -> Subject {
        Subject {
            id: self.id,
            email: self.email,
            email_verified: self.email_verified,
            role: self.role,
            epoch: self.epoch,
            created_at: Time::from_secs(self.created_at),
        }
    }
}

/// An address as it is compared: variants in case and surrounding space are one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email {
    /// As it was given, trimmed.
    pub(crate) shown: String,
    folded: String,
}

impl Email {
    /// Parses an address loosely: whether it exists, only a mail tells.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let shown = text.trim();
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"".contains(c);
        // Such as the sign for Kelvin, which folds to a `k`: an address of its own, that would be taken for another.
        let looks_alike = |c: char| !c.is_ascii() && c.to_lowercase().any(|folded| folded.is_ascii());
        let sound = shown.len() <= 254
            && shown.chars().all(|c| plain(c) && !looks_alike(c))
            && shown.rsplit_once('@').is_some_and(|(local, domain)| {
                (1..=64).contains(&local.len())
                    && !local.contains('@')
                    && !domain.is_empty()
                    && domain.split('.').all(|label| !label.is_empty())
            });
        if sound {
            Ok(Self { shown: shown.into(), folded: shown.to_lowercase() })
        } else {
            Err(Refusal::malformed("`email` is not an e-mail address"))
        }
    }

    /// The part before the `@`, folded: a word that a password should not be made of.
    pub(crate) fn local(&self) -> &str {
        self.folded.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// The address, folded.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    fn key(&self, call: &Call<'_>) -> Vec<u8> {
        let hidden = call.place(&format!("email:{}", self.folded));
        let name = [b"email".as_slice(), &hidden.0].concat();
        call.host_key(DIRECTORY, &name)
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    id: String,
    email: String,
}

/// The key of an account's record.
pub(crate) fn key(call: &Call<'_>, id: &str) -> Vec<u8> {
    call.host_key(id, RECORD)
}

/// An account's record, opened.
pub(crate) fn read(record: &[u8]) -> Result<Account, Refusal> {
    decode(record)
}

/// The id and the address in an entry of the directory, opened.
pub(crate) fn read_entry(record: &[u8]) -> Result<(String, String), Refusal> {
    decode::<Entry>(record).map(|entry| (entry.id, entry.email))
}

/// The account of that id.
pub(crate) fn by_id(call: &Call<'_>, id: &str) -> Result<Option<Account>, Refusal> {
    let record = call.read(key(call, id))?;
    let account: Option<Account> = record.map(|bytes| decode(&bytes)).transpose()?;
    match account {
        Some(account) if account.id != id => Err(StoreError::Corrupt.into()),
        account => Ok(account),
    }
}

/// The account of that address.
pub(crate) fn by_email(call: &Call<'_>, email: &Email) -> Result<Option<Account>, Refusal> {
    match call.read(email.key(call))? {
        Some(entry) => by_id(call, &decode::<Entry>(&entry)?.id),
        // As many reads for an address that nobody has.
        None => by_id(call, Draft::NOBODY),
    }
}

/// An id of random bytes, 127 bits of them. Operators type it: no id begins with a dash, as an option does, so its first
/// letter stands for a number below 32.
fn id(mut bytes: [u8; 16]) -> String {
    bytes[0] &= 0x7f;
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Makes an account; 409 when the address is taken.
pub(crate) fn create(
    call: &Call<'_>,
    email: &Email,
    role: &str,
    password: Password,
) -> Result<Account, Refusal> {
    let entry = email.key(call);
    if call.read(entry.clone())?.is_some() {
        return Err(Refusal::new(Problem::Conflict).saying("There is an account with this e-mail address"));
    }
    let mut bytes = [0; 16];
    call.random(&mut bytes);
    let id = id(bytes);
    // Read, so that it is required absent.
    if by_id(call, &id)?.is_some() {
        return Err(StoreError::Corrupt.into());
    }
    let account = Account {
        id: id.clone(),
        email: email.shown.clone(),
        email_verified: false,
        role: role.into(),
        created_at: call.now().secs(),
        epoch: 1,
        generation: 1,
        vouched: false,
        signed_in: false,
        language: call.origin.language.clone(),
        password: Some(password),
    };
    let found = Entry { id, email: email.shown.clone() };
    call.put(entry, &encode(&found)?, Time::NEVER, false)?;
    save(call, &account)?;
    Ok(account)
}

/// Whoever asks has access to the mailbox. The first such proof ends what was prepared in its name before: on an
/// account that anybody could have made, the password, the factors and the sessions are not the owner's.
pub(crate) fn prove(call: &Call<'_>, account: &mut Account) -> Result<(), Refusal> {
    if account.email_verified {
        return Ok(());
    }
    account.email_verified = true;
    if !account.vouched {
        account.password = None;
        account.epoch += 1;
        call.kernel.tell_gate(call, "forget", &json!({ "subject": account.id }))?;
    }
    call.audit(HOST, &Event::success("email.proven", &account.id));
    save(call, account)
}

/// Writes an account that was read in this call.
pub(crate) fn save(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    call.put(key(call, &account.id), &encode(account)?, Time::NEVER, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_begins_like_an_option() {
        let ids: Vec<String> = (0..=u8::MAX).map(|first| id([first; 16])).collect();
        assert!(ids.iter().all(|id| id.len() == 22 && id.as_bytes()[0].is_ascii_alphabetic()), "{ids:?}");
    }

    #[test]
    fn addresses_are_one_in_all_their_spellings_and_hostile_ones_are_none() {
        let folded = |text: &str| Email::parse(text).map(|email| email.folded).ok();
        assert_eq!(folded("  Ann@Example.ORG "), Some("ann@example.org".into()));
        assert_eq!(folded("ÄRGER@example.org"), Some("ärger@example.org".into()));
        assert_eq!(folded("Kate@Example.org"), Some("kate@example.org".into()));
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a@b\r\nBcc: c@d",
            "a\0@b",
            "<a@b>",
            "a@.b",
            "a@b..c",
            "a,b@c",
            "\u{212a}ate@example.org",
            "kate@\u{212a}elvin.example",
            "\u{130}da@example.org",
            &format!("{}@b", "a".repeat(65)),
            &format!("a@{}", "b".repeat(260)),
        ] {
            assert_eq!(folded(bad), None, "{bad:?}");
        }
    }
}
