//! Handlers, gates and contexts as flat questions and answers, and back.
use crate::{
    abi::{
        flat::{Flat, Item},
        objects::{Asked, DONE, Decider, DeciderObject, FAULT},
    },
    answers::{Found, Page, Record},
    context::{Claims, Context, Name, Token},
    decision::Decision,
    error::{Problem, Refusal},
    gate::{Gate, Login, Standing},
    http::{Handler, Request},
    secret::Secret,
    session::{Caller, Subject},
    store::StoreError,
    units::Time,
};
use std::cell::OnceCell;

/// The other side refused: the output holds a [`Refusal`].
const REFUSED: u32 = 1;
/// The other side is older and does not know the question.
const NOT_KNOWN: u32 = 2;

/// Questions to a decider.
const HANDLE: u32 = 1;
const AFTER_PRIMARY: u32 = 2;
const STANDING: u32 = 3;
const PASSWORD: u32 = 4;

/// Questions to a context.
const FACTS: u32 = 1;
const GET: u32 = 2;
const SCAN: u32 = 3;
const RANDOM: u32 = 4;
const HASH: u32 = 5;
const SIGN: u32 = 6;
const OPEN: u32 = 7;
const SUBJECT: u32 = 8;
const SUBJECT_OF: u32 = 9;
const COOKIE: u32 = 10;
const MAC: u32 = 11;
const KNOWN_BROWSER: u32 = 12;

fn refused(refusal: &Refusal, output: &mut Flat) -> u32 {
    *output = Flat::default();
    refusal.write(0, output);
    REFUSED
}

fn outcome(code: u32, output: &Flat, who: &str) -> Result<(), Refusal> {
    match code {
        DONE => Ok(()),
        REFUSED => Err(match output.at(0) {
            Some(item) => Refusal::read(&item, output),
            None => Refusal::new(Problem::PluginFault),
        }),
        NOT_KNOWN => Err(Refusal::new(Problem::PluginFault)
            .because(format_args!("{who} is older and does not know the question"))),
        _ => Err(Refusal::new(Problem::PluginFault).because(format_args!("{who} panicked"))),
    }
}

// ---- a plugin's handler and gate, made flat ----

pub(crate) struct ExportedHandler<T>(pub(crate) T);

impl<T: Handler> Decider for ExportedHandler<T> {
    fn decide(&self, question: u32, input: &Flat, context: &dyn Asked, output: &mut Flat) -> u32 {
        if question != HANDLE || !input.is_sound() {
            return NOT_KNOWN;
        }
        let context = match Remote::new(context) {
            Ok(context) => context,
            Err(refusal) => return refused(&refusal, output),
        };
        decided(self.0.handle(&Request::borrowed(input), &context), output)
    }
}

pub(crate) struct ExportedGate<T>(pub(crate) T);

impl<T: Gate> Decider for ExportedGate<T> {
    fn decide(&self, question: u32, input: &Flat, context: &dyn Asked, output: &mut Flat) -> u32 {
        if question == PASSWORD {
            return self.password(input, output);
        }
        let context = match Remote::new(context) {
            Ok(context) => context,
            Err(refusal) => return refused(&refusal, output),
        };
        match question {
            AFTER_PRIMARY => match Login::read(input) {
                Some(login) => decided(self.0.after_primary(&login, &context), output),
                None => NOT_KNOWN,
            },
            STANDING => {
                let other = input.is_sound().then(|| Caller::read(input)).flatten();
                let caller = other.as_ref().or_else(|| context.caller());
                match caller.map(|caller| self.0.standing(caller, &context)) {
                    Some(Ok(standing)) => {
                        standing.write(output);
                        DONE
                    }
                    Some(Err(refusal)) => refused(&refusal, output),
                    None => NOT_KNOWN,
                }
            }
            _ => NOT_KNOWN,
        }
    }
}

impl<T: Gate> ExportedGate<T> {
    fn password(&self, input: &Flat, output: &mut Flat) -> u32 {
        let password = Secret::new(input.at(0).unwrap_or_default().text());
        let words: Vec<&str> = input.iter().skip(1).map(|item| item.text()).collect();
        match self.0.password_violations(&password, &words) {
            Ok(rules) => {
                rules.iter().for_each(|rule| output.push(Item::bytes(0, rule.as_bytes())));
                DONE
            }
            Err(refusal) => refused(&refusal, output),
        }
    }
}

fn decided(decision: Result<Decision, Refusal>, output: &mut Flat) -> u32 {
    match decision {
        Ok(decision) => {
            *output = decision.into_flat();
            DONE
        }
        Err(refusal) => refused(&refusal, output),
    }
}

