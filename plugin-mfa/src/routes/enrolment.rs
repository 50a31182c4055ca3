//! `POST /totp/enroll`.
use super::signed_in;
use crate::{
    config::Mfa,
    enrolment::{self, MAX_FACTORS},
    records::{self, Enrolment, Id},
};
use countersign_plugin_api::{Caller, Context, Decision, Event, Problem, Refusal, Request, Secret, Time};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enroll {
    label: Option<String>,
}

#[derive(Serialize)]
struct Begun<'a> {
    #[serde(serialize_with = "super::text")]
    enrollment: Id,
    secret: &'a str,
    otpauth_uri: &'a str,
    qr_svg: &'a str,
    #[serde(serialize_with = "super::text")]
    expires_at: Time,
}

/// A new enrolment supersedes the one before it; active factors are not concerned.
pub(super) fn enroll(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Enroll = request.json()?;
    let label = enrolment::label(body.label.as_deref())?;
    let Caller { subject, session } = signed_in(context)?;
    let now = context.now();
    let mut state = records::load(context, &subject.id)?.at(now, subject.epoch, config.step_up_window);
    if !config.stepped_up(session, state.enrolled(), now) {
        return Err(Problem::StepUpRequired.into());
    }
    if state.factors.len() >= MAX_FACTORS {
        return Err(Refusal::new(Problem::Conflict)
            .saying(format_args!("There are {MAX_FACTORS} factors already: remove one first")));
    }
    let (mut id, mut key) = (Id([0; 16]), vec![0; 20]);
    context.random(&mut id.0)?;
    context.random(&mut key)?;
    let key = Secret::new(key);
    let expires_at = now + enrolment::TTL;

    let secret = enrolment::secret(&key);
    let uri = enrolment::uri(&config.issuer, &subject.email, &secret);
    let qr = enrolment::qr_svg(&uri)?;
    let answer = Begun {
        enrollment: id,
        secret: secret.expose(),
        otpauth_uri: uri.expose(),
        qr_svg: qr.expose(),
        expires_at,
    };
    state.enrolment = Some(Enrolment { id, label, key, session: session.id.clone(), expires_at });
    let factor = id.to_string();
    let event = Event::success("totp.enrolling", &subject.id).with("factor", &factor);
    records::save(Decision::json(201, &answer)?.audit(&event), &subject.id, &state)
}
