//! `GET` and `DELETE /trusted-browsers`, and how a browser comes to be trusted.
use super::signed_in;
use crate::{
    config::Mfa,
    notice,
    records::{self, Id, State},
    trust::{self, COOKIE, Trusted},
};
use countersign_plugin_api::{
    Caller, Context, Decision, Event, Problem, Refusal, Request, Secret, Subject, Time,
};
use serde::Serialize;
use std::time::Duration;

/// What a browser that has just been trusted is given.
pub(super) struct Given {
    cookie: Secret<String>,
    lasts: Duration,
    label: String,
    pub(super) id: Id,
}

impl Given {
    /// The cookie, and the owner is told.
    pub(super) fn with(&self, decision: Decision, subject: &str, now: Time) -> Decision {
        let days = self.lasts.as_secs().div_ceil(86_400).to_string();
        let notice =
            notice::of("browser-trusted", subject, now).with("label", &self.label).with("days", &days);
        decision.cookie(COOKIE, &self.cookie, self.lasts).message(&notice)
    }
}

/// A new cookie, and what is kept of it.
pub(crate) fn draw(context: &dyn Context, subject: &str) -> Result<(Secret<String>, [u8; 32]), Refusal> {
    let mut random = [0; 32];
    context.random(&mut random)?;
    let cookie = trust::cookie(&Secret::new(random));
    let hash = hash(context, subject, &cookie)?;
    Ok((cookie, hash))
}

fn hash(context: &dyn Context, subject: &str, cookie: &Secret<String>) -> Result<[u8; 32], Refusal> {
    context.mac(&[b"trust", subject.as_bytes(), cookie.expose().as_bytes()])
}

/// The browser that asks, when the account trusts it.
pub(crate) fn current(
    context: &dyn Context,
    subject: &str,
    trusted: &[Trusted],
) -> Result<Option<usize>, Refusal> {
    let Some(cookie) = context.cookie(COOKIE)? else { return Ok(None) };
    Ok(trust::find(trusted, &hash(context, subject, &cookie)?))
}

/// Trusts the browser that asks.
pub(super) fn give(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
    subject: &Subject,
    state: &mut State,
) -> Result<Given, Refusal> {
    let now = context.now();
    let mut id = Id([0; 16]);
    context.random(&mut id.0)?;
    let (cookie, hash) = draw(context, &subject.id)?;
    let label = trust::label(request.header("user-agent"));
    let browser = Trusted {
        id,
        label: label.clone(),
        hash,
        created_at: now,
        last_used_at: now,
        expires_at: now + config.trust_browser_ttl,
        epoch: subject.epoch,
    };
    trust::add(&mut state.trusted, browser);
    Ok(Given { cookie, lasts: config.trust_browser_ttl, label, id })
}

/// A trusted browser as it is shown.
#[derive(Serialize)]
pub(crate) struct View<'a> {
    #[serde(serialize_with = "super::text")]
    id: Id,
    label: &'a str,
    #[serde(serialize_with = "super::text")]
    created_at: Time,
    #[serde(serialize_with = "super::text")]
    last_used_at: Time,
    #[serde(serialize_with = "super::text")]
    expires_at: Time,
    current: bool,
}

#[derive(Serialize)]
struct List<'a> {
    trusted_browsers: Vec<View<'a>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(browser: &'a Trusted, current: bool) -> Self {
        let Trusted { id, label, created_at, last_used_at, expires_at, .. } = browser;
        Self {
            id: *id,
            label,
            created_at: *created_at,
            last_used_at: *last_used_at,
            expires_at: *expires_at,
            current,
        }
    }
}

pub(super) fn list(config: &Mfa, _request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
    let (subject, state) = own(config, context)?;
    let current = current(context, &subject.id, &state.trusted)?;
    let views = state.trusted.iter().enumerate().map(|(at, browser)| View::of(browser, current == Some(at)));
    Decision::json(200, &List { trusted_browsers: views.collect() })
}

pub(super) fn revoke_all(
    config: &Mfa,
    _request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    revoke(config, context, |_| true)
}

/// The last part of the path is the browser's id.
pub(super) fn revoke_one(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let id = request.path().rsplit('/').next().unwrap_or_default();
    let (_, state) = own(config, context)?;
    if state.trusted.iter().all(|browser| browser.id.to_string() != id) {
        return Err(Problem::NotFound.into());
    }
    revoke(config, context, |browser| browser.id.to_string() == id)
}

/// It takes no step-up: whoever is signed in may give up what spares a challenge.
fn revoke(config: &Mfa, context: &dyn Context, goes: impl Fn(&Trusted) -> bool) -> Result<Decision, Refusal> {
    let (subject, mut state) = own(config, context)?;
    let current = current(context, &subject.id, &state.trusted)?;
    let own_goes = current.is_some_and(|at| goes(&state.trusted[at]));
    let (gone, left): (Vec<_>, Vec<_>) = state.trusted.into_iter().partition(goes);
    if gone.is_empty() {
        return Ok(Decision::empty());
    }
    state.trusted = left;
    let ids: Vec<String> = gone.iter().map(|browser| browser.id.to_string()).collect();
    let ids = ids.join(" ");
    let event = Event::success("trust.revoked", &subject.id).with("browsers", &ids);
    let mut decision = Decision::empty().audit(&event);
    if own_goes {
        decision = decision.cookie(COOKIE, &Secret::new(String::new()), Duration::ZERO);
    }
    records::save(decision, &subject.id, &state)
}

fn own<'c>(config: &Mfa, context: &'c dyn Context) -> Result<(&'c Subject, State), Refusal> {
    let Caller { subject, .. } = signed_in(context)?;
    let state = records::load(context, &subject.id)?;
    Ok((subject, state.at(context.now(), subject.epoch, config.step_up_window)))
}