// ---- the same, in another library, as the plain traits ----

pub(crate) struct ImportedHandler(pub(crate) DeciderObject);

impl Handler for ImportedHandler {
    fn handle(&self, request: &Request<'_>, context: &dyn Context) -> Result<Decision, Refusal> {
        asked(&self.0, HANDLE, request.flat(), context).map(Decision::from_flat)
    }
}

pub(crate) struct ImportedGate(pub(crate) DeciderObject);

impl Gate for ImportedGate {
    fn after_primary(&self, login: &Login, context: &dyn Context) -> Result<Decision, Refusal> {
        let mut input = Flat::with_capacity(3, 256);
        login.write(&mut input);
        asked(&self.0, AFTER_PRIMARY, &input, context).map(Decision::from_flat)
    }
    fn standing(&self, caller: &Caller, context: &dyn Context) -> Result<Standing, Refusal> {
        let mut input = Flat::default();
        // The other side asks who calls; somebody who is only about to be is told.
        if !context.caller().is_some_and(|own| std::ptr::eq(own, caller)) {
            caller.write(&mut input);
        }
        let output = asked(&self.0, STANDING, &input, context)?;
        Standing::read(&output).ok_or_else(|| Problem::PluginFault.into())
    }
    fn password_violations(&self, password: &Secret<&str>, words: &[&str]) -> Result<Vec<String>, Refusal> {
        let mut input = single(Item::bytes(0, password.expose().as_bytes()));
        words.iter().for_each(|word| input.push(Item::bytes(0, word.as_bytes())));
        let mut output = Flat::default();
        let code = Decider::decide(&self.0, PASSWORD, &input, &Nothing, &mut output);
        outcome(code, &output, "the plugin")?;
        Ok(output.iter().map(|item| item.text().into()).collect())
    }
}

fn asked(
    object: &DeciderObject,
    question: u32,
    input: &Flat,
    context: &dyn Context,
) -> Result<Flat, Refusal> {
    let mut output = Flat::default();
    let code = Decider::decide(object, question, input, &Local(context), &mut output);
    outcome(code, &output, "the plugin").map(|()| output)
}

/// For a question that needs no context.
struct Nothing;

impl Asked for Nothing {
    fn ask(&self, _question: u32, _input: &Flat, _output: &mut Flat) -> u32 {
        NOT_KNOWN
    }
}

/// The kernel's context, made flat.
pub(crate) struct Local<'a>(pub(crate) &'a dyn Context);

impl Asked for Local<'_> {
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32 {
        if !input.is_sound() {
            return FAULT;
        }
        match self.answer(question, input, output) {
            Some(Ok(())) => DONE,
            Some(Err(refusal)) => refused(&refusal, output),
            None => NOT_KNOWN,
        }
    }
}

impl Local<'_> {
    fn answer(&self, question: u32, input: &Flat, output: &mut Flat) -> Option<Result<(), Refusal>> {
        let head = || input.at(0).unwrap_or_default();
        Some(match question {
            FACTS => {
                let (x, y) = (self.0.now().secs(), self.0.wall().secs());
                let code = u32::from(self.0.sends_mail());
                output.push(Item { code, x, y, ..Item::default() });
                if let Some(caller) = self.0.caller() {
                    caller.write(output);
                }
                Ok(())
            }
            GET => {
                let names: Option<Vec<Name<'_>>> = input.iter().map(|item| read_name(&item)).collect();
                // Records cross as they are found.
                let mut found = Found(std::mem::take(output));
                let read = self.0.get(&names?, &mut found);
                *output = found.0;
                read
            }
            SCAN => {
                let item = head();
                let mut page = Page::new();
                let after = (item.code & AFTER != 0).then_some(item.b);
                let prefix = read_name(&Item { code: item.code & !AFTER, ..item })?;
                let limit = usize::try_from(item.x).unwrap_or(usize::MAX);
                self.0.scan(prefix, after, limit, &mut page).map(|()| copy_page(&page, output))
            }
            RANDOM => {
                let mut bytes = vec![0; usize::try_from(head().x).ok().filter(|n| *n <= 4096)?];
                self.0.random(&mut bytes).map(|()| output.push(Item::bytes(0, &bytes)))
            }
            HASH => {
                let salt = head().a;
                let secrets: Vec<&[u8]> = input.iter().skip(1).map(|item| item.a).collect();
                self.0.hash(&secrets, salt).map(|hashes| {
                    hashes.iter().for_each(|hash| output.push(Item::bytes(0, hash)));
                })
            }
            SIGN => self.0.sign(&read_claims(input)?).map(|token| {
                output.push(Item::bytes(0, token.as_bytes()));
            }),
            OPEN => {
                let item = head();
                self.0.open(item.text(), item.text_b()).map(|token| match token {
                    Some(Token::Live(claims)) => write_claims(&claims, LIVE, output),
                    Some(Token::Expired(claims)) => write_claims(&claims, EXPIRED, output),
                    None => {}
                })
            }
            SUBJECT | SUBJECT_OF => {
                let (item, by_id) = (head(), question == SUBJECT);
                let found = if by_id { self.0.subject(item.text()) } else { self.0.subject_of(item.text()) };
                found.map(|subject| subject.iter().for_each(|subject| subject.write(output)))
            }
            COOKIE => self.0.cookie(head().text()).map(|cookie| {
                cookie.iter().for_each(|value| output.push(Item::bytes(0, value.expose().as_bytes())));
            }),
            KNOWN_BROWSER => self.0.is_known_browser(head().text()).map(|known| {
                output.push(Item { code: known.into(), ..Item::default() });
            }),
            MAC => {
                let parts: Vec<&[u8]> = input.iter().map(|item| item.a).collect();
                self.0.mac(&parts).map(|mac| output.push(Item::bytes(0, &mac)))
            }
            _ => return None,
        })
    }
}

