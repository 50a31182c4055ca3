//! A kernel in memory: it asks handlers as the real one does, keeps the read set, asks again on a conflict and
//! when a hash is ready, and replays random bytes. What comes of a decision is in `carry`.
use super::call::Call;
use crate::{
    config::Mfa,
    gate::MfaGate,
    operations::OPERATIONS,
    records::{STATE, State},
    routes,
};
use countersign_plugin_api::{
    Access, Answer, Caller, Context, Decision, Gate, Login, Problem, Refusal, Request, Session, SessionKind,
    SessionMode, Standing, Subject, Time, Verdict,
};
use serde_json::Value;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The moment at which each test begins, and the one user that each begins with.
pub(super) const START: u64 = 1_763_800_000;
pub(super) const ANN: &str = "user-ann";

/// The subject and the name of a record.
pub(super) type Name2 = (String, Vec<u8>);

pub(super) struct Kernel {
    pub(super) config: Arc<Mfa>,
    pub(super) now: Time,
    pub(super) wall: Time,
    pub(super) records: BTreeMap<Name2, (u64, Vec<u8>, Time)>,
    pub(super) subjects: BTreeMap<String, Subject>,
    pub(super) sessions: BTreeMap<String, Live>,
    pub(super) audit: Vec<Audited>,
    pub(super) messages: Vec<Sent>,
    /// Whether it has a delivery.
    pub(super) sends_mail: bool,
    /// The plugin's cookies, by browser and name, and until when.
    pub(super) cookies: BTreeMap<(String, String), (String, Time)>,
    /// The browsers that have signed in before, each with the account.
    pub(super) known_browsers: BTreeSet<(&'static str, String)>,
    /// How many calls had a hash computed.
    pub(super) hashed: Cell<u32>,
    pub(super) version: u64,
    calls: u64,
}

/// A session with the version of its row and the epoch it was made under.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) subject: String,
    pub(super) session: Session,
    pub(super) version: u64,
    pub(super) epoch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audited {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) success: bool,
    pub(super) fields: BTreeMap<String, String>,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) template: String,
    pub(super) to: String,
    pub(super) notice: bool,
    pub(super) expires_at: Time,
    pub(super) fields: BTreeMap<String, String>,
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The problem's slug; empty without one.
    pub(super) problem: &'static str,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Value,
}

/// Something tried: what the handler said, and on what it rests.
pub(super) struct Tried {
    pub(super) outcome: Result<Decision, Refusal>,
    pub(super) read: BTreeMap<Name2, u64>,
    pub(super) caller: Option<(String, u64)>,
    pub(super) browser: &'static str,
}

/// One request, complete: what to ask and as whom.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    /// A form instead of JSON.
    pub(super) form: Option<String>,
    pub(super) query: Option<(&'static str, String)>,
    pub(super) session: Option<String>,
    /// Whose cookies come along.
    pub(super) browser: &'static str,
}

fn ask(method: &'static str, path: impl Into<String>, body: Value) -> Ask {
    Ask { method, path: path.into(), body, form: None, query: None, session: None, browser: "" }
}

pub(super) fn post(path: &str, body: Value) -> Ask {
    ask("POST", path, body)
}

pub(super) fn form(path: &str, body: String) -> Ask {
    Ask { form: Some(body), ..ask("POST", path, Value::Null) }
}

pub(super) fn delete(path: &str) -> Ask {
    ask("DELETE", path, Value::Null)
}

pub(super) fn get(path: &str) -> Ask {
    ask("GET", path, Value::Null)
}

impl Ask {
    pub(super) fn by(mut self, session: &str) -> Self {
        self.session = Some(session.into());
        self
    }
    pub(super) fn in_browser(mut self, browser: &'static str) -> Self {
        self.browser = browser;
        self
    }
    /// With the challenge in the query.
    pub(super) fn about(self, challenge: &str) -> Self {
        self.with("challenge", challenge)
    }
    /// With this in the query.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.query = Some((name, value.into()));
        self
    }
}

