//! What a handler returns: everything it wants done, as data.
//!
//! The kernel turns a decision into one conditional batch and releases the answer when that batch is durable.
//! So a code is spent in the same write that grants the session, and an audit record cannot be missing.
use crate::{
    abi::flat::{Flat, Item},
    context::Name,
    error::{Problem, Refusal, VIOLATION},
    gate::Verdict,
    secret::Secret,
    session::SessionMode,
    units::Time,
};
use serde::Serialize;
use std::time::Duration;

const PUT: u32 = 0x1010;
const PUT_BLIND: u32 = 0x1011;
const DELETE: u32 = 0x1012;
const ELEVATE: u32 = 0x1020;
const STEP_UP: u32 = 0x1021;
const END_OTHERS: u32 = 0x1022;
const END: u32 = 0x1023;
const END_ALL: u32 = 0x1024;
const SIGN_IN: u32 = 0x1025;
const COOKIE: u32 = 0x1026;
const AUDIT: u32 = 0x1030;
const AUDIT_FIELD: u32 = 0x1031;
const MESSAGE: u32 = 0x1050;
const MESSAGE_FIELD: u32 = 0x1051;
const JSON: u32 = 0x1000;
const REFUSE: u32 = 0x1001;
const EMPTY: u32 = 0x1003;
const PAGE: u32 = 0x1004;
pub(crate) const VERDICT: u32 = 0x1040;
pub(crate) const VERDICT_METHOD: u32 = 0x1041;

/// Changes to the plugin's records, acts on sessions, audit events, and the answer.
#[must_use = "a decision that is not returned is not carried out"]
pub struct Decision {
    flat: Flat,
}

impl Decision {
    fn with(item: Item<'_>) -> Self {
        let mut flat = Flat::with_capacity(8, 1024);
        flat.push(item);
        Self { flat }
    }