/// The kernel's context as a plugin sees it.
struct Remote<'a> {
    asked: &'a dyn Asked,
    now: Time,
    wall: Time,
    facts: Flat,
    caller: OnceCell<Option<Caller>>,
}

impl<'a> Remote<'a> {
    fn new(asked: &'a dyn Asked) -> Result<Self, Refusal> {
        let mut facts = Flat::with_capacity(5, 256);
        outcome(asked.ask(FACTS, &Flat::default(), &mut facts), &facts, "the kernel")?;
        let head = facts.at(0).unwrap_or_default();
        let (now, wall) = (Time::from_secs(head.x), Time::from_secs(head.y));
        Ok(Self { asked, now, wall, facts, caller: OnceCell::new() })
    }
    fn ask(&self, question: u32, input: &Flat) -> Result<Flat, Refusal> {
        let mut output = Flat::default();
        let code = self.asked.ask(question, input, &mut output);
        outcome(code, &output, "the kernel").map(|()| output)
    }
}

impl Context for Remote<'_> {
    fn now(&self) -> Time {
        self.now
    }
    fn wall(&self) -> Time {
        self.wall
    }
    fn caller(&self) -> Option<&Caller> {
        self.caller.get_or_init(|| Caller::read(&self.facts)).as_ref()
    }
    fn sends_mail(&self) -> bool {
        self.facts.at(0).is_some_and(|head| head.code != 0)
    }
    fn subject(&self, id: &str) -> Result<Option<Subject>, Refusal> {
        self.ask(SUBJECT, &single(Item::bytes(0, id.as_bytes()))).map(|output| Subject::read(&output))
    }
    fn subject_of(&self, address: &str) -> Result<Option<Subject>, Refusal> {
        let question = single(Item::bytes(0, address.as_bytes()));
        self.ask(SUBJECT_OF, &question).map(|output| Subject::read(&output))
    }
    fn cookie(&self, name: &str) -> Result<Option<Secret<String>>, Refusal> {
        let output = self.ask(COOKIE, &single(Item::bytes(0, name.as_bytes())))?;
        Ok(output.at(0).map(|item| Secret::new(item.text().into())))
    }
    fn is_known_browser(&self, subject: &str) -> Result<bool, Refusal> {
        let output = self.ask(KNOWN_BROWSER, &single(Item::bytes(0, subject.as_bytes())))?;
        Ok(output.at(0).is_some_and(|item| item.code != 0))
    }
    fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        let mut input = Flat::with_capacity(parts.len(), 128);
        parts.iter().for_each(|part| input.push(Item::bytes(0, part)));
        let output = self.ask(MAC, &input)?;
        output.at(0).and_then(|item| item.a.try_into().ok()).ok_or_else(|| Problem::PluginFault.into())
    }
    fn get(&self, names: &[Name<'_>], found: &mut Found) -> Result<(), Refusal> {
        let mut input = Flat::with_capacity(names.len(), 128);
        for name in names {
            push_name(&mut input, *name, 0, 0, &[]);
        }
        let before = found.len();
        let code = self.asked.ask(GET, &input, &mut found.0);
        outcome(code, &found.0, "the kernel").inspect_err(|_| found.clear())?;
        if found.len() == before + names.len() { Ok(()) } else { Err(StoreError::Corrupt.into()) }
    }
    fn scan(
        &self,
        prefix: Name<'_>,
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), Refusal> {
        let mut input = Flat::with_capacity(1, 128);
        let flag = if after.is_some() { AFTER } else { 0 };
        push_name(&mut input, prefix, flag, limit as u64, after.unwrap_or_default());
        let output = self.ask(SCAN, &input)?;
        let records = output.iter().filter_map(|item| Some((item.a, read_record(&item)?)));
        records.for_each(|(key, record)| page.push(key, record));
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<(), Refusal> {
        let output = self.ask(RANDOM, &single(Item { x: out.len() as u64, ..Item::default() }))?;
        let bytes = output.at(0).map_or(&[][..], |item| item.a);
        if bytes.len() != out.len() {
            return Err(Refusal::new(Problem::PluginFault).because("the kernel gave too few random bytes"));
        }
        out.copy_from_slice(bytes);
        Ok(())
    }
    fn hash(&self, secrets: &[&[u8]], salt: &[u8]) -> Result<Vec<[u8; 32]>, Refusal> {
        let mut input = single(Item::bytes(0, salt));
        secrets.iter().for_each(|secret| input.push(Item::bytes(0, secret)));
        let output = self.ask(HASH, &input)?;
        let hashes: Vec<[u8; 32]> = output.iter().filter_map(|item| item.a.try_into().ok()).collect();
        if hashes.len() == secrets.len() { Ok(hashes) } else { Err(Problem::PluginFault.into()) }
    }
    fn sign(&self, claims: &Claims) -> Result<String, Refusal> {
        let mut input = Flat::with_capacity(2, 256);
        write_claims(claims, LIVE, &mut input);
        let output = self.ask(SIGN, &input)?;
        Ok(output.at(0).ok_or(Problem::PluginFault)?.text().into())
    }
    fn open(&self, purpose: &str, token: &str) -> Result<Option<Token>, Refusal> {
        let item = Item { a: purpose.as_bytes(), b: token.as_bytes(), ..Item::default() };
        let output = self.ask(OPEN, &single(item))?;
        Ok(read_claims(&output).map(|claims| match output.at(0).map(|item| item.code) {
            Some(LIVE) => Token::Live(claims),
            _ => Token::Expired(claims),
        }))
    }
}

// ---- pieces ----

/// In the code of a scanned name, beside the length of its subject.
const AFTER: u32 = 1 << 31;
const LIVE: u32 = 1;
const EXPIRED: u32 = 2;

fn single(item: Item<'_>) -> Flat {
    let mut flat = Flat::with_capacity(2, item.a.len() + item.b.len());
    flat.push(item);
    flat
}

fn push_name(flat: &mut Flat, name: Name<'_>, flag: u32, x: u64, b: &[u8]) {
    let subject = u32::try_from(name.subject.len()).unwrap_or(AFTER - 1).min(AFTER - 1);
    let item = Item { code: subject | flag, x, ..Item::default() };
    flat.push_parts(&item, &[name.subject.as_bytes(), name.name], b.len(), |out| out.copy_from_slice(b));
}

fn read_name<'a>(item: &Item<'a>) -> Option<Name<'a>> {
    let (subject, name) = item.a.split_at_checked(item.code as usize)?;
    Some(Name { subject: std::str::from_utf8(subject).ok()?, name })
}

