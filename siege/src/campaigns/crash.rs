//! `kill -9` under load, on SQLite. Each worker has an account of its own, does one thing after the other, and keeps a
//! book of what was acknowledged; what was under way at the kill may have happened or not, all else is certain.
use super::Run;
use crate::{
    http::{Client, Reply},
    people::Person,
    place::host,
    report::ms,
};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site, project};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// Accounts, each with one request under way at any time.
const WORKERS: usize = 64;
/// So many wrong guesses in a row a worker makes at most: five would lock it.
const GUESSES: u32 = 3;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let kills = run.scale.of(500, 3);
    let mut random = StdRng::seed_from_u64(run.seed);
    let mut site = host("sqlite").stop();
    let mut seen = Seen::default();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::new(random.random())).collect();
    for kill in 0..kills {
        let begun = Instant::now();
        let host = site.start();
        seen.slowest_start = seen.slowest_start.max(begun.elapsed());
        let to = host.address();
        let last = kill + 1 == kills;
        let load = Duration::from_millis(random.random_range(40..400));
        let after = run.runtime.block_on(cycle(to, &mut workers, load, &host))?;
        seen.under_way.push(after);
        site = host.kill();
        if kill % 10 == 0 || last {
            seen.unsound += usize::from(!is_sound(&site)?);
        }
    }
    let host = site.start();
    run.runtime.block_on(async { verify_all(host.address(), &mut workers).await })?;
    let site = host.stop();
    seen.unsound += usize::from(!is_sound(&site)?);
    let books = audit(&site)?;
    for worker in &mut workers {
        worker.retire();
        worker.past.iter().for_each(|book| seen.reconcile(book, &books));
    }
    let (mut acknowledged, mut lost, mut twice) = (0, Vec::new(), Vec::new());
    for worker in workers {
        acknowledged += worker.acknowledged;
        lost.extend(worker.lost);
        twice.extend(worker.twice);
    }
    let told = |what: &[String]| what.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    let mut judge = |requirement, figure: &str, measured: String, holds| {
        run.report.check(("crash", requirement), figure, measured, holds);
    };
    let (least, many) = (
        seen.under_way.iter().min().copied().unwrap_or(0),
        seen.under_way.iter().filter(|n| **n >= 50).count(),
    );
    judge(
        "R51",
        "requests under way: at least 50 at nine of ten kills",
        format!("{many} of {kills} kills, least {least}"),
        many * 10 >= kills * 9,
    );
    judge(
        "R51",
        "acknowledged and lost: 0",
        format!("{} of {acknowledged}{}", lost.len(), told(&lost)),
        lost.is_empty(),
    );
    judge(
        "R51",
        "spent twice: 0",
        format!("{} of {} replays{}", twice.len(), seen_replays(), told(&twice)),
        twice.is_empty(),
    );
    judge(
        "R51",
        "PRAGMA integrity_check: ok",
        format!("{} of the databases unsound", seen.unsound),
        seen.unsound == 0,
    );
    judge(
        "R51",
        "ready within 5 s",
        format!("slowest {}", ms(seen.slowest_start)),
        seen.slowest_start < Duration::from_secs(5),
    );
    let (events, wrong) = (seen.events, &seen.unrecorded);
    judge(
        "R46",
        "one audit record for each event",
        format!("{} accounts differ, {events} events{}", wrong.len(), told(wrong)),
        wrong.is_empty(),
    );
    Ok(())
}

static REPLAYS: AtomicUsize = AtomicUsize::new(0);

fn seen_replays() -> usize {
    REPLAYS.load(SeqCst)
}

#[derive(Default)]
struct Seen {
    under_way: Vec<usize>,
    slowest_start: Duration,
    unsound: usize,
    events: usize,
    unrecorded: Vec<String>,
}

impl Seen {
    /// Each kind of event: at least as many as were acknowledged, and at most one for each unsure one besides.
    fn reconcile(&mut self, book: &Book, audit: &HashMap<String, BTreeMap<String, usize>>) {
        let empty = BTreeMap::new();
        let recorded = audit.get(&book.account).unwrap_or(&empty);
        for (event, certain) in &book.events {
            let (there, unsure) =
                (recorded.get(*event).copied().unwrap_or(0), book.unsure.get(event).copied().unwrap_or(0));
            self.events += certain;
            if there < *certain || there > certain + unsure {
                self.unrecorded
                    .push(format!("{event}: {there} records of {certain} events and {unsure} unsure ones"));
            }
        }
    }
}

