//! `/magic-link`: a mailed link as a first factor.
use crate::{
    config::Mfa,
    form,
    links::{self, COOKIE, Link, Links, PURPOSE},
};
use countersign_plugin_api::{
    Claims, Context, Decision, Draft, Event, Problem, Refusal, Request, Secret, SessionMode, Subject, Time,
    Token,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    email: String,
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
}

/// A link that was made for an address: for its account, or for nobody.
struct Issued {
    links: Links,
    /// Whose record it is kept in.
    owner: String,
    /// The account, when there is one and it has not had its share.
    found: Option<Subject>,
    token: Secret<String>,
    cookie: Secret<String>,
    expires_at: Time,
}

impl Issued {
    /// The same work for every address: also when nobody has it, and when it has had its share.
    fn new(config: &Mfa, context: &dyn Context, address: &str) -> Result<Self, Refusal> {
        let (now, rules) = (context.now(), &config.email_otp);
        let found = context.subject_of(address)?;
        let folded = address.trim().to_lowercase();
        let nobody = links::nobody(&context.mac(&[b"link-address", folded.as_bytes()])?);
        let (owner, epoch) = found.as_ref().map_or((nobody, 0), |own| (own.id.clone(), own.epoch));
        let mut links = Links::load(context, &owner)?;
        let at_home = context.is_known_browser(&owner)?;
        let asked = if at_home { &mut links.asked_at_home } else { &mut links.asked };
        let has_share = asked.wait(now, rules.sends, rules.per).is_none();

        let (id, cookie) = (draw(context)?, browser(context)?);
        let expires_at = now + config.magic_link.ttl;
        let link = Link {
            hash: hash(context, &owner, id.expose())?,
            browser: browser_hash(context, &cookie)?,
            epoch,
            expires_at,
        };
        let token = Secret::new(context.sign(&Claims {
            purpose: PURPOSE.into(),
            subject: owner.clone(),
            session: String::new(),
            id: id.expose().clone(),
            expires_at,
        })?);
        if has_share {
            asked.count(now, rules.per);
            links.live = Some(link);
        }
        Ok(Self { links, owner, found: found.filter(|_| has_share), token, cookie, expires_at })
    }

    fn save(&self, decision: Decision, config: &Mfa, now: Time) -> Result<Decision, Refusal> {
        let decision = match &self.found {
            Some(subject) => decision.audit(&Event::success("link.sent", &subject.id)),
            // Counted by the host, in a write of the same size.
            None => decision.audit(&Event::success("link.asked", "")),
        };
        self.links.save(decision, &self.owner, now, config.email_otp.per)
    }
}

/// 202 for every address, after the same reads and writes.
pub(super) fn send(config: &Mfa, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
    enabled(config)?;
    let body: Send = request.json()?;
    let issued = Issued::new(config, context, &body.email)?;
    let minutes = config.magic_link.ttl.as_secs().div_ceil(60).to_string();
    let to = issued.found.as_ref().map_or(Draft::NOBODY, |subject| subject.id.as_str());
    let message = Draft::new("magic-link", to, issued.expires_at)
        .with("token", issued.token.expose())
        .with("minutes", &minutes);
    let decision = Decision::json(202, &Accepted { status: "accepted" })?
        .cookie(COOKIE, &issued.cookie, config.magic_link.ttl)
        .message(&message);
    issued.save(decision, config, context.now())
}

#[derive(Serialize)]
struct Minted<'a> {
    token: Option<&'a str>,
    #[serde(serialize_with = "super::text")]
    expires_at: Time,
}

/// The same for who embeds the kernel and mails the link: no token for an address that nobody has, and none beyond
/// the quota.
pub(crate) fn token(config: &Mfa, context: &dyn Context, address: &str) -> Result<Decision, Refusal> {
    enabled(config)?;
    let issued = Issued::new(config, context, address)?;
    let token = issued.found.is_some().then(|| issued.token.expose().as_str());
    let decision = Decision::json(200, &Minted { token, expires_at: issued.expires_at })?;
    issued.save(decision, config, context.now())
}

fn enabled(config: &Mfa) -> Result<(), Refusal> {
    if config.magic_link.enabled { Ok(()) } else { Err(Problem::NotFound.into()) }
}

fn draw(context: &dyn Context) -> Result<Secret<String>, Refusal> {
    let mut random = [0; 32];
    context.random(&mut random)?;
    Ok(links::random_text(&Secret::new(random)))
}