    /// Answers with a JSON body. When the decision signs somebody in, the kernel adds `user`, `session` and,
    /// in bearer mode, `token` to it: handlers never see a session's token.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Refusal::new(Problem::PluginFault).because(format_args!("answer: {e}")))?;
        Ok(Self::with(Item { tag: JSON, code: status.into(), b: &body, ..Item::default() }))
    }
    /// Answers 204.
    pub fn empty() -> Self {
        Self::with(Item::tag(EMPTY))
    }
    /// Answers with a page: the one that was registered under that name and stands alone (`alone = true` in its
    /// head). Its template has `values` as `answer`.
    pub fn page(status: u16, name: &str, values: &impl Serialize) -> Result<Self, Refusal> {
        let values = serde_json::to_vec(values)
            .map_err(|e| Refusal::new(Problem::PluginFault).because(format_args!("page: {e}")))?;
        let item = Item { tag: PAGE, code: status.into(), a: name.as_bytes(), b: &values, ..Item::default() };
        Ok(Self::with(item))
    }
    /// Answers with a refusal, and still does what is added to it: how a failed guess is counted.
    pub fn refuse(refusal: impl Into<Refusal>) -> Self {
        let mut decision = Self { flat: Flat::with_capacity(8, 1024) };
        refusal.into().write(REFUSE, &mut decision.flat);
        decision
    }
    /// What a gate answers.
    pub fn verdict(verdict: &Verdict) -> Self {
        let mut decision = Self { flat: Flat::with_capacity(8, 1024) };
        verdict.write(&mut decision.flat);
        decision
    }

    /// Writes a record that was read in this call: it must still be as it was read, or the handler is asked
    /// again. A name that was not read is a fault of the plugin.
    pub fn put(self, name: Name<'_>, value: &[u8], expires_at: Time) -> Self {
        self.record(PUT, name, value, expires_at)
    }
    /// Writes a record whatever is there.
    pub fn put_blind(self, name: Name<'_>, value: &[u8], expires_at: Time) -> Self {
        self.record(PUT_BLIND, name, value, expires_at)
    }
    /// Deletes a record that was read in this call.
    pub fn delete(self, name: Name<'_>) -> Self {
        self.record(DELETE, name, &[], Time::EPOCH)
    }
    fn record(mut self, tag: u32, name: Name<'_>, value: &[u8], expires_at: Time) -> Self {
        let subject = u32::try_from(name.subject.len()).unwrap_or(u32::MAX);
        let item = Item { tag, code: subject, x: expires_at.secs(), ..Item::default() };
        let parts = [name.subject.as_bytes(), name.name];
        self.flat.push_parts(&item, &parts, value.len(), |out| out.copy_from_slice(value));
        self
    }

    /// A pending session becomes a standard one under a new token, in the same write; `amr` are the methods
    /// that this proof adds (RFC 8176 names). It must be the pending session `id` of `subject`.
    pub fn elevate(self, subject: &str, id: &str, amr: &[&str]) -> Self {
        self.session(ELEVATE, subject, &[id, &amr.join(" ")].join("\n"))
    }
    /// The caller's standard session has proven a second factor just now.
    pub fn step_up(self, amr: &[&str]) -> Self {
        self.session(STEP_UP, "", &amr.join(" "))
    }
    /// A credential event of the caller: its other sessions end, and so does whatever carries the epoch.
    pub fn end_other_sessions(self) -> Self {
        self.session(END_OTHERS, "", "")
    }
    /// Ends one session of `subject`.
    pub fn end_session(self, subject: &str, id: &str) -> Self {
        self.session(END, subject, id)
    }
    /// A credential event of an account that is not the caller's: all its sessions end.
    pub fn end_all_sessions(self, subject: &str) -> Self {
        self.session(END_ALL, subject, "")
    }
    /// `subject` has proven a first factor, by `amr`: the host goes on as after a password, gate included, and
    /// answers what a login answers, whatever this decision answers.
    pub fn sign_in(self, subject: &str, mode: SessionMode, amr: &[&str]) -> Self {
        let mode = if mode == SessionMode::Bearer { "bearer" } else { "cookie" };
        self.session(SIGN_IN, subject, &[mode, &amr.join(" ")].join("\n"))
    }
    /// Sets a cookie of the plugin's in the browser that asks, for so long; for no time, it is removed. The
    /// value is of base64url characters. A program with a bearer token gets none.
    pub fn cookie(mut self, name: &str, value: &Secret<String>, lasts: Duration) -> Self {
        let (a, b) = (name.as_bytes(), value.expose().as_bytes());
        self.flat.push(Item { tag: COOKIE, x: lasts.as_secs(), a, b, ..Item::default() });
        self
    }
    fn session(mut self, tag: u32, subject: &str, rest: &str) -> Self {
        self.flat.push(Item { tag, a: subject.as_bytes(), b: rest.as_bytes(), ..Item::default() });
        self
    }

    /// Records an event, in the same write.
    pub fn audit(mut self, event: &Event<'_>) -> Self {
        self.flat.push(Item {
            tag: AUDIT,
            code: u32::from(event.success),
            a: event.name.as_bytes(),
            b: event.subject.as_bytes(),
            ..Item::default()
        });
        for (key, value) in &event.fields {
            let item = Item { tag: AUDIT_FIELD, a: key.as_bytes(), b: value.as_bytes(), ..Item::default() };
            self.flat.push(item);
        }
        self
    }

    /// Sends a message, once all of this is durable: it is written in the same batch, and handed to the
    /// delivery afterwards.
    pub fn message(mut self, draft: &Draft<'_>) -> Self {
        self.flat.push(Item {
            tag: MESSAGE,
            code: u32::from(draft.notice),
            x: draft.expires_at.secs(),
            a: draft.template.as_bytes(),
            b: draft.to.as_bytes(),
            ..Item::default()
        });
        for (key, value) in &draft.fields {
            self.flat.push(Item {
                tag: MESSAGE_FIELD,
                a: key.as_bytes(),
                b: value.as_bytes(),
                ..Item::default()
            });
        }
        self
    }

    /// The answer. `None` when there is none or it is not understood.
    pub fn answer(&self) -> Option<Answer<'_>> {
        let item = self.flat.at(0)?;
        Some(match item.tag {
            JSON => Answer::Json { status: u16::try_from(item.code).ok()?, body: item.b },
            EMPTY => Answer::Empty,
            PAGE => {
                Answer::Page { status: u16::try_from(item.code).ok()?, name: item.text(), values: item.b }
            }
            REFUSE => Answer::Refusal(Refusal::read(&item, &self.flat)),
            VERDICT => Answer::Verdict(Verdict::read(&item, &self.flat)?),
            _ => return None,
        })
    }

    /// What is to be done, in order. An act that this library does not understand is `None`: whoever
    /// carries decisions out must then carry out none of it.
    pub fn acts(&self) -> impl Iterator<Item = Option<Act<'_>>> {
        let rest =
            |item: &Item<'_>| [VIOLATION, VERDICT_METHOD, AUDIT_FIELD, MESSAGE_FIELD].contains(&item.tag);
        self.flat.iter().enumerate().skip(1).filter(move |(_, item)| !rest(item)).map(|(at, item)| {
            let split = item.a.split_at_checked(item.code as usize);
            Some(match item.tag {
                PUT | PUT_BLIND | DELETE => {
                    let (subject, name) = split?;
                    let name = Name { subject: std::str::from_utf8(subject).ok()?, name };
                    let expires_at = Time::from_secs(item.x);
                    match item.tag {
                        DELETE => Act::Delete { name },
                        tag => Act::Put { name, value: item.b, expires_at, blind: tag == PUT_BLIND },
                    }
                }
                ELEVATE => {
                    let (session, amr) = item.text_b().split_once('\n')?;
                    Act::Elevate { subject: item.text(), session, amr }
                }
                STEP_UP => Act::StepUp { amr: item.text_b() },
                END_OTHERS => Act::EndOtherSessions,
                END_ALL => Act::EndAllSessions { subject: item.text() },
                SIGN_IN => {
                    let (mode, amr) = item.text_b().split_once('\n')?;
                    let mode = match mode {
                        "bearer" => SessionMode::Bearer,
                        "cookie" => SessionMode::Cookie,
                        _ => return None,
                    };
                    Act::SignIn { subject: item.text(), mode, amr }
                }
                COOKIE => Act::Cookie {
                    name: item.text(),
                    value: item.text_b(),
                    lasts: Duration::from_secs(item.x),
                },
                END => Act::EndSession { subject: item.text(), session: item.text_b() },
                AUDIT => Act::Audit(Event {
                    name: item.text(),
                    subject: item.text_b(),
                    success: item.code != 0,
                    fields: self.fields(at, AUDIT_FIELD),
                }),
                MESSAGE => Act::Message(Draft {
                    template: item.text(),
                    to: item.text_b(),
                    notice: item.code != 0,
                    expires_at: Time::from_secs(item.x),
                    fields: self.fields(at, MESSAGE_FIELD),
                }),
                _ => return None,
            })
        })
    }

    /// The fields that follow the item at `at`.
    fn fields(&self, at: usize, tag: u32) -> Vec<(&str, &str)> {
        let rest = self.flat.iter().skip(at + 1).take_while(|field| field.tag == tag);
        rest.map(|field| (field.text(), field.text_b())).collect()
    }

    pub(crate) fn into_flat(self) -> Flat {
        self.flat
    }
    pub(crate) fn from_flat(flat: Flat) -> Self {
        Self { flat }
    }
}

