//! What the targets in `fuzz/` call, and a test replays: every reader of what crosses a library boundary.
//!
//! A plugin is trusted, but a broken one must not take the host with it: whatever flat data comes, its reader
//! refuses it or makes of it what can be written again.
use crate::{
    Act, Answer, Batch, Caller, Change, Claims, Context, Decision, Delivery, Found, Gate, Handler, Keys,
    Login, Message, Name, Page, Refusal, Request, Secret, SessionMode, Standing, Store, StoreError, Subject,
    Time, Token, Undelivered, Verdict,
    abi::{
        completion::{Completion, OnDone},
        flat::Flat,
        objects::{
            Asked, Decider, DeliveryFace, RegistrarAbi, StoreFace, decider_object, delivery_object,
            store_object,
        },
    },
    bridge::{ExportedGate, ExportedHandler, ImportedGate, ImportedHandler, Local},
    delivery,
    kernel::Collected,
    manifest::Manifest,
    store_bridge,
};
use std::sync::{Arc, Mutex};

/// One flat list through each of the readers, as a question, as an answer, and as an entry of a table.
pub fn abi(bytes: &[u8]) {
    let Some((&code, rest)) = bytes.split_first() else { return };
    let flat = Flat::raw(rest);
    answers(&flat, u32::from(code));
    questions(&flat, u32::from(code));
    tables(&flat);
    batches(&flat);
}

/// A plugin that answers everything with the same flat list.
#[derive(Clone)]
struct Says(Flat, u32);

impl Decider for Says {
    fn decide(&self, _: u32, _: &Flat, _: &dyn Asked, output: &mut Flat) -> u32 {
        *output = self.0.clone();
        self.1
    }
}
impl StoreFace for Says {
    fn latency(&self) -> u32 {
        self.1
    }
    fn get(&self, _: &Flat, found: &mut Flat) -> u32 {
        *found = self.0.clone();
        self.1
    }
    fn apply(&self, _: Flat, done: Completion) {
        done.finish(StoreError::from_code(self.1));
    }
    fn scan(&self, _: &Flat, page: &mut Flat) -> u32 {
        *page = self.0.clone();
        self.1
    }
    fn usage(&self, usage: &mut Flat) -> u32 {
        *usage = self.0.clone();
        self.1
    }
}
impl DeliveryFace for Says {
    fn send(&self, _: &Flat, reason: &mut Flat) -> u32 {
        *reason = self.0.clone();
        self.1
    }
    fn probe(&self, reason: &mut Flat) -> u32 {
        *reason = self.0.clone();
        self.1
    }
}

/// What a plugin answers, as the kernel reads it.
fn answers(flat: &Flat, code: u32) {
    let sound = flat.is_sound();
    let says = || Says(flat.clone(), code);
    let nobody = Nobody;
    let handler = ImportedHandler(decider_object(says()));
    let decision = handler.handle(&Request::new("GET", "/", b""), &nobody);
    assert!(sound || decision.is_err(), "what leaves its buffer is no decision");
    decision.iter().for_each(decided);

    let gate = ImportedGate(decider_object(says()));
    let subject = Subject {
        id: String::new(),
        email: String::new(),
        email_verified: false,
        role: String::new(),
        epoch: 0,
        created_at: Time::EPOCH,
    };
    let login = Login { subject, session: String::new(), mode: SessionMode::Cookie, amr: Vec::new() };
    gate.after_primary(&login, &nobody).iter().for_each(decided);
    let rules = gate.password_violations(&Secret::new(""), &[]);
    assert!(sound || rules.is_err(), "what leaves its buffer breaks no rule");

    let store = store_bridge::Imported(store_object(says()));
    let _ = (store.latency(), store.usage());
    let (mut keys, mut found, mut page) = (Keys::new(), Found::new(), Page::new());
    (0..flat.len()).for_each(|_| keys.push(b"key"));
    if store.get(&keys, &mut found).is_ok() {
        assert!(sound && found.len() == keys.len(), "one answer for each key");
        for at in 0..found.len() {
            let len = found.at(at).map(|record| record.value.len());
            // As the seal opens a value: in its place, and shorter than it was.
            let rewritten = found.rewrite(at, |value| value.len().checked_sub(1).map(|end| 1..end.max(1)));
            assert!(len.is_none_or(|len| rewritten == (len > 0)), "a value is rewritten in its place");
            found.forget(at);
            assert!(found.at(at).is_none(), "what is forgotten is gone");
        }
    }
    if store.scan(b"", None, 10, &mut page).is_ok() {
        assert!(sound, "what leaves its buffer is no page");
        page.iter().for_each(|(key, record)| assert!(key.len() + record.value.len() <= 2 * flat.size()));
    }
    store.apply(Batch::new(Time::EPOCH), Completion::new(Arc::new(Once::default())));

    let text = Secret::new("text");
    let message = Message { id: "1", to: "a@b", subject: "s", text, html: None, expires_at: Time::EPOCH };
    let outcome = delivery::Imported(delivery_object(says())).send(&message);
    assert!(outcome.is_ok() == (code == 0), "only 0 is sent");
}