/// The cookie of the browser that asks, or a new one. It keeps the one it has, or the link before this one,
/// which is still good when this one is not sent, would not know it any more.
fn browser(context: &dyn Context) -> Result<Secret<String>, Refusal> {
    let new = draw(context)?;
    Ok(context.cookie(COOKIE)?.filter(|cookie| links::is_random_text(cookie.expose())).unwrap_or(new))
}

fn hash(context: &dyn Context, owner: &str, id: &str) -> Result<[u8; 32], Refusal> {
    context.mac(&[b"link", owner.as_bytes(), id.as_bytes()])
}

fn browser_hash(context: &dyn Context, cookie: &Secret<String>) -> Result<[u8; 32], Refusal> {
    context.mac(&[b"link-browser", cookie.expose().as_bytes()])
}

/// A link that is good now.
struct Live {
    subject: Subject,
    links: Links,
    /// Whether it is another browser than the one that asked for it.
    elsewhere: bool,
}

fn live(context: &dyn Context, token: &str) -> Result<Option<Live>, Refusal> {
    let Some(Token::Live(claims)) = context.open(PURPOSE, token)? else { return Ok(None) };
    let Some(subject) = context.subject(&claims.subject)? else { return Ok(None) };
    let links = Links::load(context, &subject.id)?;
    let hash = hash(context, &subject.id, &claims.id)?;
    let Some(link) = links.live.as_ref().filter(|link| link.is(&hash, subject.epoch, context.now())) else {
        return Ok(None);
    };
    let elsewhere = match context.cookie(COOKIE)? {
        Some(cookie) => browser_hash(context, &cookie)? != link.browser,
        None => true,
    };
    Ok(Some(Live { subject, links, elsewhere }))
}

/// What a link opens: a page with a button, or that it is not good, whatever is wrong with it.
#[derive(Serialize, Default)]
struct Page<'a> {
    email: &'a str,
    token: &'a str,
    /// Asked once more, in another browser than the one that asked for the link.
    elsewhere: bool,
}

impl Page<'_> {
    fn answered(&self) -> Result<Decision, Refusal> {
        Decision::page(if self.email.is_empty() { 401 } else { 200 }, "magic-link", self)
    }
}

/// A page with a button. Nothing is used up by looking at it.
pub(super) fn show(config: &Mfa, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
    enabled(config)?;
    let token = request.query("token").unwrap_or_default();
    match live(context, token)? {
        Some(live) => Page { email: &live.subject.email, token, elsewhere: false }.answered(),
        None => Page::default().answered(),
    }
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Cookie,
    Bearer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    token: Secret<String>,
    #[serde(default)]
    session: Mode,
}

/// Signs in, in the write that uses the link up.
///
/// JSON is itself the confirmation: no mail scanner and no foreign page posts it. A form comes from the page,
/// which asks once more in another browser than the one that asked for the link. Or somebody could have others
/// sign in to an account that is not theirs, by sending them a link.
pub(super) fn verify(
    config: &Mfa,
    request: &Request<'_>,
    context: &dyn Context,
) -> Result<Decision, Refusal> {
    enabled(config)?;
    if !request.is_form() {
        let Verify { token, session } = request.json()?;
        let mode = match session {
            Mode::Cookie => SessionMode::Cookie,
            Mode::Bearer => SessionMode::Bearer,
        };
        return match live(context, token.expose())? {
            Some(live) => sign_in(config, context.now(), live, mode),
            None => Err(Problem::LinkInvalid.into()),
        };
    }
    let [token, confirm] = form::fields(request, ["token", "confirm"])?;
    let token = token.ok_or_else(|| Refusal::malformed("the form has no token"))?;
    let confirmed = confirm.is_some_and(|confirm| confirm.expose() == "yes");
    match live(context, token.expose())? {
        None => Page::default().answered(),
        Some(live) if live.elsewhere && !confirmed => {
            Page { email: &live.subject.email, token: token.expose(), elsewhere: true }.answered()
        }
        Some(live) => sign_in(config, context.now(), live, SessionMode::Cookie),
    }
}

fn sign_in(config: &Mfa, now: Time, live: Live, mode: SessionMode) -> Result<Decision, Refusal> {
    let Live { subject, mut links, .. } = live;
    links.live = None;
    let event = Event::success("link.used", &subject.id);
    let decision = Decision::empty()
        .sign_in(&subject.id, mode, &["email"])
        .cookie(COOKIE, &Secret::new(String::new()), Duration::ZERO)
        .audit(&event);
    links.save(decision, &subject.id, now, config.email_otp.per)
}