/// The answer of a decision.
pub enum Answer<'a> {
    /// A JSON body.
    Json {
        /// 200, 201 or 202.
        status: u16,
        /// A JSON object.
        body: &'a [u8],
    },
    /// 204.
    Empty,
    /// An HTML page.
    Page {
        /// The status.
        status: u16,
        /// Under which name the plugin registered it.
        name: &'a str,
        /// A JSON object.
        values: &'a [u8],
    },
    /// A problem document.
    Refusal(Refusal),
    /// A gate's verdict.
    Verdict(Verdict),
}

/// One thing that a decision wants done.
pub enum Act<'a> {
    /// Write a record.
    Put {
        /// Which.
        name: Name<'a>,
        /// Its new value.
        value: &'a [u8],
        /// From when on it may be discarded.
        expires_at: Time,
        /// Whatever is there; otherwise it must be as it was read.
        blind: bool,
    },
    /// Delete a record.
    Delete {
        /// Which.
        name: Name<'a>,
    },
    /// Make a pending session a standard one.
    Elevate {
        /// Whose.
        subject: &'a str,
        /// Which.
        session: &'a str,
        /// The methods that it adds, separated by spaces.
        amr: &'a str,
    },
    /// Refresh the second-factor proof of the caller's session.
    StepUp {
        /// The methods that it adds, separated by spaces.
        amr: &'a str,
    },
    /// End all other sessions of the caller, and whatever carries the epoch.
    EndOtherSessions,
    /// End one session.
    EndSession {
        /// Whose.
        subject: &'a str,
        /// Which.
        session: &'a str,
    },
    /// End all sessions of an account.
    EndAllSessions {
        /// Whose.
        subject: &'a str,
    },
    /// Go on as after a first factor.
    SignIn {
        /// Who.
        subject: &'a str,
        /// How the session will travel.
        mode: SessionMode,
        /// How the first factor was proven, separated by spaces.
        amr: &'a str,
    },
    /// Set, or remove, a cookie of the plugin's.
    Cookie {
        /// Its name within the plugin.
        name: &'a str,
        /// Its value.
        value: &'a str,
        /// For how long.
        lasts: Duration,
    },
    /// Record an event.
    Audit(Event<'a>),
    /// Send a message.
    Message(Draft<'a>),
}

/// A message to be: the host renders its template in the language of whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft<'a> {
    /// The template's name, such as `email-code`.
    pub template: &'a str,
    /// The id of the account whose address it goes to, or [`NOBODY`](Self::NOBODY).
    pub to: &'a str,
    /// A notice tells what has happened. A change is not refused for one that cannot be sent; it is on record then.
    pub notice: bool,
    /// From when on it is of no use.
    pub expires_at: Time,
    /// What the template may use. A code or a link is in here, and nowhere else in the clear.
    pub fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Draft<'a> {
    /// A message to nobody is rendered and written like any other and never sent, so that the time of an answer does
    /// not tell whether an address has an account.
    pub const NOBODY: &'static str = ":nobody";

    /// A message that carries something the account has asked for.
    pub fn new(template: &'a str, to: &'a str, expires_at: Time) -> Self {
        Self { template, to, notice: false, expires_at, fields: Vec::new() }
    }
    /// A notice of something that has happened.
    pub fn notice(template: &'a str, to: &'a str, expires_at: Time) -> Self {
        Self { notice: true, ..Self::new(template, to, expires_at) }
    }
    /// Adds a field.
    #[must_use]
    pub fn with(mut self, key: &'a str, value: &'a str) -> Self {
        self.fields.push((key, value));
        self
    }
}

