//! `GET /challenge/status` and `POST /challenge/cancel`, and whose challenge it is that a client means.
use crate::{
    budget::Method,
    challenge::{self, Challenge, Found, MAX_TRIES, PURPOSE},
    config::Mfa,
    records::{self, State},
};
use countersign_plugin_api::{
    Context, Decision, Event, Problem, Refusal, Request, SessionKind, Subject, Time, Token,
};
use serde::{Deserialize, Serialize};

/// A challenge that was issued, with the account it belongs to.
pub(super) struct Issued {
    pub(super) subject: Subject,
    pub(super) state: State,
    /// `None` when it is over and forgotten.
    pub(super) challenge: Option<Challenge>,
    session: String,
    expires_at: Time,
}

/// The challenge of a handle, or without one of the caller's own session.
///
/// A handle beside another session is refused, and so is one from cookie mode without its own pending
/// session: whoever has only seen the handle cannot use it, nor be made to use somebody else's.
pub(super) fn issued(config: &Mfa, context: &dyn Context, token: Option<&str>) -> Result<Issued, Refusal> {
    let caller = context.caller();
    let (subject, session, id, expires_at) = match (token, caller) {
        (Some(token), caller) => {
            let (Token::Live(claims) | Token::Expired(claims)) =
                context.open(PURPOSE, token)?.ok_or(Problem::ChallengeInvalid)?;
            let subject = match caller {
                Some(caller) if caller.session.id != claims.session => {
                    return Err(Problem::ChallengeInvalid.into());
                }
                Some(caller) => caller.subject.clone(),
                None => context.subject(&claims.subject)?.ok_or(Problem::ChallengeInvalid)?,
            };
            (subject, claims.session, Some(claims.id), claims.expires_at)
        }
        (None, Some(caller)) => {
            (caller.subject.clone(), caller.session.id.clone(), None, caller.session.expires_at)
        }
        (None, None) => return Err(Problem::SessionRequired.into()),
    };
    let state = records::load(context, &subject.id)?;
    let state = state.at(context.now(), subject.epoch, config.step_up_window);
    let found = challenge::find(&state.challenges, id.as_deref(), &session, caller.is_some());
    let challenge = match found {
        Found::Known(challenge) => Some(challenge.clone()),
        Found::Gone => None,
        Found::Foreign => return Err(Problem::ChallengeInvalid.into()),
    };
    // A session that never had one is not asking about one that is over.
    let standard = caller.is_some_and(|caller| caller.session.kind == SessionKind::Standard);
    if challenge.is_none() && id.is_none() && standard {
        return Err(Problem::ChallengeInvalid.into());
    }
    let expires_at = challenge.as_ref().map_or(expires_at, |challenge| challenge.expires_at);
    Ok(Issued { subject, state, challenge, session, expires_at })
}

#[derive(Serialize)]
struct StatusAnswer {
    status: &'static str,
    methods: Vec<&'static str>,
    #[serde(serialize_with = "super::text")]
    expires_at: Time,
    attempts_left: u32,
}

pub(super) fn status(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    Decision::json(200, &standing(config, context, request.query("challenge"))?.1)
}

#[derive(Serialize)]
struct Whose {
    subject: String,
    #[serde(flatten)]
    standing: StatusAnswer,
}

/// The same with the account that it is about: for who embeds the kernel, and never for a client.
pub(crate) fn with_subject(
    config: &Mfa,
    context: &dyn Context,
    token: Option<&str>,
) -> Result<Decision, Refusal> {
    let (subject, standing) = standing(config, context, token)?;
    Decision::json(200, &Whose { subject: subject.id, standing })
}

fn standing(
    config: &Mfa,
    context: &dyn Context,
    token: Option<&str>,
) -> Result<(Subject, StatusAnswer), Refusal> {
    let Issued { subject, state, challenge, expires_at, .. } = issued(config, context, token)?;
    // At the hard stop it is the recovery codes that are asked for, as long as there are any.
    let method = if state.recovery_codes() > 0 { Method::Recovery } else { Method::Totp };
    let locked = state.budget.wait(method, context.now(), &config.lockout).is_some();
    let (status, attempts_left) = match &challenge {
        None => ("expired", 0),
        Some(challenge) if challenge.completed => ("completed", 0),
        Some(challenge) if challenge.is_dead() || locked => ("locked", 0),
        Some(challenge) => {
            let tries = MAX_TRIES.saturating_sub(challenge.failures);
            ("pending", tries.min(state.budget.left(&config.lockout)))
        }
    };
    // Of a login that is over, the handle tells no more than that.
    let methods =
        challenge.map_or_else(Vec::new, |challenge| state.methods(challenge.by_mail, context.sends_mail()));
    Ok((subject, StatusAnswer { status, methods, expires_at, attempts_left }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    challenge: Option<String>,
}

pub(super) fn cancel(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Cancel = request.json()?;
    let issued = issued(config, context, body.challenge.as_deref())?;
    let Issued { subject, mut state, challenge, session, .. } = issued;
    let event = Event::success("challenge.cancelled", &subject.id);
    let decision = Decision::empty().end_session(&subject.id, &session).audit(&event);
    match challenge {
        Some(challenge) if !challenge.completed => {
            state.challenges.retain(|kept| kept.id != challenge.id);
            records::save(decision, &subject.id, &state)
        }
        // What is left of the login is its pending session.
        None if context.caller().is_some_and(|c| c.session.kind == SessionKind::Pending) => Ok(decision),
        _ => Err(Problem::ChallengeInvalid.into()),
    }
}
