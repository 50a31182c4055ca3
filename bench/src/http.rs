//! Rows about a host: each operation at full load, and right before it the bare server under the same load.
use crate::{
    hello::Served,
    load::{CONNECTIONS, Load, Ran},
    people::Person,
    process,
    report::{Row, median, micros},
};
use anyhow::{Context, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use countersign_test_kit::{Host, Mail, PASSWORD, Site, project, totp};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    thread::{self, sleep},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::{TempDir, tempdir};

/// So many warnings and errors tell what went wrong.
const LOG_LINES: usize = 20;

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// How often everything is measured; what counts is the median.
    pub(crate) repeats: usize,
    /// How long what can be repeated is.
    pub(crate) window: Duration,
    /// How many accounts, each of which is used once a repeat.
    pub(crate) people: usize,
    /// How many of them do what takes a password hash.
    pub(crate) hashing: usize,
    /// Whether the host's clock is moved, instead of waiting for the next code of an app. That costs its time.
    pub(crate) moves_clock: bool,
}

/// What is promised of an operation.
#[derive(Clone, Copy, Default)]
struct Goal {
    /// Of the reference's rate, at least.
    ratio: Option<f64>,
    cpu: Option<Duration>,
    p99: Option<Duration>,
}

impl Goal {
    const fn ratio(ratio: f64) -> Self {
        Self { ratio: Some(ratio), cpu: None, p99: None }
    }
    fn text(self) -> String {
        let ratio = self.ratio.map(|ratio| format!("≥ {ratio:.2}"));
        let cpu = self.cpu.map(|cpu| format!("≤ {} µs CPU", cpu.as_micros()));
        let p99 = self.p99.map(|p99| format!("p99 ≤ {} ms", p99.as_millis()));
        let all: Vec<String> = [ratio, cpu, p99].into_iter().flatten().collect();
        all.join(", ")
    }
}

/// One operation, over all repeats.
struct Operation {
    name: String,
    goal: Goal,
    samples: Vec<Sample>,
}

struct Sample {
    rate: f64,
    ratio: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

impl Operation {
    fn new(name: String, goal: Goal) -> Self {
        Self { name, goal, samples: Vec::new() }
    }
    /// Runs it with what it is compared with before and after, and notes what came of it.
    fn beside(
        &mut self,
        reference: impl Fn() -> Result<f64>,
        run: impl FnOnce() -> Result<Ran>,
    ) -> Result<Ran> {
        let before = reference()?;
        let ran = run().with_context(|| self.name.clone())?;
        self.samples.push(sample(&ran, f64::midpoint(before, reference()?)));
        Ok(ran)
    }