impl Kernel {
    pub(super) fn new(config: Mfa) -> Self {
        let mut kernel = Self {
            config: Arc::new(config),
            now: Time::from_secs(START),
            wall: Time::from_secs(START),
            records: BTreeMap::new(),
            subjects: BTreeMap::new(),
            sessions: BTreeMap::new(),
            audit: Vec::new(),
            messages: Vec::new(),
            sends_mail: true,
            cookies: BTreeMap::new(),
            known_browsers: BTreeSet::new(),
            hashed: Cell::new(0),
            version: 0,
            calls: 0,
        };
        kernel.add_subject(ANN, "ann@example.org", "user");
        kernel
    }

    pub(super) fn add_subject(&mut self, id: &str, email: &str, role: &str) {
        let subject = Subject {
            id: id.into(),
            email: email.into(),
            email_verified: true,
            role: role.into(),
            epoch: 1,
            created_at: self.now,
        };
        self.subjects.insert(id.into(), subject);
    }

    /// Both clocks move.
    pub(super) fn pass(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        self.wall = self.wall + Duration::from_secs(secs);
    }

    pub(super) fn state(&self, subject: &str) -> State {
        let record = self.records.get(&(subject.into(), STATE.into()));
        record.map_or_else(State::default, |(_, value, _)| State::decode(value).unwrap())
    }

    /// A session whose password was proven just now, gate not asked.
    pub(super) fn sign_in(&mut self, subject: &str) -> String {
        self.add_session(subject, SessionKind::Standard, SessionMode::Cookie, Time::NEVER)
    }

    fn add_session(
        &mut self,
        subject: &str,
        kind: SessionKind,
        mode: SessionMode,
        expires_at: Time,
    ) -> String {
        self.version += 1;
        let id = format!("session-{}", self.version);
        let session = Session {
            id: id.clone(),
            kind,
            mode,
            authenticated_at: self.now,
            mfa_verified_at: None,
            amr: vec!["pwd".into()],
            expires_at,
        };
        let epoch = self.subjects[subject].epoch;
        let live = Live { subject: subject.into(), session, version: self.version, epoch };
        self.sessions.insert(id.clone(), live);
        id
    }

    /// A login with the right password: the verdict, and the session that it led to.
    pub(super) fn log_in(&mut self, subject: &str, mode: SessionMode) -> (Verdict, String) {
        self.log_in_from("", subject, mode, &["pwd"])
    }

    /// A login by whatever first factor, from a browser.
    pub(super) fn log_in_from(
        &mut self,
        browser: &'static str,
        subject: &str,
        mode: SessionMode,
        amr: &[&str],
    ) -> (Verdict, String) {
        let amr: Vec<String> = amr.iter().map(|method| (*method).into()).collect();
        let session = self.add_session(subject, SessionKind::Standard, mode, Time::NEVER);
        self.sessions.get_mut(&session).unwrap().session.amr.clone_from(&amr);
        let subject = self.subjects[subject].clone();
        let login = Login { subject, session: session.clone(), mode, amr };
        let gate = MfaGate::new(Arc::clone(&self.config));
        let tried = self.ask(None, browser, &|context| gate.after_primary(&login, context));
        let verdict = match &tried.outcome {
            Ok(decision) => match decision.answer() {
                Some(Answer::Verdict(verdict)) => verdict,
                _ => panic!("a gate answers a verdict"),
            },
            Err(refusal) => panic!("the gate refused: {refusal} ({})", refusal.log()),
        };
        assert!(self.carry_out(&tried).is_some(), "nobody else writes meanwhile");
        if let Verdict::Challenge { expires_at, .. } = &verdict {
            let live = self.sessions.get_mut(&session).unwrap();
            live.session.kind = SessionKind::Pending;
            live.session.expires_at = *expires_at;
        }
        (verdict, session)
    }

    /// The same where a challenge is expected: its token and the pending session.
    pub(super) fn challenged(&mut self, mode: SessionMode) -> (String, String) {
        match self.log_in(ANN, mode) {
            (Verdict::Challenge { token, .. }, session) => (token, session),
            (verdict, _) => panic!("a challenge was expected, not {verdict:?}"),
        }
    }

    pub(super) fn standing(&mut self, session: &str) -> Result<Standing, Refusal> {
        let gate = MfaGate::new(Arc::clone(&self.config));
        let call = Call::new(self, Some(session), "", 0);
        gate.standing(call.caller().expect("a live session"), &call)
    }