/// An audit event: who (the caller, added by the kernel), whose, what, and the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Such as `totp.verified`. The kernel prefixes the plugin's name.
    pub name: &'a str,
    /// The id of the account that it concerns.
    pub subject: &'a str,
    /// Whether what was tried succeeded.
    pub success: bool,
    /// What else is worth knowing. Never a secret.
    pub fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Event<'a> {
    /// Something that succeeded.
    pub fn success(name: &'a str, subject: &'a str) -> Self {
        Self { name, subject, success: true, fields: Vec::new() }
    }
    /// Something that was refused.
    pub fn failure(name: &'a str, subject: &'a str) -> Self {
        Self { success: false, ..Self::success(name, subject) }
    }
    /// Adds a field. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &'a str, value: &'a str) -> Self {
        self.fields.push((key, value));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_signs_somebody_in_says_how() {
        for (said, mode) in [
            ("cookie\notp", Some(SessionMode::Cookie)),
            ("bearer\notp", Some(SessionMode::Bearer)),
            ("Bearer\notp", None),
            ("\notp", None),
            ("cookie", None),
        ] {
            let decision = Decision::empty().session(SIGN_IN, "ann", said);
            let acts: Vec<_> = decision.acts().collect();
            let read = match acts.as_slice() {
                [Some(Act::SignIn { subject: "ann", mode, amr: "otp" })] => Some(*mode),
                [None] => None,
                _ => panic!("{said:?} is one act, or none"),
            };
            assert_eq!(read, mode, "{said:?}");
        }
    }
}