/// Reads a decision to its end, and writes again what was read: it must come out the same.
fn decided(decision: &Decision) {
    let acts: Option<Vec<Act<'_>>> = decision.acts().collect();
    let (Some(acts), Some(answer)) = (acts, decision.answer()) else { return };
    let again = acts.iter().fold(answered(&answer), written);
    let reread: Option<Vec<Act<'_>>> = again.acts().collect();
    let shown = |acts: &[Act<'_>]| acts.iter().map(shown).collect::<Vec<_>>();
    assert_eq!(reread.as_deref().map(shown), Some(shown(&acts)), "a decision has one meaning");
}

fn answered(answer: &Answer<'_>) -> Decision {
    match answer {
        Answer::Json { .. } | Answer::Page { .. } | Answer::Empty => Decision::empty(),
        Answer::Refusal(refusal) => {
            assert!(refusal.problem().status() >= 400, "a refusal is an error");
            Decision::refuse(refusal.clone())
        }
        Answer::Verdict(verdict) => {
            if let Verdict::Challenge { methods, .. } = verdict {
                assert!(methods.len() <= 255, "no more methods than rows");
            }
            Decision::verdict(verdict)
        }
    }
}

fn written(decision: Decision, act: &Act<'_>) -> Decision {
    fn words(amr: &str) -> Vec<&str> {
        amr.split(' ').collect()
    }
    match act {
        Act::Put { name, value, expires_at, blind: true } => decision.put_blind(*name, value, *expires_at),
        Act::Put { name, value, expires_at, blind: false } => decision.put(*name, value, *expires_at),
        Act::Delete { name } => decision.delete(*name),
        Act::Elevate { subject, session, amr } => decision.elevate(subject, session, &words(amr)),
        Act::StepUp { amr } => decision.step_up(&words(amr)),
        Act::EndOtherSessions => decision.end_other_sessions(),
        Act::EndSession { subject, session } => decision.end_session(subject, session),
        Act::EndAllSessions { subject } => decision.end_all_sessions(subject),
        Act::SignIn { subject, mode, amr } => decision.sign_in(subject, *mode, &words(amr)),
        Act::Cookie { name, value, lasts } => decision.cookie(name, &Secret::new((*value).into()), *lasts),
        Act::Audit(event) => decision.audit(event),
        Act::Message(draft) => decision.message(draft),
    }
}

fn shown(act: &Act<'_>) -> String {
    match act {
        Act::Put { name, value, expires_at, blind } => {
            format!("put {name:?} {value:?} {expires_at:?} {blind}")
        }
        Act::Delete { name } => format!("delete {name:?}"),
        Act::Elevate { subject, session, amr } => format!("elevate {subject:?} {session:?} {amr:?}"),
        Act::StepUp { amr } => format!("step up {amr:?}"),
        Act::EndOtherSessions => "end others".into(),
        Act::EndSession { subject, session } => format!("end {subject:?} {session:?}"),
        Act::EndAllSessions { subject } => format!("end all {subject:?}"),
        Act::SignIn { subject, mode, amr } => format!("sign in {subject:?} {mode:?} {amr:?}"),
        Act::Cookie { name, value, lasts } => format!("cookie {name:?} {value:?} {lasts:?}"),
        Act::Audit(event) => format!("audit {event:?}"),
        Act::Message(draft) => format!("message {draft:?}"),
    }
}

/// What the kernel asks of a plugin, and a plugin of the kernel, as the one that is asked reads it.
fn questions(flat: &Flat, question: u32) {
    let nobody = Nobody;
    let kernel = Local(&nobody);
    for decider in [&ExportedHandler(Reads) as &dyn Decider, &ExportedGate(Reads)] {
        // Of the kernel a plugin expects what is sound; a handler's request is looked at all the same.
        if flat.is_sound() {
            let mut output = Flat::default();
            decider.decide(question, flat, &kernel, &mut output);
            assert!(output.is_sound());
        }
    }
    let mut output = Flat::default();
    let code = kernel.ask(question, flat, &mut output);
    assert!(output.is_sound() && (flat.is_sound() || code != 0), "the kernel reads nothing beyond a buffer");
    if flat.is_sound() {
        let _ = delivery::Exported(Reads).send(flat, &mut Flat::default());
    }
}

/// What a plugin registers.
fn tables(flat: &Flat) {
    let says = || Says(flat.clone(), 0);
    let (mut all, mut reason) = (Collected::default(), Flat::default());
    let codes = [
        all.add_store(flat, store_object(says()), &mut reason),
        all.add_delivery(flat, delivery_object(says()), &mut reason),
        all.add_decider(flat, decider_object(says()), &mut reason),
        all.add_data(flat, &mut reason),
    ];
    assert!(reason.is_sound());
    assert!(flat.is_sound() || codes == [1; 4], "what leaves its buffer registers nothing");
    let refused = codes.iter().any(|code| *code != 0);
    assert_eq!(all.checked().is_err(), refused, "what was refused is not forgotten");
}

/// A batch that is understood says the same when it is written again.
fn batches(flat: &Flat) {
    let Some(batch) = Batch::read(flat.clone()) else { return };
    assert!(flat.is_sound() && batch.is_within_bounds());
    let mut again = Batch::new(batch.now());
    for op in batch.ops() {
        match op.change {
            Change::Keep => again.require(op.key, op.expect),
            Change::Delete => again.delete(op.key, op.expect),
            Change::Put { value, expires_at } => again.put(op.key, op.expect, value, expires_at),
        }
    }
    assert_eq!(again.is_read_only(), batch.is_read_only());
    let ops = |batch: &Batch| batch.ops().map(|op| format!("{op:?}")).collect::<Vec<_>>();
    assert_eq!(ops(&again), ops(&batch), "a batch has one meaning");
}

/// A plugin that looks at everything it is given.
struct Reads;

impl Handler for Reads {
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        let _ = (request.method(), request.path(), request.peer(), request.query("a"), request.header("a"));
        let _ = (request.is_form(), context.caller(), context.now());
        let body: std::collections::BTreeMap<String, String> = request.json()?;
        Decision::json(200, &body)
    }
}
impl Gate for Reads {
    fn after_primary(&self, login: &Login, _: &dyn Context) -> Result<Decision, Refusal> {
        Ok(Decision::verdict(&Verdict::Proceed).end_all_sessions(&login.subject.id))
    }
    fn standing(&self, caller: &Caller, _: &dyn Context) -> Result<Standing, Refusal> {
        let verified = caller.subject.email_verified;
        Ok(Standing { enrolled: verified, enrollment_required: false, stepped_up: false })
    }
    fn password_violations(&self, _: &Secret<&str>, words: &[&str]) -> Result<Vec<String>, Refusal> {
        Ok(words.iter().map(|word| (*word).into()).collect())
    }
}
impl Delivery for Reads {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        for head in [message.id, message.to, message.subject] {
            assert!(!head.contains(char::is_control), "no head becomes two");
        }
        Ok(())
    }
}

