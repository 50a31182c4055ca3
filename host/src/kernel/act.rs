//! Takes a plugin's decision over into the call: its records, its acts on sessions, its events.
use super::{Call, View};
use countersign_plugin_api::{Act, Answer as Said, Caller, Decision, Problem, Refusal, Secret, Verdict};

/// What a decision answers, once it is durable.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// A session that was signed in by it.
    pub(crate) granted: Option<Granted>,
    /// Whether the caller's own session is over.
    pub(crate) ended: bool,
}

/// The answer, owned.
pub(crate) enum Answer {
    Json { status: u16, body: Vec<u8> },
    Empty,
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
    let (mut granted, mut ended) = (None, false);
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
            Act::Audit(event) => call.audit(plugin, &event),
        }
    }
    let answer = match decision.answer().ok_or_else(|| fault("its decision has no answer"))? {
        Said::Json { status, body } => Answer::Json { status, body: body.to_vec() },
        Said::Empty => Answer::Empty,
        Said::Refusal(refusal) => Answer::Refusal(refusal),
        Said::Verdict(verdict) => Answer::Verdict(verdict),
    };
    Ok(Answered { answer, granted, ended })
}
