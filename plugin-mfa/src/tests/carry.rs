//! Carrying a decision out: one conditional write, then what the host would do and answer.
use super::kernel::{Audited, Kernel, Live, Reply, Sent, Tried};
use countersign_plugin_api::{Act, Answer, Name, SessionKind, SessionMode, Time, Verdict};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Kernel {
    /// Carries a decision out if all that it rests on is still so; `None` is a conflict.
    pub(super) fn carry_out(&mut self, tried: &Tried) -> Option<Reply> {
        let decision = match &tried.outcome {
            Ok(decision) => decision,
            Err(refusal) => return Some(Reply::refused(refusal)),
        };
        let acts: Vec<Act<'_>> = decision.acts().map(|act| act.expect("every act is known")).collect();
        if !acts.is_empty() {
            let stale = tried.read.iter().any(|(name, version)| self.version_of(name) != *version);
            let caller = tried.caller.as_ref();
            let gone = caller.is_some_and(|(id, version)| {
                self.caller(id).is_none() || self.sessions[id].version != *version
            });
            if stale || gone {
                return None;
            }
        }
        self.version += 1;
        let mut events = BTreeSet::new();
        let mut sign_in = None;
        for act in acts {
            if let Act::SignIn { subject, mode, amr } = act {
                sign_in = Some((subject.to_owned(), mode, amr.to_owned()));
            } else {
                self.act(act, tried, &mut events);
            }
        }
        assert!(events.len() <= 1, "one event, one record");
        if let Some((subject, mode, amr)) = sign_in {
            return Some(self.go_on(tried.browser, &subject, mode, &amr));
        }
        Some(match decision.answer().expect("an answer") {
            Answer::Json { status, body } => {
                let body = serde_json::from_slice(body).unwrap();
                Reply { status, problem: "", retry_after: None, body }
            }
            Answer::Empty => Reply { status: 204, problem: "", retry_after: None, body: Value::Null },
            Answer::Page { status, values, .. } => {
                let body = serde_json::from_slice(values).unwrap();
                Reply { status, problem: "", retry_after: None, body }
            }
            Answer::Refusal(refusal) => Reply::refused(&refusal),
            Answer::Verdict(_) => Reply { status: 0, problem: "", retry_after: None, body: Value::Null },
        })
    }

    /// As a host after a first factor: what it answers, with the id of the session.
    fn go_on(&mut self, browser: &'static str, subject: &str, mode: SessionMode, amr: &str) -> Reply {
        let amr: Vec<&str> = amr.split(' ').collect();
        let (verdict, session) = self.log_in_from(browser, subject, mode, &amr);
        let (status, body) = match verdict {
            Verdict::Proceed => (200, json!({"status": "authenticated", "session": session})),
            Verdict::Challenge { token, methods, .. } => {
                let body = json!({"status": "mfa_required", "challenge": token, "methods": methods, "session": session});
                (202, body)
            }
            Verdict::Refuse { .. } => panic!("the gate refuses nobody"),
        };
        Reply { status, problem: "", retry_after: None, body }
    }

    fn act(&mut self, act: Act<'_>, tried: &Tried, events: &mut BTreeSet<String>) {
        let read = |name: Name<'_>| {
            let name = (name.subject.to_owned(), name.name.to_vec());
            assert!(tried.read.contains_key(&name), "what is written was read");
            name
        };
        let acting = || tried.caller.as_ref().expect("an act of the caller needs one").0.clone();
        match act {
            Act::Put { name, value, expires_at, blind } => {
                assert!(!blind && expires_at > self.now);
                self.records.insert(read(name), (self.version, value.to_vec(), expires_at));
            }
            Act::Delete { name } => {
                self.records.remove(&read(name));
            }
            Act::Elevate { subject, session, amr } => {
                let live = self.sessions.get_mut(session).expect("the pending session lives");
                assert_eq!(live.subject, subject);
                assert_eq!(live.session.kind, SessionKind::Pending);
                live.session.kind = SessionKind::Standard;
                live.session.expires_at = Time::NEVER;
                live.prove(amr, self.now, self.version);
            }
            Act::StepUp { amr } => {
                let live = self.sessions.get_mut(&acting()).unwrap();
                assert_eq!(live.session.kind, SessionKind::Standard);
                live.prove(amr, self.now, self.version);
            }
            Act::EndOtherSessions => {
                let id = acting();
                let live = self.sessions.get_mut(&id).unwrap();
                let subject = self.subjects.get_mut(&live.subject).unwrap();
                subject.epoch += 1;
                live.epoch = subject.epoch;
                live.version = self.version;
            }
            Act::EndSession { subject, session } => {
                let ended = self.sessions.remove(session);
                assert!(ended.is_none_or(|ended| ended.subject == subject));
            }
            Act::EndAllSessions { subject } => {
                self.subjects.get_mut(subject).expect("an account").epoch += 1;
            }
            Act::SignIn { .. } => unreachable!("looked at before"),
            Act::Cookie { name, value, lasts } => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                assert!(value.chars().all(plain), "{value}");
                let key = (tried.browser.to_owned(), name.to_owned());
                self.cookies.insert(key, (value.to_owned(), self.now + lasts));
            }
            Act::Message(draft) => {
                assert!(draft.expires_at > self.now);
                // Whoever is nobody gets nothing.
                if self.subjects.contains_key(draft.to) {
                    self.messages.push(Sent {
                        template: draft.template.into(),
                        to: draft.to.into(),
                        notice: draft.notice,
                        expires_at: draft.expires_at,
                        fields: owned(&draft.fields),
                    });
                }
            }
            Act::Audit(event) => {
                assert!(events.insert(event.name.to_owned()));
                self.audit.push(Audited {
                    name: event.name.into(),
                    subject: event.subject.into(),
                    success: event.success,
                    fields: owned(&event.fields),
                });
            }
        }
    }
}

fn owned(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    fields.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

impl Live {
    fn prove(&mut self, amr: &str, now: Time, version: u64) {
        self.session.mfa_verified_at = Some(now);
        for method in amr.split(' ') {
            if !self.session.amr.iter().any(|known| known == method) {
                self.session.amr.push(method.into());
            }
        }
        self.version = version;
    }
}

impl Tried {
    /// What it wants done, by name.
    pub(super) fn acts(&self) -> Vec<&'static str> {
        let Ok(decision) = &self.outcome else { return Vec::new() };
        let mut acts: Vec<&str> = decision
            .acts()
            .map(|act| match act.expect("every act is known") {
                Act::Put { .. } => "put",
                Act::Delete { .. } => "delete",
                Act::Cookie { .. } => "cookie",
                Act::Message(_) => "message",
                Act::Audit(_) => "audit",
                _ => "a session",
            })
            .collect();
        acts.sort_unstable();
        acts
    }
}
