//! Sign-ups that wait for their link, which are no accounts yet.
//!
//! Strangers sign up with an address as well as its owner does, before and after, and neither may stand in the
//! other's way: each sign-up keeps its own password, which its own link is for, and a later one changes nothing
//! about it. They last as long as their links, and there are no more of them than an address gets mails, each of
//! which cost the hash of a password.
//!
//! The browser that signed up has a cookie, by which it is known again when the link is opened in it.
use super::links::{self, PER, Purpose, SENDS};
use crate::{
    accounts::{Email, Password},
    kernel::{Call, HOST, PluginCookie, View},
    records::{decode, encode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Claims, Context, Draft, Problem, Refusal, Secret, Time, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PURPOSE: Purpose = Purpose::Registration;
/// The group of all that wait.
const GROUP: &str = ":registrations";
/// What the name of one starts with, where an account's id could stand.
const WAITING: &str = ":registration:";
const COOKIE: &str = "registration";

/// All that wait with one address.
#[derive(Default, Serialize, Deserialize)]
struct Waiting {
    sign_ups: Vec<SignUp>,
}

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SignUp {
    /// The address, as it was spelt.
    pub(super) email: String,
    pub(super) password: Password,
    /// The languages that whoever signed up reads.
    pub(super) language: String,
    /// The hash of the id of its link.
    link: [u8; 32],
    /// A keyed hash of the cookie of the browser that signed up.
    browser: [u8; 32],
    asked_at: u64,
}

impl Waiting {
    /// Adds one, unless as many mails were sent within the last period as an address gets; what is over goes.
    fn add(&mut self, new: SignUp, now: Time) -> bool {
        let within = |sign_up: &SignUp, time| Time::from_secs(sign_up.asked_at) + time > now;
        self.sign_ups.retain(|sign_up| within(sign_up, PURPOSE.lasts()));
        let allowed = self.sign_ups.iter().filter(|sign_up| within(sign_up, PER)).count() < SENDS;
        if allowed {
            self.sign_ups.push(new);
        }
        allowed
    }
    fn take(self, link: &[u8; 32]) -> Option<SignUp> {
        self.sign_ups.into_iter().find(|sign_up| bool::from(sign_up.link.ct_eq(link)))
    }
}

/// The browser that signs up.
pub(super) struct Browser {
    cookie: Secret<String>,
    hash: [u8; 32],
}

impl Browser {
    /// The one that asks. It keeps the cookie that it has, or its sign-ups before this one would not know it.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        let cookie = shown(call).unwrap_or_else(|| Secret::new(links::draw(call)));
        Ok(Self { hash: browser_hash(call, &cookie)?, cookie })
    }
    pub(super) fn into_cookie(self) -> PluginCookie {
        (COOKIE.into(), self.cookie, PURPOSE.lasts())
    }
}

fn shown(call: &Call<'_>) -> Option<Secret<String>> {
    let (_, cookie) = call.origin.cookies.iter().find(|(name, _)| name == COOKIE)?;
    is_cookie(cookie.expose()).then(|| cookie.clone())
}

fn is_cookie(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn browser_hash(call: &Call<'_>, cookie: &Secret<String>) -> Result<[u8; 32], Refusal> {
    View { call, plugin: HOST }.mac(&[b"registration", cookie.expose().as_bytes()])
}

/// Has a sign-up wait, and its mail sent, unless too many were.
pub(super) fn add(
    call: &Call<'_>,
    email: &Email,
    password: Password,
    browser: &Browser,
) -> Result<bool, Refusal> {
    let hidden = call.place(&format!("registration:{}", email.folded())).0;
    let (key, id, now) = (key(call, &hidden), links::draw(call), call.now());
    let mut waiting = read(call, key.clone())?.unwrap_or_default();
    let link = hash(&id);
    let allowed = waiting.add(
        SignUp {
            email: email.shown.clone(),
            password,
            language: call.origin.language.clone(),
            link,
            browser: browser.hash,
            asked_at: now.secs(),
        },
        now,
    );
    let expires_at = now + PURPOSE.lasts();
    // Written in any case, and signed: the time of an answer must not tell.
    call.put(key, &encode(&waiting)?, expires_at, false)?;
    let name = format!("{WAITING}{}", URL_SAFE_NO_PAD.encode([&hidden[..], &link].concat()));
    let (purpose, session) = (PURPOSE.name().into(), String::new());
    let token = call.sign(&Claims { purpose, subject: name.clone(), session, id, expires_at })?;
    if allowed {
        let draft = Draft::new("registration", &name, expires_at);
        call.message(&draft.with("token", &token).with("minutes", &PURPOSE.minutes()))?;
    }
    Ok(allowed)
}

/// The sign-up that a link is for.
pub(super) struct Found {
    pub(super) sign_up: SignUp,
    /// Of all that wait with its address.
    key: Vec<u8>,
}

impl Found {
    /// `None` for a token that is no such link's.
    pub(super) fn by_link(call: &Call<'_>, token: &str) -> Result<Option<Self>, Refusal> {
        let invalid = || Refusal::new(Problem::LinkInvalid);
        let Some(token) = call.open(PURPOSE.name(), token) else { return Ok(None) };
        let Token::Live(claims) = token else { return Err(invalid()) };
        let (hidden, _) = parse(&claims.subject).ok_or_else(invalid)?;
        find(call, &hidden, &hash(&claims.id))?.map(Some).ok_or_else(invalid)
    }
    /// Whether it is the browser that asks which signed up.
    pub(super) fn is_at_home(&self, call: &Call<'_>) -> Result<bool, Refusal> {
        let Some(cookie) = shown(call) else { return Ok(false) };
        Ok(browser_hash(call, &cookie)?.ct_eq(&self.sign_up.browser).into())
    }
    /// Where wrong passwords are counted of whoever holds the link.
    pub(super) fn tries(&self, call: &Call<'_>) -> Vec<u8> {
        call.host_key(GROUP, &[b"tries".as_slice(), &self.sign_up.link].concat())
    }
    /// Ends all that wait with its address, in the write that makes the account: whoever else signed up with it has
    /// no account by that, and no mail to come.
    pub(super) fn end_all(&self, call: &Call<'_>) -> Result<(), Refusal> {
        call.delete(self.key.clone())
    }
}

/// The address that a mail to a sign-up goes to, while it waits.
pub(crate) fn address(call: &Call<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let Some((hidden, link)) = parse(name) else { return Ok(None) };
    Ok(find(call, &hidden, &link)?.map(|found| found.sign_up.email))
}

fn find(call: &Call<'_>, hidden: &[u8], link: &[u8; 32]) -> Result<Option<Found>, Refusal> {
    let key = key(call, hidden);
    let sign_up = read(call, key.clone())?.and_then(|waiting| waiting.take(link));
    let live = sign_up.filter(|sign_up| Time::from_secs(sign_up.asked_at) + PURPOSE.lasts() > call.now());
    Ok(live.map(|sign_up| Found { sign_up, key }))
}

fn read(call: &Call<'_>, key: Vec<u8>) -> Result<Option<Waiting>, Refusal> {
    call.read(key)?.map(|bytes| decode(&bytes)).transpose()
}

fn key(call: &Call<'_>, hidden: &[u8]) -> Vec<u8> {
    call.host_key(GROUP, &[b"sign-ups".as_slice(), hidden].concat())
}

/// The keyed hash of the address, and the hash of the link's id.
fn parse(name: &str) -> Option<([u8; 16], [u8; 32])> {
    let bytes = URL_SAFE_NO_PAD.decode(name.strip_prefix(WAITING)?).ok()?;
    let (hidden, link) = bytes.split_first_chunk::<16>()?;
    Some((*hidden, link.try_into().ok()?))
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_and_a_name_have_one_form() {
        let good = "0123456789abcdef".repeat(4);
        assert!(is_cookie(&good));
        for wrong in ["", &good[1..], &good.replace('a', "g"), &format!("{good}0")] {
            assert!(!is_cookie(wrong), "{wrong}");
        }
        let named = |bytes: &[u8]| parse(&format!("{WAITING}{}", URL_SAFE_NO_PAD.encode(bytes)));
        assert_eq!(named(&[[7; 16].as_slice(), &[9; 32]].concat()), Some(([7; 16], [9; 32])));
        assert_eq!(named(&[7; 47]).or(named(&[7; 49])).or(parse("somebody")), None);
    }
}
