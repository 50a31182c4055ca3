//! Who is at work when the host is killed, and the book that each keeps.
use crate::{
    http::{Client, Reply},
    people::Person,
};
use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// So many wrong guesses in a row a worker makes at most: five would lock it.
const GUESSES: u32 = 3;

pub(super) static REPLAYS: AtomicUsize = AtomicUsize::new(0);

/// What a worker knows of one account's events.
#[derive(Default)]
pub(super) struct Book {
    pub(super) account: String,
    pub(super) events: BTreeMap<&'static str, usize>,
    pub(super) unsure: BTreeMap<&'static str, usize>,
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    SignIn,
    Guess,
    Spend(String),
    Prove,
    Cancel,
    LogOut,
}

impl Doing {
    /// The event that it leaves.
    fn event(&self) -> &'static str {
        match self {
            Self::SignIn => "login.challenged",
            Self::Guess => "mfa.totp.refused!",
            Self::Spend(_) => "mfa.recovery.verified",
            Self::Prove => "mfa.totp.verified",
            Self::Cancel => "mfa.challenge.cancelled",
            Self::LogOut => "logout",
        }
    }
}

pub(super) struct Worker {
    random: StdRng,
    under_way: Arc<AtomicUsize>,
    pub(super) person: Option<Person>,
    book: Book,
    pub(super) past: Vec<Book>,
    /// The open challenge, and how many wrong guesses it has seen.
    challenge: Option<(String, u32)>,
    /// Wrong guesses since the last success.
    failures: u32,
    session: Option<String>,
    ended: Vec<String>,
    codes: Vec<String>,
    spent: Vec<String>,
    /// The code of an authenticator that was last accepted.
    proven: Option<String>,
    doing: Option<Doing>,
    pub(super) acknowledged: usize,
    pub(super) lost: Vec<String>,
    pub(super) twice: Vec<String>,
}

