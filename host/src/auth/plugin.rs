//! A plugin's route: who may call it, what it decides, how that is answered.
use super::{Asked, Cookie, Need, Reply, Shown, device, login, require};
use crate::{
    accounts,
    kernel::{Answer, Call, Granted, Mounted, SignIn, View, absorb},
};
use countersign_plugin_api::{Access, Problem, Refusal, Request};
use serde_json::{Map, Value};

/// The method of whoever has opened a mailed link.
pub(crate) const MAILBOX: &str = "email";

/// What a route has decided, before anybody is signed in by it.
pub(crate) struct Decided {
    pub(crate) reply: Reply,
    /// A session that was signed in, or proven anew.
    pub(crate) granted: Option<Granted>,
    /// Whoever has proven a first factor: what a login answers is the reply then.
    pub(crate) sign_in: Option<SignIn>,
    /// Whether the caller's own session is over.
    pub(crate) ended: bool,
}

/// Asks a plugin's handler, and takes its decision over.
pub(crate) fn decide(call: &Call<'_>, mounted: &Mounted, request: &Request<'_>) -> Result<Decided, Refusal> {
    match mounted.route.access {
        Access::Anyone => {}
        Access::Enrolling => require(call, Need::Standard)?,
        Access::Session => require(call, Need::Content)?,
    }
    let fault =
        |why: &str| Refusal::new(Problem::PluginFault).because(format_args!("{}: {why}", mounted.plugin));
    let decision = mounted.handler.handle(request, &View { call, plugin: &mounted.plugin })?;
    let answered = absorb(call, &mounted.plugin, &decision)?;
    let mut reply = match answered.answer {
        Answer::Json { status, body } => match serde_json::from_slice(&body) {
            Ok(Value::Object(body)) if (200..=202).contains(&status) => Reply::json(status, body),
            _ => return Err(fault("its answer is not a JSON object under 200, 201 or 202")),
        },
        Answer::Page { status, name, values } => match serde_json::from_slice(&values) {
            Ok(values) => Reply { status, page: Some(Shown { name, values }), ..Reply::empty() },
            Err(_) => return Err(fault("the values of its page are not a JSON object")),
        },
        Answer::Empty => Reply::empty(),
        Answer::Refusal(refusal) => Reply::refused(refusal),
        Answer::Verdict(_) => return Err(fault("a route answered a gate's verdict")),
    };
    if (answered.granted.is_some() || answered.sign_in.is_some()) && reply.refusal.is_some() {
        return Err(fault("it grants a session and refuses at once"));
    }
    if answered.granted.is_some() && reply.status == 204 {
        reply = Reply::json(200, Map::new());
    }
    reply.cookies = answered.cookies;
    let (granted, sign_in, ended) = (answered.granted, answered.sign_in, answered.ended);
    Ok(Decided { reply, granted, sign_in, ended })
}

/// The same where accounts and sessions are the host's own.
pub(crate) fn ask(call: &Call<'_>, mounted: &Mounted, asked: &Asked<'_>) -> Result<Reply, Refusal> {
    let Decided { mut reply, granted, sign_in, ended } = decide(call, mounted, asked.request)?;
    if let Some(granted) = granted {
        let session = &granted.caller.session;
        // A pending session that gets a new token: the login is complete.
        if granted.token.is_some()
            && let Some(account) = accounts::by_id(call, &granted.caller.subject.id)?
        {
            reply.cookies.extend(device::welcome(call, account, session.mode, asked.agent)?);
        }
        // Whoever has just proven a second factor has one.
        reply = reply.granted(call, granted, false);
    }
    if let Some(proven) = sign_in {
        // A first factor that a plugin has seen proven goes the way of a password: through the gate.
        let mut account = accounts::by_id(call, &proven.subject)?.ok_or(Problem::LinkInvalid)?;
        if proven.amr.iter().any(|method| method == MAILBOX) {
            accounts::prove(call, &mut account)?;
        }
        super::end_older(call)?;
        let entered = login::enter(call, &account, proven.mode, proven.amr, asked.agent)?;
        let entered = if asked.request.is_form() { onward(entered) } else { entered };
        let cookies = std::mem::take(&mut reply.cookies);
        reply = entered;
        reply.cookies.extend(cookies);
    }
    if ended {
        reply.cookie = Cookie::Clear;
    }
    Ok(reply)
}

/// Where the browser of a page goes after a sign-in: by a path of this site that nobody can choose.
fn onward(reply: Reply) -> Reply {
    let enrol = |body: &Map<String, Value>| body.get("session")?.get("enrollment_required")?.as_bool();
    let page = match &reply.body {
        _ if reply.status == 202 => "/mfa/challenge",
        Some(body) if enrol(body) == Some(true) => "/settings/mfa",
        _ => "/",
    };
    Reply { status: 303, body: None, headers: vec![("location", page.into())], ..reply }
}