    fn row(&self) -> Row {
        let middle = |value: fn(&Sample) -> f64| median(self.samples.iter().map(value).collect());
        let time = |micros: f64| Duration::from_secs_f64(micros / 1e6);
        let (ratio, cpu) = (middle(|s| s.ratio), time(middle(|s| s.cpu)));
        let (p50, p99) = (time(middle(|s| s.p50)), time(middle(|s| s.p99)));
        let Goal { ratio: wanted, cpu: most, p99: latest } = self.goal;
        let is_promised = wanted.is_some() || most.is_some() || latest.is_some();
        let holds = wanted.is_none_or(|wanted| ratio >= wanted)
            && most.is_none_or(|most| cpu <= most)
            && latest.is_none_or(|latest| p99 <= latest);
        Row {
            name: self.name.clone(),
            goal: self.goal.text(),
            measured: format!("{:.0}/s", middle(|s| s.rate)),
            ratio: Some(ratio),
            cpu: Some(micros(cpu)),
            p50: Some(micros(p50)),
            p99: Some(micros(p99)),
            holds: is_promised.then_some(holds),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn rate(ran: &Ran) -> f64 {
    ran.latencies.len() as f64 / ran.took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn sample(ran: &Ran, hello: f64) -> Sample {
    let at =
        |part: usize| micros(ran.latencies[(ran.latencies.len() * part / 100).min(ran.latencies.len() - 1)]);
    let rate = rate(ran);
    let cpu = micros(ran.cpu) / ran.latencies.len() as f64;
    Sample { rate, ratio: rate / hello, cpu, p50: at(50), p99: at(99) }
}

/// A host with its crowd.
pub(crate) struct Stage<'h> {
    store: &'static str,
    size: Size,
    hello: &'h Served,
    /// The same accounts at a server that somebody wrote by hand, on SQLite too, with its database.
    by_hand: Option<(Served, TempDir)>,
    host: Host,
    people: Vec<Person>,
    /// The sessions of the last round of logins.
    sessions: Vec<String>,
    /// The last time step that the apps have shown.
    shown: u64,
}

fn by_hand(accounts: usize) -> Result<(Served, TempDir)> {
    let dir = tempdir()?;
    let place = dir.path().display().to_string();
    Ok((Served::start("reference", &[&place, &accounts.to_string()])?, dir))
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

impl<'h> Stage<'h> {
    pub(crate) fn new(store: &'static str, size: Size, hello: &'h Served) -> Result<Self> {
        let site = Site::with_store(store).with_mail();
        // Whoever only looks whether this works does not wait for the next code.
        let site = if size.moves_clock { site.with_clock() } else { site };
        // What is measured are whole crowds within minutes: nobody waits for a quota, and nothing expires meanwhile.
        site.set("mfa.challenge_ttl", "1h");
        site.set("mfa.magic_link.ttl", "1h");
        site.set("mfa.email_otp.sends", 10);
        site.set("mfa.email_otp.per", "1s");
        if store == "memory" {
            site.set("store.memory.max_records", 10_000_000);
            site.set("store.memory.max_bytes", "2 GiB");
        }
        let host = site.start();
        let people = Person::crowd(&host, size.people)?;
        let by_hand = (store == "sqlite" && !size.moves_clock).then(|| by_hand(size.people)).transpose()?;
        let mut stage = Self { store, size, hello, by_hand, host, people, sessions: Vec::new(), shown: 0 };
        // What is imported is spent up to the step after this one.
        stage.shown = stage.step_now() + 1;
        Ok(stage)
    }

    fn step_now(&self) -> u64 {
        let now = if self.size.moves_clock { self.host.site().clock().now() } else { unix() };
        now / totp::STEP
    }
    /// A time step of which no code was shown. One of the next step is good already.
    fn step(&mut self) -> u64 {
        let step = (self.shown + 1).max(self.step_now());
        while step > self.step_now() + 1 {
            if self.size.moves_clock {
                self.host.site().clock().advance(Duration::from_secs(totp::STEP));
            } else {
                sleep(Duration::from_millis(100));
            }
        }
        self.shown = step;
        step
    }

    pub(crate) fn process(&self) -> u32 {
        self.host.server().id()
    }

    fn request(&self, method: &str, path: &str, bearer: &str, body: Option<&Value>) -> Vec<u8> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut text = format!("{method} /api/auth{path} HTTP/1.1\r\nhost: {}\r\n", self.host.address());
        if !bearer.is_empty() {
            let _ = write!(text, "authorization: Bearer {bearer}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(text, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        (text + "\r\n" + &body).into_bytes()
    }
    fn post(&self, path: &str, body: &Value) -> Vec<u8> {
        self.request("POST", path, "", Some(body))
    }
    fn load<'l>(&self, requests: &'l [Vec<u8>], status: u16) -> Load<'l> {
        let (to, process) = (self.host.address(), self.process());
        Load { to, process, connections: CONNECTIONS, requests, status }
    }
    fn ask_all(&self, requests: &[Vec<u8>], status: u16) -> Result<Ran> {
        self.load(requests, status).each()
    }

    /// What the bare server answers a second, at this moment.
    fn reference(&self) -> Result<f64> {
        let request = [self.hello.request()];
        let (to, process) = (self.hello.address(), self.hello.id());
        let load = Load { to, process, connections: CONNECTIONS, requests: &request, status: 200 };
        Ok(rate(&load.during(self.size.window / 2)?))
    }

    /// Runs something with the bare server before and after it, and notes what came of it.
    fn measure(&self, operation: &mut Operation, run: impl FnOnce() -> Result<Ran>) -> Result<Ran> {
        operation.beside(|| self.reference(), run)
    }

    /// Mails a link to everybody; answers the requests that confirm them.
    fn links(&self) -> Result<Vec<Vec<u8>>> {
        let mut confirm = Vec::new();
        // The outbox holds a thousand.
        for some in self.people.chunks(400) {
            let sends: Vec<_> = some
                .iter()
                .map(|person| self.post("/mfa/magic-link/send", &json!({ "email": person.email })))
                .collect();
            self.ask_all(&sends, 202)?;
            for person in some {
                let mail =
                    self.host.site().mailbox().take_where(&person.email, |mail| mail.text.contains("token="));
                let body = json!({ "token": mail.token(), "session": "bearer" });
                confirm.push(self.post("/mfa/magic-link/verify", &body));
            }
        }
        Ok(confirm)
    }

    /// The requests that meet the challenges in these answers with codes of the app.
    fn codes(&mut self, answers: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let step = self.step();
        let proofs = self.people.iter().zip(answers).map(|(person, answer)| {
            let body = json!({ "challenge": member(answer, "challenge")?, "code": person.code(step)? });
            Ok(self.post("/mfa/totp/verify", &body))
        });
        proofs.collect()
    }

    /// The logins of those who do what takes a hash.
    fn logins(&self) -> Vec<Vec<u8>> {
        let people = self.people.iter().take(self.size.hashing);
        people
            .map(|person| {
                let body = json!({ "email": person.email, "password": PASSWORD, "session": "bearer" });
                self.post("/login", &body)
            })
            .collect()
    }

    /// Codes by mail for these challenges; answers the requests that show them.
    fn mailed_codes(&self, challenges: &[String]) -> Result<Vec<Vec<u8>>> {
        let mut show = Vec::new();
        let people: Vec<_> = self.people.iter().zip(challenges).collect();
        for some in people.chunks(400) {
            let sends: Vec<_> = some
                .iter()
                .map(|(_, challenge)| self.post("/mfa/otp/send", &json!({ "challenge": challenge })))
                .collect();
            self.ask_all(&sends, 202)?;
            for (person, challenge) in some {
                let mail = self.host.site().mailbox().take_where(&person.email, has_code);
                show.push(
                    self.post("/mfa/otp/verify", &json!({ "challenge": challenge, "code": mail.code() })),
                );
            }
        }
        Ok(show)
    }

    /// A new set of recovery codes for those who do what takes a hash, who have just shown their app.
    fn recovery_codes(&self) -> Result<Vec<Vec<String>>> {
        let holders = self.sessions.iter().take(self.size.hashing);
        let asks: Vec<_> = holders
            .map(|token| self.request("POST", "/mfa/recovery/generate", token, Some(&json!({}))))
            .collect();
        // Few at a time: each is as many hashes as codes.
        let ran = Load { connections: 4, ..self.load(&asks, 200) }.each()?;
        ran.bodies
            .iter()
            .map(|body| {
                let body: Value = serde_json::from_slice(body)?;
                let codes = body["recovery_codes"].as_array().context("no codes")?;
                Ok(codes.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            })
            .collect()
    }

    /// The codes that were shown last at the server that somebody wrote by hand.
    fn compare(&self, rows: &mut Rows) -> Result<()> {
        let Some((server, _)) = &self.by_hand else { return Ok(()) };
        let show = |person: &Person| {
            let body =
                json!({ "user": person.number.to_string(), "code": person.code(self.shown)? }).to_string();
            let head = format!(
                "POST /verify HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                server.address(),
                body.len()
            );
            Ok((head + &body).into_bytes())
        };
        let show: Vec<_> = self.people.iter().map(show).collect::<Result<_>>()?;
        let (to, process) = (server.address(), server.id());
        let ran = Load { to, process, connections: CONNECTIONS, requests: &show, status: 200 }.each()?;
        let ours = rows.totp.samples.last().map_or(0.0, |sample| sample.rate);
        let sample = sample(&ran, 1.0);
        rows.by_hand.samples.push(Sample { ratio: ours / sample.rate, ..sample });
        Ok(())
    }

    /// Everything once, in the order in which people do it.
    fn round(&mut self, rows: &mut Rows, codes: &mut [Vec<String>]) -> Result<()> {
        let confirm = self.links()?;
        let answers = self.measure(&mut rows.link, || self.ask_all(&confirm, 202))?.bodies;
        let proofs = self.codes(&answers)?;
        let answers = self.measure(&mut rows.totp, || self.ask_all(&proofs, 200))?.bodies;
        self.sessions = answers.iter().map(|answer| member(answer, "token")).collect::<Result<_>>()?;

        self.compare(rows)?;
        let checks: Vec<_> =
            self.sessions.iter().map(|token| self.request("GET", "/verify", token, None)).collect();
        self.measure(&mut rows.session, || self.load(&checks, 200).during(self.size.window))?;

        let logins = self.logins();
        let answers = rows.login.beside(|| argon2id(self.size.window), || self.ask_all(&logins, 202))?.bodies;
        let challenges: Vec<String> =
            answers.iter().map(|answer| member(answer, "challenge")).collect::<Result<_>>()?;
        let show = self.mailed_codes(&challenges)?;
        self.measure(&mut rows.email, || self.ask_all(&show, 200))?;

        let answers = self.ask_all(&logins, 202)?.bodies;
        let recover = answers.iter().zip(codes).map(|(answer, codes)| {
            let code = codes.pop().context("the recovery codes are used up")?;
            Ok(self.post(
                "/mfa/recovery/verify",
                &json!({ "challenge": member(answer, "challenge")?, "code": code }),
            ))
        });
        let recover: Vec<_> = recover.collect::<Result<_>>()?;
        self.measure(&mut rows.recovery, || self.ask_all(&recover, 200))?;
        Ok(())
    }

    /// All rows of this host. What it logged is kept when anything fails.
    pub(crate) fn rows(&mut self) -> Result<Vec<Row>> {
        self.measured().map_err(|error| match self.keep_log() {
            Ok(told) => error.context(told),
            Err(lost) => error.context(format!("its log is lost: {lost:#}")),
        })
    }

    /// Where the log is now, and what went wrong last.
    fn keep_log(&self) -> Result<String> {
        let (log, kept) = (self.host.site().log(), project::target_dir()?.join("bench-host.log"));
        fs::write(&kept, &log).with_context(|| kept.display().to_string())?;
        let mut lines: Vec<&str> = log.lines().filter(|line| !line.contains(r#""level":"info""#)).collect();
        let last = lines.split_off(lines.len().saturating_sub(LOG_LINES)).join("\n");
        Ok(format!("the host's log is in {}; the last of its warnings and errors:\n{last}\n", kept.display()))
    }

    fn measured(&mut self) -> Result<Vec<Row>> {
        let mut rows = Rows::new(self.store);
        self.warm_up()?;
        let mut codes = self.recovery_codes()?;
        for _ in 0..self.size.repeats {
            self.round(&mut rows, &mut codes)?;
        }
        let measured = |operation: &&&Operation| !operation.samples.is_empty();
        Ok(rows.all().iter().filter(measured).map(|operation| operation.row()).collect())
    }

    /// Logs everybody in once. Their owners are told of a new browser, which happens once an hour.
    fn warm_up(&mut self) -> Result<()> {
        let confirm = self.links()?;
        let answers = self.ask_all(&confirm, 202)?.bodies;
        let proofs = self.codes(&answers)?;
        let answers = self.ask_all(&proofs, 200)?.bodies;
        self.sessions = answers.iter().map(|answer| member(answer, "token")).collect::<Result<_>>()?;
        Ok(())
    }

    /// The rates of session checks and of the bare server at each of these numbers of connections.
    pub(crate) fn by_connections(&self, connections: &[usize]) -> Result<[Vec<(f64, f64)>; 2]> {
        let checks: Vec<_> =
            self.sessions.iter().map(|token| self.request("GET", "/verify", token, None)).collect();
        let request = [self.hello.request()];
        let hello = Load { to: self.hello.address(), process: self.hello.id(), ..self.load(&request, 200) };
        let rates = |load: &Load<'_>| -> Result<Vec<(f64, f64)>> {
            let point = |&connections: &usize| {
                let ran = Load { connections, ..*load }.during(self.size.window)?;
                #[expect(clippy::cast_precision_loss, reason = "counts of connections")]
                Ok((connections as f64, rate(&ran)))
            };
            connections.iter().map(point).collect()
        };
        Ok([rates(&self.load(&checks, 200))?, rates(&hello)?])
    }

    /// The most memory that the host has had, in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        process::peak(self.process())
    }
}

/// Operations of one host.
struct Rows {
    session: Operation,
    totp: Operation,
    by_hand: Operation,
    link: Operation,
    email: Operation,
    recovery: Operation,
    login: Operation,
}

impl Rows {
    fn new(store: &str) -> Self {
        let durable = store == "sqlite";
        let row = |name: &str, goal: Goal| Operation::new(format!("{name}, {store}"), goal);
        let only_durable = |ratio| if durable { Goal::ratio(ratio) } else { Goal::default() };
        let session = Goal {
            ratio: Some(if durable { 0.65 } else { 0.80 }),
            cpu: durable.then_some(Duration::from_micros(13)),
            p99: durable.then_some(Duration::from_millis(2)),
        };
        Self {
            session: row("session check (GET /verify)", session),
            totp: row("TOTP verify → session", Goal::ratio(if durable { 0.18 } else { 0.65 })),
            by_hand: row("the same at a server written by hand; ratio: ours of its rate", Goal::ratio(1.0)),
            link: row("magic link verify", only_durable(0.15)),
            email: row("e-mail code verify", only_durable(0.15)),
            recovery: row("recovery code verify", Goal::default()),
            login: row("password login, × argon2id on 2 threads", Goal::ratio(0.9)),
        }
    }
    fn all(&self) -> [&Operation; 7] {
        [&self.session, &self.totp, &self.by_hand, &self.link, &self.email, &self.recovery, &self.login]
    }
}

/// Whether it is the mail that somebody waits for: notices come as well.
fn has_code(mail: &Mail) -> bool {
    mail.text.lines().any(|line| line.len() == 6 && line.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Hashes a second of two threads, each with a buffer of its own, at the cost that a host has by default.
fn argon2id(window: Duration) -> Result<f64> {
    let hash = || -> Result<u32> {
        let told = |error: argon2::Error| anyhow::anyhow!("argon2: {error}");
        let params = Params::new(19 << 10, 2, 1, Some(32)).map_err(told)?;
        let mut memory = vec![Block::default(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (begun, mut hashes, mut out) = (Instant::now(), 0, [0; 32]);
        while begun.elapsed() < window {
            argon2
                .hash_password_into_with_memory(PASSWORD.as_bytes(), &[7; 16], &mut out, &mut memory)
                .map_err(told)?;
            hashes += 1;
        }
        Ok(hashes)
    };
    let begun = Instant::now();
    let hashes = thread::scope(|scope| {
        let both = [scope.spawn(hash), scope.spawn(hash)];
        both.into_iter().try_fold(0, |sum, one| Ok::<_, anyhow::Error>(sum + one.join().unwrap_or(Ok(0))?))
    })?;
    Ok(f64::from(hashes) / begun.elapsed().as_secs_f64())
}

fn member(answer: &[u8], name: &str) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    answer[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {answer}"))
}
