//! Takes a plugin's decision over into the call: its records, its acts on sessions, its events.
use super::{Call, View};
use countersign_plugin_api::{
    Act, Answer as Said, Caller, Decision, Problem, Refusal, Secret, SessionMode, Verdict,
};
use std::time::Duration;

/// What a decision answers, once it is durable.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// A session that was signed in by it.
    pub(crate) granted: Option<Granted>,
    /// Whether the caller's own session is over.
    pub(crate) ended: bool,
    /// Whoever has proven a first factor.
    pub(crate) sign_in: Option<SignIn>,
    pub(crate) cookies: Vec<PluginCookie>,
}

/// A cookie of a plugin's: its name, with the plugin's before it, its value, and for how long.
pub(crate) type PluginCookie = (String, Secret<String>, Duration);

/// A first factor that a plugin has seen proven.
pub(crate) struct SignIn {
    pub(crate) subject: String,
    pub(crate) mode: SessionMode,
    pub(crate) amr: Vec<String>,
}

/// The answer, owned.
pub(crate) enum Answer {
    Json { status: u16, body: Vec<u8> },
    Empty,
    Page { status: u16, name: String, values: Vec<u8> },
    Refusal(Refusal),
    Verdict(Verdict),
}

/// A session under a new token.
pub(crate) struct Granted {
    pub(crate) caller: Caller,
    /// The new token; `None` where the session keeps the one it has.
    pub(crate) token: Option<Secret<String>>,
}

/// Takes a decision over. An act that is not understood refuses all of it.
pub(crate) fn absorb(call: &Call<'_>, plugin: &str, decision: &Decision) -> Result<Answered, Refusal> {
    let fault = |why: &str| Refusal::new(Problem::PluginFault).because(format_args!("{plugin}: {why}"));
    let view = View { call, plugin };
    let people = &call.kernel.people;
    let (mut granted, mut ended, mut sign_in, mut cookies) = (None::<Granted>, false, None, Vec::new());
    for act in decision.acts() {
        match act.ok_or_else(|| fault("its decision holds something that this kernel does not know"))? {
            Act::Put { name, value, expires_at, blind } => {
                call.put(view.key(name)?, value, expires_at, blind)?;
            }
            Act::Delete { name } => call.delete(view.key(name)?)?,
            Act::Elevate { subject, session, amr } => {
                granted = Some(people.elevate(call, subject, session, amr)?);
            }
            Act::StepUp { amr } => granted = Some(people.step_up(call, amr)?),
            Act::EndOtherSessions => people.end_others(call)?,
            Act::EndSession { subject, session } => {
                people.end(call, subject, session)?;
                ended |= call.caller().is_some_and(|caller| caller.session.id == session);
            }
            Act::EndAllSessions { subject } => people.end_all(call, subject)?,
            Act::SignIn { subject, mode, amr } => {
                let amr = amr.split_ascii_whitespace().map(Into::into).collect();
                sign_in = Some(SignIn { subject: subject.into(), mode, amr });
            }
            Act::Cookie { name, value, lasts } => {
                cookies.push((format!("{plugin}-{name}"), Secret::new(value.to_owned()), lasts));
            }
            Act::Message(draft) => call.message(&draft)?,
            Act::Audit(event) => call.audit(plugin, &event),
        }
    }
    let answer = match decision.answer().ok_or_else(|| fault("its decision has no answer"))? {
        Said::Json { status, body } => Answer::Json { status, body: body.to_vec() },
        Said::Empty => Answer::Empty,
        Said::Page { status, name, values } => {
            Answer::Page { status, name: format!("{plugin}/{name}"), values: values.to_vec() }
        }
        Said::Refusal(refusal) => Answer::Refusal(refusal),
        Said::Verdict(verdict) => Answer::Verdict(verdict),
    };
    Ok(Answered { answer, granted, ended, sign_in, cookies })
}
