//! Signing up: at once, or when a mailed link has proven the address.
//!
//! A link that proves an address proves no more: that whoever opens it reads the mailbox, and not that they chose
//! the password of the sign-up that it was mailed for. That may be a stranger's, who waits for the owner to open it.
//! So a browser makes the account as it was asked for only if it is the one that signed up, or by saying the
//! password; and by a password of the reader's own, whoever signed up. The last is also the way to an account for
//! an owner in whose name strangers use up the mails: each of them is as good as one's own.
//!
//! An address that has an account already is answered the same after the same work, and only its mail differs.
use super::{
    Asked, Reply,
    budget::Budget,
    end_older,
    links::{self, Purpose},
    login::{self, Mode},
    waiting::{self, Browser, Found},
};
use crate::{
    accounts::{self, Account, Email, MAX_PASSWORD, Password},
    config::Registration,
    kernel::{Call, HOST},
    sessions,
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Request, Secret, SessionMode};
use serde::Deserialize;
use serde_json::{Map, json};

const PURPOSE: Purpose = Purpose::Registration;
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
        return Err(closed());
    }
    let body: Register = asked.request.json()?;
    let email = Email::parse(&body.email)?;
    // What may refuse is asked before the address is looked up: it refuses every address.
    call.kernel.has_room_for_accounts()?;
    if registration == Registration::Verified {
        return wait_for_proof(call, &email, &body);
    }
    let account = sign_up(call, &email, USER, &body.password)?;
    end_older(call)?;
    call.audit(HOST, &Event::success("account.registered", &account.id));
    // Registering counts as a fresh password proof; the new account still passes the gate like any other.
    let reply =
        login::enter(call, &account, body.session.mode(), vec![sessions::PASSWORD.into()], asked.agent)?;
    Ok(Reply { status: 201, ..reply })
}

fn closed() -> Refusal {
    Refusal::new(Problem::Forbidden).saying("Registration is closed")
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

/// 202 for every address, after the same work.
fn wait_for_proof(call: &Call<'_>, email: &Email, body: &Register) -> Result<Reply, Refusal> {
    call.kernel.has_room_for_strangers()?;
    let password = accepted(call, email, &body.password)?;
    let browser = Browser::of(call)?;
    if let Some(account) = accounts::by_email(call, email)? {
        // The token is made for the time that it takes. It opens nothing, and stays here.
        if links::issue(call, PURPOSE, email, Some(&account))?.is_sent {
            call.message(&Draft::new("registration-known", &account.id, call.now() + PURPOSE.lasts()))?;
            call.audit(HOST, &Event::success("account.registered-again", &account.id));
        }
    } else if waiting::add(call, email, password, &browser)? {
        call.audit(HOST, &Event::success("account.registration-asked", ""));
    }
    let mut answer = Map::new();
    answer.insert("status".into(), json!("verification_required"));
    let mut reply = Reply::json(202, answer);
    // A program keeps no cookies.
    if body.session.mode() == SessionMode::Cookie {
        reply.cookies.push(browser.into_cookie());
    }
    Ok(reply)
}

/// What whoever confirms a link says of the password.
pub(super) enum Said<'a> {
    Nothing,
    /// That it is this one.
    Chosen(&'a Secret<String>),
    /// That it shall be this one.
    Another(&'a Secret<String>),
}

/// Makes the account of a sign-up, with its address proven.
pub(super) fn confirm(
    call: &Call<'_>,
    asked: &Asked<'_>,
    found: Found,
    said: &Said<'_>,
) -> Result<Reply, Refusal> {
    // It may have been closed since.
    if asked.config.registration == Registration::Closed {
        return Err(closed());
    }
    let email = Email::parse(&found.sign_up.email)?;
    // Somebody may have made the account meanwhile.
    if accounts::by_email(call, &email)?.is_some() {
        return Err(Problem::LinkInvalid.into());
    }
    let another = match said {
        Said::Nothing if is_browser(asked.request) && !found.is_at_home(call)? => {
            let detail = "This is not the browser that signed up: say the `password`, or a `new_password`";
            return Err(Refusal::new(Problem::InvalidCredentials).saying(detail));
        }
        Said::Nothing => None,
        Said::Chosen(password) => {
            // A budget of its own: a stranger's wrong passwords for the address do not keep the owner out.
            let tries = Budget::load(call, found.tries(call), true)?;
            tries.check(call.now())?;
            let password = password.expose();
            if password.len() > MAX_PASSWORD || !found.sign_up.password.matches(call, password)? {
                call.audit(HOST, &Event::failure("account.registration-refused", ""));
                tries.count(call)?;
                return Ok(Reply::refused(Problem::InvalidCredentials));
            }
            tries.reset(call)?;
            None
        }
        Said::Another(password) => Some(accepted(call, &email, password)?),
    };
    found.end_all(call)?;
    let language = if another.is_some() { &call.origin.language } else { &found.sign_up.language }.clone();
    let password = another.unwrap_or(found.sign_up.password);
    let mut account = accounts::create(call, &email, USER, password)?;
    account.email_verified = true;
    account.language = language;
    accounts::save(call, &account)?;
    call.audit(HOST, &Event::success("account.registered", &account.id));
    Ok(Reply::empty())
}

/// Whether a browser asks, for a page of ours or of an application. A link opened in one may be somebody else's,
/// and there are pages that confirm whatever is opened in them. A program has confirmed by asking.
fn is_browser(request: &Request<'_>) -> bool {
    ["origin", "sec-fetch-site"].iter().any(|name| request.header(name).is_some())
}