    /// Asks and carries out, again as often as something else was written meanwhile.
    pub(super) fn send(&mut self, ask: &Ask) -> Reply {
        for _ in 0..4 {
            let tried = self.consider(ask);
            if let Some(reply) = self.carry_out(&tried) {
                return reply;
            }
        }
        panic!("conflicts without end");
    }

    /// Asks the handler of a request, and carries nothing out yet.
    pub(super) fn consider(&mut self, ask: &Ask) -> Tried {
        let (route, handle) = routes::routes()
            .into_iter()
            .find(|(route, _)| route.method == ask.method && matches(&route.path, &ask.path))
            .unwrap_or_else(|| panic!("no route {} {}", ask.method, ask.path));
        let session = ask.session.as_deref().filter(|id| self.caller(id).is_some());
        let kind = session.map(|id| self.sessions[id].session.kind);
        let refused = match (route.access, kind) {
            (Access::Anyone, _) | (_, Some(SessionKind::Standard)) => None,
            (_, Some(SessionKind::Pending)) => Some(Problem::MfaRequired),
            (_, None) => Some(Problem::SessionRequired),
        };
        if let Some(problem) = refused {
            let (read, browser) = (BTreeMap::new(), ask.browser);
            return Tried { outcome: Err(problem.into()), read, caller: None, browser };
        }
        let body = if ask.body.is_null() { String::new() } else { ask.body.to_string() };
        let (media, body) = match &ask.form {
            Some(form) => ("application/x-www-form-urlencoded", form.clone()),
            None => ("application/json", body),
        };
        let mut request = Request::new(ask.method, &ask.path, body.as_bytes())
            .with_header("content-type", media.as_bytes())
            .with_header("user-agent", ask.browser.as_bytes());
        if let Some((name, value)) = &ask.query {
            request = request.with_query(name, value);
        }
        let config = Arc::clone(&self.config);
        self.ask(session, ask.browser, &|context| handle(&config, &request, context))
    }

    /// Calls an operation, as the host does for an administrator.
    pub(super) fn operate(&mut self, name: &str, body: &Value) -> Reply {
        let (_, handle) = OPERATIONS.iter().find(|(known, _)| *known == name).expect("an operation");
        let body = body.to_string();
        let request = Request::new("CALL", name, body.as_bytes());
        let config = Arc::clone(&self.config);
        let tried = self.ask(None, "", &|context| handle(&config, &request, context));
        self.carry_out(&tried).expect("nobody else writes meanwhile")
    }

    fn ask(
        &mut self,
        session: Option<&str>,
        browser: &'static str,
        handler: &dyn Fn(&dyn Context) -> Result<Decision, Refusal>,
    ) -> Tried {
        self.calls += 1;
        let caller = session.map(|id| (id.to_owned(), self.sessions[id].version));
        let mut call = Call::new(self, session, browser, self.calls);
        let mut outcome = handler(&call);
        if call.wanted.borrow().is_some() {
            assert!(outcome.is_err(), "a refused hash must be passed on");
            call.ready = call.wanted.take();
            call.random = Cell::new(0);
            self.hashed.set(self.hashed.get() + 1);
            outcome = handler(&call);
            assert!(call.wanted.borrow().is_none(), "the second call asks for the same hashes");
        }
        Tried { outcome, read: call.read.into_inner(), caller, browser }
    }

    pub(super) fn version_of(&self, name: &Name2) -> u64 {
        self.records.get(name).filter(|(_, _, expires_at)| *expires_at > self.now).map_or(0, |r| r.0)
    }

    pub(super) fn caller(&self, session: &str) -> Option<Caller> {
        let live = self.sessions.get(session)?;
        let subject = self.subjects.get(&live.subject)?.clone();
        let valid = live.epoch == subject.epoch && live.session.expires_at > self.now;
        valid.then(|| Caller { subject, session: live.session.clone() })
    }
}

/// Whether a path is of a route's form; `{id}` stands for its last part.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("{id}") {
        None => pattern == path,
        Some(start) => path.strip_prefix(start).is_some_and(|id| !id.is_empty() && !id.contains('/')),
    }
}

impl Reply {
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let body = Value::String(refusal.detail().into());
        let problem = refusal.problem();
        let retry_after = refusal.retry_after_secs();
        Self { status: problem.status(), problem: problem.slug(), retry_after, body }
    }
    pub(super) fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("{key} in {self:?}")).into()
    }
}