fn copy_page(page: &Page, output: &mut Flat) {
    page.iter().for_each(|(key, record)| output.push(record_item(key, record)));
}
fn record_item<'a>(key: &'a [u8], record: Record<'a>) -> Item<'a> {
    let (x, y) = (record.version, record.expires_at.secs());
    Item { tag: 1, code: 0, x, y, a: key, b: record.value }
}
fn read_record<'a>(item: &Item<'a>) -> Option<Record<'a>> {
    let expires_at = Time::from_secs(item.y);
    (item.tag == 1).then_some(Record { value: item.b, version: item.x, expires_at })
}

fn write_claims(claims: &Claims, code: u32, flat: &mut Flat) {
    let (a, b) = (claims.purpose.as_bytes(), claims.subject.as_bytes());
    flat.push(Item { tag: 0, code, x: claims.expires_at.secs(), y: 0, a, b });
    flat.push(Item { a: claims.session.as_bytes(), b: claims.id.as_bytes(), ..Item::default() });
}
fn read_claims(flat: &Flat) -> Option<Claims> {
    let (head, more) = (flat.at(0)?, flat.at(1)?);
    Some(Claims {
        purpose: head.text().into(),
        subject: head.text_b().into(),
        session: more.text().into(),
        id: more.text_b().into(),
        expires_at: Time::from_secs(head.x),
    })
}
