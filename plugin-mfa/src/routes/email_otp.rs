//! `POST /otp/send` and `POST /otp/verify`: a code by mail, for a login that waits.
use super::{Authenticated, proof::Proof};
use crate::{
    budget::Method,
    config::Mfa,
    email_otp::{self, Sent},
    records::{self, Id},
    totp,
};
use countersign_plugin_api::{Context, Decision, Draft, Event, Problem, Refusal, Request, Secret, Time};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    challenge: Option<String>,
}

#[derive(Serialize)]
struct SentAnswer {
    #[serde(serialize_with = "super::text")]
    expires_at: Time,
    /// Seconds.
    resend_after: u64,
}

/// A new code makes the one before it worthless, whichever challenge that was for.
pub(super) fn send(config: &Mfa, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
    let body: Send = request.json()?;
    let mut proof = Proof::by_mail(config, context, body.challenge.as_deref())?;
    if let Some(wait) = proof.wait(Method::Email) {
        return proof.locked(Method::Email, wait);
    }
    let rules = &config.email_otp;
    if let Some(wait) = proof.state.mails.wait(proof.now, rules.sends, rules.per) {
        return Err(Refusal::new(Problem::RateLimited).retry_after(wait));
    }
    let (challenge, until) = proof.challenge().map(|c| (c.id, c.expires_at)).ok_or(Problem::Forbidden)?;
    let code = draw(context)?;
    let mac = mac(context, &proof.subject.id, challenge, &code)?;
    // Of no use once the challenge is over.
    let expires_at = (proof.now + rules.ttl).min(until);
    proof.state.mailed = Some(Sent { challenge, mac, expires_at, failures: 0 });
    proof.state.mails.count(proof.now, rules.per);

    let wait = proof.state.mails.wait(proof.now, rules.sends, rules.per).unwrap_or_default();
    let answer = SentAnswer { expires_at, resend_after: wait.as_secs() };
    let minutes = ((expires_at.since(proof.now).as_secs() + 30) / 60).max(1).to_string();
    let message = Draft::new("email-code", &proof.subject.id, expires_at)
        .with("code", code.expose())
        .with("minutes", &minutes);
    let event = Event::success("email-otp.sent", &proof.subject.id);
    let decision = Decision::json(202, &answer)?.message(&message).audit(&event);
    records::save(decision, &proof.subject.id, &proof.state)
}

fn draw(context: &dyn Context) -> Result<Secret<String>, Refusal> {
    loop {
        let mut random = [0; 4];
        context.random(&mut random)?;
        if let Some(code) = email_otp::drawn(u32::from_be_bytes(random)) {
            return Ok(code);
        }
    }
}

fn mac(
    context: &dyn Context,
    subject: &str,
    challenge: Id,
    code: &Secret<String>,
) -> Result<[u8; 32], Refusal> {
    context.mac(&[b"email-code", subject.as_bytes(), &challenge.0, code.expose().as_bytes()])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    code: Secret<String>,
    challenge: Option<String>,
    #[serde(default)]
    trust_browser: bool,
}

pub(super) fn verify(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    let body: Verify = request.json()?;
    let code = totp::parse(body.code.expose())
        .ok_or_else(|| Refusal::malformed("`code` must be the six digits from the mail"))?;
    let code = Secret::new(email_otp::spelled(code));
    let mut proof = Proof::by_mail(config, context, body.challenge.as_deref())?;
    if let Some(wait) = proof.wait(Method::Email) {
        return proof.locked(Method::Email, wait);
    }
    let challenge = proof.challenge().ok_or(Problem::Forbidden)?.id;
    let typed = mac(context, &proof.subject.id, challenge, &code)?;
    let Some(mut sent) = proof.state.mailed.take_if(|sent| sent.challenge == challenge) else {
        return proof.failed(Method::Email);
    };
    if !sent.is_right(&typed) {
        sent.failures += 1;
        proof.state.mailed = Some(sent).filter(|sent| sent.failures < config.email_otp.tries);
        return proof.failed(Method::Email);
    }
    if body.trust_browser {
        proof.trust(Method::Email, request, context)?;
    }
    proof.succeeded(Method::Email, None, &Authenticated::YES)
}
