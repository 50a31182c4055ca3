//! Links that the host mails: one time, newest only, and bound to the account's epoch.
//!
//! A link's token is a signed handle; what counts is the record behind it. Strangers can have links sent, so the
//! record is one of its own that no login reads, and names that belong to nobody share a fixed number of
//! buckets: the same reads and writes, whoever the name belongs to.
use crate::{
    accounts::{Account, Email},
    kernel::Call,
    records::{decode, encode},
};
use countersign_plugin_api::{Claims, Problem, Refusal, Time, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq;

const BUCKETS: u32 = 4096;
/// So many mails of one kind an account gets per [`PER`].
pub(super) const SENDS: usize = 3;
pub(super) const PER: Duration = Duration::from_mins(10);

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To set a new password.
    PasswordReset,
    /// To make an account.
    Registration,
    /// To prove the address of one.
    Email,
}

impl Purpose {
    pub(super) const fn lasts(self) -> Duration {
        match self {
            Self::PasswordReset | Self::Registration | Self::Email => Duration::from_mins(30),
        }
    }
    /// How a mail says it.
    pub(super) fn minutes(self) -> String {
        (self.lasts().as_secs() / 60).to_string()
    }
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PasswordReset => "password-reset",
            Self::Registration => "registration",
            Self::Email => "email",
        }
    }
}

/// The newest link of a kind, and when mails with such were sent, within the last period.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Links {
    /// The hash of its id.
    newest: Option<[u8; 32]>,
    sent: Vec<u64>,
}

impl Links {
    /// Makes a link the newest, and counts its mail; whether there may be one more.
    fn send(&mut self, id: &str, now: Time) -> bool {
        self.sent.retain(|at| Time::from_secs(*at) + PER > now);
        let allowed = self.sent.len() < SENDS;
        if allowed {
            self.sent.push(now.secs());
            self.newest = Some(Sha256::digest(id).into());
        }
        allowed
    }
    /// Whether the link with that id is the newest, and not used up.
    fn is_newest(&self, id: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(id).into();
        self.newest.is_some_and(|newest| newest.ct_eq(&hash).into())
    }
}

/// A new link's id.
pub(super) fn draw(call: &Call<'_>) -> String {
    let mut id = [0; 32];
    call.random(&mut id);
    crate::kernel::hex(&id)
}

fn key(call: &Call<'_>, purpose: Purpose, email: &Email, account: Option<&Account>) -> Vec<u8> {
    let name = format!("links:{}", purpose.name());
    match account {
        Some(account) => call.host_key(&account.id, name.as_bytes()),
        None => {
            let place = call.place(&format!("links:{}", email.folded())).0;
            let bucket = u32::from_be_bytes([place[0], place[1], place[2], place[3]]) % BUCKETS;
            call.host_key(&format!(":links:{bucket}"), name.as_bytes())
        }
    }
}

/// A link that was made.
pub(super) struct Issued {
    pub(super) token: String,
    /// Whether it may be mailed: there is somebody, and not too many were sent.
    pub(super) is_sent: bool,
}

/// Makes a link, which ends the one before it if it may be mailed. The same work for every address.
pub(super) fn issue(
    call: &Call<'_>,
    purpose: Purpose,
    email: &Email,
    account: Option<&Account>,
) -> Result<Issued, Refusal> {
    let key = key(call, purpose, email, account);
    let mut links: Links =
        call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
    let now = call.now();
    let id = draw(call);
    let allowed = links.send(&id, now);
    let kept = purpose.lasts().max(PER);
    call.put(key, &encode(&links)?, now + kept, false)?;
    let claims = Claims {
        purpose: purpose.name().into(),
        subject: account.map(|account| account.id.clone()).unwrap_or_default(),
        session: account.map_or(0, |account| account.epoch).to_string(),
        id,
        expires_at: now + purpose.lasts(),
    };
    Ok(Issued { token: call.sign(&claims)?, is_sent: allowed && account.is_some() })
}

/// Spends a link, in the write that it is spent for; answers whose it was.
pub(super) fn spend(call: &Call<'_>, purpose: Purpose, token: &str) -> Result<Account, Refusal> {
    let Live { account, key, mut links } = live(call, purpose, token)?;
    links.newest = None;
    call.put(key, &encode(&links)?, call.now() + PER, false)?;
    Ok(account)
}

/// Whose a link is that could be spent now.
pub(super) fn peek(call: &Call<'_>, purpose: Purpose, token: &str) -> Result<Account, Refusal> {
    live(call, purpose, token).map(|live| live.account)
}

/// A link that is good now.
struct Live {
    account: Account,
    key: Vec<u8>,
    links: Links,
}

fn live(call: &Call<'_>, purpose: Purpose, token: &str) -> Result<Live, Refusal> {
    let invalid = || Refusal::new(Problem::LinkInvalid);
    let Some(Token::Live(claims)) = call.open(purpose.name(), token) else { return Err(invalid()) };
    let account = crate::accounts::by_id(call, &claims.subject)?.ok_or_else(invalid)?;
    let email = Email::parse(&account.email)?;
    let key = key(call, purpose, &email, Some(&account));
    let links: Option<Links> = call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?;
    let links = links.ok_or_else(invalid)?;
    if claims.session != account.epoch.to_string() || !links.is_newest(&claims.id) {
        return Err(invalid());
    }
    Ok(Live { account, key, links })
}