/// One time between two starts: what is there is compared, then there is load. Answers how many were under way.
async fn cycle(to: SocketAddr, workers: &mut Vec<Worker>, load: Duration, host: &Host) -> Result<usize> {
    verify_all(to, workers).await?;
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = std::mem::take(workers)
        .into_iter()
        .map(|mut worker| {
            let stop = stop.clone();
            tokio::spawn(async move {
                // Whatever breaks off was under way at the kill.
                while !stop.load(SeqCst) && worker.act(to).await.is_ok() {}
                worker
            })
        })
        .collect();
    tokio::time::sleep(load).await;
    let under_way = UNDER_WAY.load(SeqCst);
    let killed =
        rustix::process::Pid::from_raw(i32::try_from(host.server().id())?).context("a process id")?;
    rustix::process::kill_process(killed, rustix::process::Signal::KILL)?;
    stop.store(true, SeqCst);
    for task in tasks {
        workers.push(task.await?);
    }
    Ok(under_way)
}

async fn verify_all(to: SocketAddr, workers: &mut Vec<Worker>) -> Result<()> {
    let tasks: Vec<_> = std::mem::take(workers)
        .into_iter()
        .map(|mut worker| {
            tokio::spawn(async move {
                let verified = match worker.person {
                    Some(_) => worker.verify(to).await,
                    None => worker.settle(to).await,
                };
                (worker, verified)
            })
        })
        .collect();
    for task in tasks {
        let (worker, verified) = task.await?;
        verified.context("a host that has just started")?;
        workers.push(worker);
    }
    Ok(())
}

/// On a copy, so that it is the host that has to recover the database.
fn is_sound(site: &Site) -> Result<bool> {
    let dir = tempfile::tempdir()?;
    for name in ["countersign.db", "countersign.db-wal"] {
        let from = site.path("data").join(name);
        if from.exists() {
            fs::copy(&from, dir.path().join(name))?;
        }
    }
    let said = project::command("sqlite3")
        .arg(dir.path().join("countersign.db"))
        .arg("PRAGMA integrity_check")
        .output()?;
    Ok(said.status.success() && said.stdout.trim_ascii() == b"ok")
}

/// For each account, how many records there are of each event.
fn audit(site: &Site) -> Result<HashMap<String, BTreeMap<String, usize>>> {
    let output = site.run(&["audit", "tail", "--json", "--since", "2020-01-01"]);
    anyhow::ensure!(output.status.success(), "audit tail: {}", String::from_utf8_lossy(&output.stderr));
    let mut counts: HashMap<String, BTreeMap<String, usize>> = HashMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        let (account, name) = (&event["subject"], &event["event"]);
        let name = format!(
            "{}{}",
            name.as_str().unwrap_or_default(),
            if event["success"] == true { "" } else { "!" }
        );
        *counts.entry(account.as_str().unwrap_or_default().into()).or_default().entry(name).or_default() += 1;
    }
    Ok(counts)
}

/// What a worker knows of one account's events.
#[derive(Default)]
struct Book {
    account: String,
    events: BTreeMap<&'static str, usize>,
    unsure: BTreeMap<&'static str, usize>,
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

struct Worker {
    random: StdRng,
    person: Option<Person>,
    book: Book,
    past: Vec<Book>,
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
    acknowledged: usize,
    lost: Vec<String>,
    twice: Vec<String>,
}

impl Worker {
    fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
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
    fn retire(&mut self) {
        if self.person.take().is_some() {
            self.past.push(std::mem::take(&mut self.book));
        }
        (self.challenge, self.session, self.failures, self.proven) = (None, None, 0, None);
        self.ended.clear();
        self.codes.clear();
        self.spent.clear();
        self.doing = None;
    }

    async fn settle(&mut self, to: SocketAddr) -> Result<()> {
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
    async fn act(&mut self, to: SocketAddr) -> Result<()> {
        let Some(person) = self.person.as_ref() else {
            UNDER_WAY.fetch_add(1, SeqCst);
            let settled = self.settle(to).await;
            UNDER_WAY.fetch_sub(1, SeqCst);
            if settled.is_err() {
                self.retire();
            }
            return settled;
        };
        let mut client = Client::new(to);
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
        UNDER_WAY.fetch_add(1, SeqCst);
        let reply = client.post(path, body).await;
        UNDER_WAY.fetch_sub(1, SeqCst);
        let reply = reply?;
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
    async fn verify(&mut self, to: SocketAddr) -> Result<()> {
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
