//! Signing up: at once, or when a mailed link has proven the address.
//!
//! Whoever signs up with an address to be proven leaves a record that waits for the link: the password's hash, and
//! which link is the newest. It is no account. Strangers make such records, so each costs them the hash of a
//! password and lasts no longer than its link, and there are no new ones while the store is nearly full.
//!
//! An address that has an account already is answered the same after the same work, and only its mail differs.
use super::{
    Asked, Reply, end_older,
    links::{self, Links, Purpose},
    login::{self, Mode},
};
use crate::{
    accounts::{self, Account, Email, Password},
    config::Registration,
    kernel::{Call, HOST},
    records::{decode, encode},
    sessions,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Claims, Draft, Event, Problem, Refusal, Secret, Token};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

const PURPOSE: Purpose = Purpose::Registration;
/// The group of all that wait.
const GROUP: &str = ":registrations";
/// What the name of one starts with, where an account's id could stand.
const WAITING: &str = ":registration:";
/// The role of whoever makes an account.
const USER: &str = "user";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    email: String,
    password: Secret<String>,
    #[serde(default)]
    session: Mode,
}

/// `POST /register`
pub(super) fn register(call: &Call<'_>, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let registration = asked.config.registration;
    if registration == Registration::Closed {
        return Err(Refusal::new(Problem::Forbidden).saying("Registration is closed"));
    }
    let body: Register = asked.request.json()?;
    let email = Email::parse(&body.email)?;
    // What may refuse is asked before the address is looked up: it refuses every address.
    call.kernel.has_room_for_accounts()?;
    if registration == Registration::Verified {
        return wait_for_proof(call, &email, &body.password);
    }
    let account = sign_up(call, &email, USER, &body.password)?;
    end_older(call)?;
    call.audit(HOST, &Event::success("account.registered", &account.id));
    // Registering counts as a fresh password proof; the new account still passes the gate like any other.
    let reply =
        login::enter(call, &account, body.session.mode(), vec![sessions::PASSWORD.into()], asked.agent)?;
    Ok(Reply { status: 201, ..reply })
}

/// Makes an account once the password has met the policy.
pub(crate) fn sign_up(
    call: &Call<'_>,
    email: &Email,
    role: &str,
    password: &Secret<String>,
) -> Result<Account, Refusal> {
    let password = accepted(call, email, password)?;
    accounts::create(call, email, role, password)
}

fn accepted(call: &Call<'_>, email: &Email, password: &Secret<String>) -> Result<Password, Refusal> {
    accounts::check_password(call, password.expose(), &[email.folded(), email.local()])?;
    Password::new(call, password.expose())
}

/// A sign-up that waits, as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    email: String,
    password: Password,
    /// The languages that whoever signs up reads.
    language: String,
    links: Links,
}

/// 202 for every address, after the same work.
fn wait_for_proof(call: &Call<'_>, email: &Email, password: &Secret<String>) -> Result<Reply, Refusal> {
    call.kernel.has_room_for_mail()?;
    let password = accepted(call, email, password)?;
    let minutes = PURPOSE.minutes();
    let until = call.now() + PURPOSE.lasts();
    if let Some(account) = accounts::by_email(call, email)? {
        // The token is made for the time that it takes. It opens nothing, and stays here.
        if links::issue(call, PURPOSE, email, Some(&account))?.is_some() {
            call.message(&Draft::new("registration-known", &account.id, until))?;
            call.audit(HOST, &Event::success("account.registered-again", &account.id));
        }
    } else if let Some((name, token)) = wait(call, email, password)? {
        call.audit(HOST, &Event::success("account.registration-asked", ""));
        let draft = Draft::new("registration", &name, until);
        call.message(&draft.with("token", &token).with("minutes", &minutes))?;
    }
    let mut body = Map::new();
    body.insert("status".into(), json!("verification_required"));
    Ok(Reply::json(202, body))
}

/// Takes the place of whoever waited with this address; its name, and the token of its link. `None` when too many
/// mails were sent, and then the link before this one stays good, for the password that it was asked for with.
fn wait(call: &Call<'_>, email: &Email, password: Password) -> Result<Option<(String, String)>, Refusal> {
    let hidden = call.place(&format!("registration:{}", email.folded())).0;
    let (key, id) = (key(call, &hidden), links::draw(call));
    let before: Option<Waiting> = call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?;
    let new = Waiting {
        email: email.shown.clone(),
        password,
        language: call.origin.language.clone(),
        links: Links::default(),
    };
    let mut waiting = before.unwrap_or_else(|| new.clone());
    let expires_at = call.now() + PURPOSE.lasts();
    let allowed = waiting.links.send(&id, call.now());
    if allowed {
        waiting = Waiting { links: waiting.links, ..new };
    }
    // Written in any case: the time of an answer must not tell.
    call.put(key, &encode(&waiting)?, expires_at, false)?;
    let name = format!("{WAITING}{}", URL_SAFE_NO_PAD.encode(hidden));
    let subject = name.clone();
    let purpose = PURPOSE.name().into();
    let token = call.sign(&Claims { purpose, subject, session: String::new(), id, expires_at })?;
    Ok(allowed.then_some((name, token)))
}

/// Makes the account whose link this is, with its address proven. False for what is no such link.
pub(super) fn confirm(call: &Call<'_>, token: &str) -> Result<bool, Refusal> {
    let invalid = || Refusal::new(Problem::LinkInvalid);
    let Some(token) = call.open(PURPOSE.name(), token) else { return Ok(false) };
    let Token::Live(claims) = token else { return Err(invalid()) };
    let (key, mut waiting) = find(call, &claims.subject)?.ok_or_else(invalid)?;
    let email = Email::parse(&waiting.email)?;
    // Somebody may have made the account meanwhile.
    if !waiting.links.spend(&claims.id) || accounts::by_email(call, &email)?.is_some() {
        return Err(invalid());
    }
    call.delete(key)?;
    let mut account = accounts::create(call, &email, USER, waiting.password)?;
    account.email_verified = true;
    account.language = waiting.language;
    accounts::save(call, &account)?;
    call.audit(HOST, &Event::success("account.registered", &account.id));
    Ok(true)
}

/// The address that a mail to somebody who waits goes to.
pub(crate) fn address(call: &Call<'_>, name: &str) -> Result<Option<String>, Refusal> {
    Ok(find(call, name)?.map(|(_, waiting)| waiting.email))
}

fn find(call: &Call<'_>, name: &str) -> Result<Option<(Vec<u8>, Waiting)>, Refusal> {
    let hidden = name.strip_prefix(WAITING).and_then(|name| URL_SAFE_NO_PAD.decode(name).ok());
    let Some(hidden) = hidden else { return Ok(None) };
    let key = key(call, &hidden);
    let waiting = call.read(key.clone())?.map(|bytes| decode(&bytes)).transpose()?;
    Ok(waiting.map(|waiting| (key, waiting)))
}

fn key(call: &Call<'_>, hidden: &[u8]) -> Vec<u8> {
    call.host_key(GROUP, &[b"email".as_slice(), hidden].concat())
}