impl Worker {
    /// One that counts what it has under way.
    pub(super) fn new(seed: u64, under_way: &Arc<AtomicUsize>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            under_way: under_way.clone(),
            person: None,
            book: Book::default(),
            past: Vec::new(),
            challenge: None,
            failures: 0,
            session: None,
            ended: Vec::new(),
            codes: Vec::new(),
            spent: Vec::new(),
            proven: None,
            doing: None,
            acknowledged: 0,
            lost: Vec::new(),
            twice: Vec::new(),
        }
    }

    /// Lets go of the account.
    pub(super) fn retire(&mut self) {
        if self.person.take().is_some() {
            self.past.push(std::mem::take(&mut self.book));
        }
        (self.challenge, self.session, self.failures, self.proven) = (None, None, 0, None);
        self.ended.clear();
        self.codes.clear();
        self.spent.clear();
        self.doing = None;
    }

    pub(super) async fn settle(&mut self, to: SocketAddr) -> Result<()> {
        let person = Person::enrolled(to, "crash").await?;
        let user = person.client(to).get("/session").await?.expect(200)?;
        user.json()["user"]["id"].as_str().context("an id")?.clone_into(&mut self.book.account);
        self.codes.clone_from(&person.codes);
        // Its activation has spent a time step, and its own session is as good as another.
        self.session = Some(person.token.clone());
        self.person = Some(person);
        Ok(())
    }

    /// One thing. An error says that the host has gone.
    pub(super) async fn act(&mut self, to: SocketAddr) -> Result<()> {
        let Some(person) = self.person.as_ref() else {
            let settled = self.settle(to).await;
            if settled.is_err() {
                self.retire();
            }
            return settled;
        };
        let mut client = Client::new(to).counted(&self.under_way);
        let dice = self.random.random_range(0..100);
        if let Some(session) = self.session.clone() {
            return self.log_out(client.with_bearer(&session), session).await;
        }
        let Some((challenge, guesses)) = self.challenge.clone() else {
            let credentials = person.credentials();
            let Some(reply) = self.ask(Doing::SignIn, &mut client, "/login", &credentials).await? else {
                return Ok(());
            };
            self.noted(&Doing::SignIn, &reply, 202);
            self.challenge = reply.member("challenge").map(|token| (token, 0));
            return Ok(());
        };
        match dice {
            0..40 if self.failures < GUESSES => {
                let body = json!({ "code": person.wrong_code()?, "challenge": challenge });
                let Some(reply) = self.ask(Doing::Guess, &mut client, "/mfa/totp/verify", &body).await?
                else {
                    return Ok(());
                };
                self.noted(&Doing::Guess, &reply, 401);
                self.failed(&challenge, guesses);
                Ok(())
            }
            40..55 if self.failures < GUESSES => self.replay(client, &challenge, guesses).await,
            55..70 => {
                let body = json!({ "challenge": challenge });
                let Some(reply) =
                    self.ask(Doing::Cancel, &mut client, "/mfa/challenge/cancel", &body).await?
                else {
                    return Ok(());
                };
                self.noted(&Doing::Cancel, &reply, 204);
                self.challenge = None;
                Ok(())
            }
            70..85 => self.prove(client, &challenge).await,
            _ => self.spend(client, &challenge).await,
        }
    }

    fn failed(&mut self, challenge: &str, guesses: u32) {
        self.failures += 1;
        self.challenge = Some((challenge.to_owned(), guesses + 1));
    }

    async fn log_out(&mut self, mut client: Client, session: String) -> Result<()> {
        let Some(reply) = self.ask(Doing::LogOut, &mut client, "/logout", &json!({})).await? else {
            return Ok(());
        };
        self.noted(&Doing::LogOut, &reply, 204);
        self.session = None;
        self.ended.push(session);
        Ok(())
    }

    async fn spend(&mut self, mut client: Client, challenge: &str) -> Result<()> {
        let Some(code) = self.codes.pop() else {
            self.retire();
            return Ok(());
        };
        let body = json!({ "code": code, "challenge": challenge });
        let doing = Doing::Spend(code.clone());
        let Some(reply) = self.ask(doing.clone(), &mut client, "/mfa/recovery/verify", &body).await? else {
            self.codes.push(code);
            return Ok(());
        };
        self.noted(&doing, &reply, 200);
        self.let_in(&reply);
        self.spent.push(code);
        Ok(())
    }

    async fn prove(&mut self, mut client: Client, challenge: &str) -> Result<()> {
        let Some(person) = self.person.as_mut() else { return Ok(()) };
        let Some(code) = person.code_at_once()? else { return Ok(()) };
        let body = json!({ "code": code, "challenge": challenge });
        let Some(reply) = self.ask(Doing::Prove, &mut client, "/mfa/totp/verify", &body).await? else {
            return Ok(());
        };
        self.noted(&Doing::Prove, &reply, 200);
        self.let_in(&reply);
        self.proven = Some(code);
        Ok(())
    }

    fn let_in(&mut self, reply: &Reply) {
        self.session = reply.member("token");
        self.challenge = None;
        self.failures = 0;
    }

    /// What was spent, once more.
    async fn replay(&mut self, mut client: Client, challenge: &str, guesses: u32) -> Result<()> {
        let (path, code) = match (self.spent.last(), &self.proven) {
            (Some(code), _) if self.random.random_bool(0.5) => ("/mfa/recovery/verify", code.clone()),
            (_, Some(code)) => ("/mfa/totp/verify", code.clone()),
            _ => return Ok(()),
        };
        let is_totp = path.contains("totp");
        let body = json!({ "code": code, "challenge": challenge });
        let Some(reply) = self.ask(Doing::Guess, &mut client, path, &body).await? else { return Ok(()) };
        REPLAYS.fetch_add(1, SeqCst);
        if reply.status == 200 {
            self.twice.push(format!("{path} let in with a code that was spent"));
            self.let_in(&reply);
            return Ok(());
        }
        if is_totp {
            self.noted(&Doing::Guess, &reply, 401);
        } else {
            self.acknowledged += 1;
            *self.book.events.entry("mfa.recovery.refused!").or_default() += 1;
        }
        self.failed(challenge, guesses);
        Ok(())
    }

    /// Sends it; `None` when the host was too busy to do it, and nothing has happened.
    async fn ask(
        &mut self,
        doing: Doing,
        client: &mut Client,
        path: &str,
        body: &Value,
    ) -> Result<Option<Reply>> {
        self.doing = Some(doing);
        let reply = client.post(path, body).await?;
        self.doing = None;
        if reply.status == 503 {
            anyhow::ensure!(reply.problem() == "busy", "{}", reply.text());
            return Ok(None);
        }
        Ok(Some(reply))
    }

    /// Acknowledged.
    fn noted(&mut self, doing: &Doing, reply: &Reply, status: u16) {
        if reply.status != status {
            self.lost.push(format!("{doing:?}: {} instead of {status}", reply.label()));
        }
        self.acknowledged += 1;
        *self.book.events.entry(doing.event()).or_default() += 1;
    }

    /// Compares what is there with the book.
    pub(super) async fn verify(&mut self, to: SocketAddr) -> Result<()> {
        let unsure = self.doing.take();
        if let Some(doing) = &unsure {
            *self.book.unsure.entry(doing.event()).or_default() += 1;
            // A replay of a recovery code is noted as a guess as well.
            if *doing == Doing::Guess {
                *self.book.unsure.entry("mfa.recovery.refused!").or_default() += 1;
            }
        }
        for token in self.ended.iter().rev().take(3) {
            let status = Client::new(to).with_bearer(token).get("/session").await?.status;
            if status != 401 {
                self.lost.push(format!("a session that was ended answers {status}"));
            }
        }
        if let Some(token) = self.session.clone() {
            let mut client = Client::new(to).with_bearer(&token);
            let reply = client.get("/mfa/status").await?;
            if reply.status != 200 && unsure != Some(Doing::LogOut) {
                self.lost.push(format!("a session is gone: {}", reply.label()));
            }
            if reply.status == 200 {
                self.compare_codes(&reply.json());
            } else {
                self.session = None;
            }
        }
        if let Some((token, guesses)) = self.challenge.take() {
            self.verify_challenge(to, token, guesses, unsure).await?;
        }
        Ok(())
    }

    fn compare_codes(&mut self, status: &Value) {
        let remaining = status["recovery_codes_remaining"].as_u64().unwrap_or(99);
        if remaining != self.codes.len() as u64 {
            self.lost.push(format!("{remaining} recovery codes instead of {}", self.codes.len()));
        }
    }

    async fn verify_challenge(
        &mut self,
        to: SocketAddr,
        token: String,
        guesses: u32,
        unsure: Option<Doing>,
    ) -> Result<()> {
        let path = format!("/mfa/challenge/status?challenge={token}");
        let reply = Client::new(to).get(&path).await?;
        let answer = reply.json();
        let (state, left) = (answer["status"].as_str().unwrap_or_default(), answer["attempts_left"].as_u64());
        let left_after = |more: u32| Some(u64::from(5 - (guesses + more).max(self.failures + more)));
        match (state, &unsure) {
            ("pending", Some(Doing::Guess)) if left == left_after(1) => {
                self.failures += 1;
                self.challenge = Some((token, guesses + 1));
            }
            ("pending", _) if left == left_after(0) => {
                self.challenge = Some((token, guesses));
                if let Some(Doing::Spend(code)) = unsure {
                    self.codes.push(code);
                }
            }
            // It happened, and nobody was told.
            ("completed", Some(Doing::Spend(code))) => {
                self.spent.push(code.clone());
                self.failures = 0;
            }
            ("completed", Some(Doing::Prove)) => self.failures = 0,
            ("expired", Some(Doing::Cancel)) => {}
            _ => self.lost.push(format!(
                "a challenge with {guesses} wrong guesses of {} is `{state}` with {left:?} left, after {unsure:?}",
                self.failures
            )),
        }
        Ok(())
    }
}