/// A kernel that has nothing and signs everything.
struct Nobody;

impl Context for Nobody {
    fn now(&self) -> Time {
        Time::EPOCH
    }
    fn wall(&self) -> Time {
        Time::EPOCH
    }
    fn caller(&self) -> Option<&Caller> {
        None
    }
    fn sends_mail(&self) -> bool {
        false
    }
    fn subject(&self, _: &str) -> Result<Option<Subject>, Refusal> {
        Ok(None)
    }
    fn subject_of(&self, _: &str) -> Result<Option<Subject>, Refusal> {
        Ok(None)
    }
    fn cookie(&self, name: &str) -> Result<Option<Secret<String>>, Refusal> {
        Ok(Some(Secret::new(name.into())))
    }
    fn is_known_browser(&self, _: &str) -> Result<bool, Refusal> {
        Ok(false)
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        names.iter().for_each(|_| found.push(None));
        Ok(())
    }
    fn scan(&self, _: Name<'_>, _: Option<&[u8]>, _: usize, _: &mut Page) -> Result<(), Refusal> {
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        assert!(out.len() <= 4096, "a plugin cannot ask for more than it may have");
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], _: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        Ok(vec![[0; 32]; secrets.len()])
    }
    fn mac(&self, _: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        Ok([0; 32])
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        Ok([&*claims.purpose, &claims.subject, &claims.session, &claims.id].join("."))
    }
    fn open(&self, purpose: &str, _: &str) -> Result<Option<Token>, Refusal> {
        let text = String::new;
        let claims = Claims {
            purpose: purpose.into(),
            subject: text(),
            session: text(),
            id: text(),
            expires_at: Time::EPOCH,
        };
        Ok(Some(Token::Expired(claims)))
    }
}

/// Sees that a completion is finished once.
#[derive(Default)]
struct Once(Mutex<bool>);

impl OnDone for Once {
    fn done(&self, _: Result<(), StoreError>) {
        let mut done = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(!std::mem::replace(&mut done, true), "finished once");
    }
}

/// A manifest, which is read before anything of its library runs and shown to people.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let Manifest { name, version, api, panic, compiler } = &manifest;
    for value in [name, version, api, panic, compiler] {
        assert!(!value.contains(char::is_control), "{value:?} cannot steer a terminal");
    }
    let _ = manifest.is_compatible();
    let again = format!("name={name}\nversion={version}\napi={api}\npanic={panic}\ncompiler={compiler}\n");
    assert_eq!(Manifest::parse(again.as_bytes()), Ok(manifest), "a manifest has one meaning");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn corpora() {
        for (name, target) in [("abi", super::abi as fn(&[u8])), ("manifest", super::manifest)] {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
            let read = files.map(|file| target(&fs::read(file.unwrap().path()).unwrap())).count();
            assert!(read > 2, "{read} in {}", corpus.display());
        }
    }
}
