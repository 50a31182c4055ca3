//! Everything that works once, used by a hundred at the same instant; budgets and quotas likewise.
use super::Run;
use crate::{
    http::{Client, Reply},
    people::{PASSWORD, Person, address, patiently},
    place::{STORES, host},
};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Mail};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Barrier;

type Outcome = Result<Option<String>>;

type Round<'h> = Pin<Box<dyn Future<Output = Outcome> + 'h>>;

/// A race: its requirement, what must come of it, and one round, which answers what went wrong.
struct Race {
    requirement: &'static str,
    figure: &'static str,
    round: for<'h> fn(&'h Host, usize) -> Round<'h>,
}

macro_rules! race {
    ($requirement:literal, $figure:literal, $round:ident) => {
        Race {
            requirement: $requirement,
            figure: $figure,
            round: |host, crowd| Box::pin($round(host, crowd)),
        }
    };
}

const RACES: &[Race] = &[
    race!("R01", "one time step over two challenges: 1 session", totp_step),
    race!("R07", "one recovery code: 1 session", recovery_code),
    race!("R07", "8 recovery codes, an eighth of the crowd on each: 8 sessions", all_recovery_codes),
    race!("R26", "one challenge and 8 good codes: 1 session", challenge),
    race!("R11", "one code by mail: 1 session", mailed_code),
    race!("R37", "one magic link: 1 session", magic_link),
    race!("R34", "one reset link: 1 new password", reset_link),
    race!("R01", "one enrolment: 1 factor, 8 recovery codes", enrolment),
    race!("R16", "wrong guesses over 5 challenges and 10 addresses: 5 evaluated", budget),
    race!("R29", "the old token during and after the upgrade: 0 uses", rotation),
    race!("R34", "sessions in flight when the password changes: 0 uses afterwards", change),
    race!("R41", "one trust cookie: 1 trusted login", trust),
    race!("R11", "requests for a code by mail: 3 sent, 3 mails", code_quota),
    race!("R37", "requests for a link: all 202, at most 3 mails", link_quota),
    race!("-", "one address, registered by many: 1 account", registration),
];

#[expect(clippy::unnecessary_wraps, reason = "the form of every campaign")]
pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let (rounds, crowd) = (run.scale.of(50, 1), run.scale.of(100, 20).min(100));
    for store in STORES {
        let host = host(store);
        for race in RACES {
            let outcomes: Vec<Outcome> = run.runtime.block_on(async {
                let mut outcomes = Vec::new();
                for _ in 0..rounds {
                    outcomes.push((race.round)(&host, crowd).await);
                }
                outcomes
            });
            let mut wrong = BTreeMap::<String, usize>::new();
            for outcome in outcomes {
                if let Some(what) =
                    outcome.unwrap_or_else(|error| Some(format!("not carried out: {error:#}")))
                {
                    *wrong.entry(what).or_default() += 1;
                }
            }
            let seen = wrong.iter().map(|(what, times)| format!("{times} × {what}")).collect::<Vec<_>>();
            let measured =
                if seen.is_empty() { format!("{rounds} of {rounds} rounds") } else { seen.join("; ") };
            let figure = format!("{store}: {} (a crowd of {crowd})", race.figure);
            run.report.check(("races", race.requirement), figure, measured, wrong.is_empty());
        }
        host.stop();
    }
    Ok(())
}

/// All of these at the same instant; the answers, in their order.
async fn at_once(requests: Vec<(Client, &'static str, Value)>) -> Result<Vec<Reply>> {
    let start = Arc::new(Barrier::new(requests.len()));
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|(mut client, path, body)| {
            let start = start.clone();
            tokio::spawn(async move { client.post_at(path, &body, &start).await })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await??);
    }
    Ok(replies)
}

/// What is wrong, unless `wanted` of the answers have that status and all others are proper refusals.
fn exactly(replies: &[Reply], status: u16, wanted: usize) -> Option<String> {
    let granted = replies.iter().filter(|reply| reply.status == status).count();
    if granted != wanted {
        let mut seen = BTreeMap::<String, usize>::new();
        replies.iter().for_each(|reply| *seen.entry(reply.label()).or_default() += 1);
        return Some(format!("{granted} instead of {wanted}: {seen:?}"));
    }
    let improper = |reply: &&Reply| {
        let slugs = ["invalid-code", "challenge-invalid", "link-invalid", "locked", "busy", "rate-limited"];
        let cookies = reply.header("set-cookie").is_some_and(|line| !line.contains("Max-Age=0"));
        reply.status != status && (cookies || !slugs.contains(&&*reply.problem()))
    };
    replies.iter().find(improper).map(|reply| format!("a loser got {}", reply.text()))
}

fn program(to: SocketAddr, n: usize) -> Client {
    // From several addresses: a budget is the account's, whoever asks.
    Client::from(to, Ipv4Addr::new(127, 77, 0, u8::try_from(1 + n % 10).unwrap_or(1)))
}

fn proofs(
    to: SocketAddr,
    path: &'static str,
    bodies: impl Iterator<Item = Value>,
) -> Vec<(Client, &'static str, Value)> {
    bodies.enumerate().map(|(n, body)| (program(to, n), path, body)).collect()
}

fn has_code(mail: &Mail) -> bool {
    mail.text.lines().any(|line| line.trim().len() == 6 && line.trim().parse::<u32>().is_ok())
}

fn has_token(mail: &Mail) -> bool {
    mail.text.contains("token=")
}

/// The newest mail of a kind that somebody got; it may still be under way.
async fn mail(host: &Host, email: &str, is_meant: fn(&Mail) -> bool) -> Result<Mail> {
    for _ in 0..500 {
        let mails = host.site().mailbox().mails();
        if let Some(mail) = mails.into_iter().rev().find(|mail| mail.to == email && is_meant(mail)) {
            return Ok(mail);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no mail came to {email}")
}

async fn totp_step(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut person = Person::enrolled(to, "step").await?;
    let challenges = [person.challenge(to).await?, person.challenge(to).await?];
    let code = person.code().await?;
    let bodies = (0..crowd).map(|n| json!({ "code": code, "challenge": challenges[n % 2] }));
    let wrong = exactly(&at_once(proofs(to, "/mfa/totp/verify", bodies)).await?, 200, 1);
    let again = Client::new(to)
        .post("/mfa/totp/verify", &json!({ "code": code, "challenge": challenges[0] }))
        .await?;
    Ok(wrong.or_else(|| (again.status == 200).then(|| "the code worked again afterwards".into())))
}

async fn recovery_code(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "recovery").await?;
    let challenges = [person.challenge(to).await?, person.challenge(to).await?];
    let bodies = (0..crowd).map(|n| json!({ "code": person.codes[0], "challenge": challenges[n % 2] }));
    Ok(exactly(&at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?, 200, 1))
}

/// In turn, each by a hundred; a success in between forgives the guesses of those that were late.
async fn all_recovery_codes(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut sessions = 0;
    for n in 0..8 {
        // A lock that the losers have brought about holds for a quarter of an hour, so each code has its person.
        let person = Person::enrolled(to, "eight").await?;
        let challenge = person.challenge(to).await?;
        let bodies = (0..crowd / 8).map(|_| json!({ "code": person.codes[n], "challenge": challenge }));
        let replies = at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?;
        sessions += replies.iter().filter(|reply| reply.status == 200).count();
    }
    Ok((sessions != 8).then(|| format!("{sessions} instead of 8")))
}

async fn challenge(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "challenge").await?;
    let challenge = person.challenge(to).await?;
    let bodies = (0..crowd).map(|n| json!({ "code": person.codes[n % 8], "challenge": challenge }));
    Ok(exactly(&at_once(proofs(to, "/mfa/recovery/verify", bodies)).await?, 200, 1))
}

async fn mailed_code(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "mailed").await?;
    let challenge = person.challenge(to).await?;
    Client::new(to).post("/mfa/otp/send", &json!({ "challenge": challenge })).await?.expect(202)?;
    let code = mail(host, &person.email, has_code).await?.code().to_owned();
    let bodies = (0..crowd).map(|_| json!({ "code": code, "challenge": challenge }));
    Ok(exactly(&at_once(proofs(to, "/mfa/otp/verify", bodies)).await?, 200, 1))
}

async fn magic_link(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "link").await?;
    Client::new(to).post("/mfa/magic-link/send", &json!({ "email": person.email })).await?.expect(202)?;
    let token = mail(host, &person.email, has_token).await?.token().to_owned();
    let bodies = (0..crowd).map(|_| json!({ "token": token, "session": "bearer" }));
    Ok(exactly(&at_once(proofs(to, "/mfa/magic-link/verify", bodies)).await?, 200, 1))
}

async fn reset_link(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "reset").await?;
    Client::new(to).post("/password/reset", &json!({ "email": person.email })).await?.expect(202)?;
    let token = mail(host, &person.email, has_token).await?.token().to_owned();
    let password = |n: usize| format!("another canary phrase {n}");
    let bodies = (0..crowd).map(|n| json!({ "token": token, "new_password": password(n) }));
    let replies = at_once(proofs(to, "/password/reset/confirm", bodies)).await?;
    if let Some(wrong) = exactly(&replies, 204, 1) {
        return Ok(Some(wrong));
    }
    // The password is the winner's, and nobody else's.
    let winner = replies.iter().position(|reply| reply.status == 204).context("a winner")?;
    let works = |n: usize| {
        let body = json!({ "email": person.email, "password": password(n), "session": "bearer" });
        async move {
            patiently(|| async { Client::new(to).post("/login", &body).await })
                .await
                .map(|reply| reply.status)
        }
    };
    let (winners, losers) = (works(winner).await?, works((winner + 1) % crowd).await?);
    Ok(((winners, losers) != (200, 401)).then(|| format!("winner {winners}, loser {losers}")))
}

async fn enrolment(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut person = Person::register(to, "enrolment").await?;
    let mut client = person.client(to);
    let (enrollment, code) = person.begin(&mut client).await?;
    let body = json!({ "code": code, "enrollment": enrollment });
    let requests = (0..crowd).map(|_| (person.client(to), "/mfa/totp/verify", body.clone())).collect();
    let replies = at_once(requests).await?;
    let status = client.get("/mfa/status").await?.json();
    let (factors, codes) =
        (status["factors"].as_array().map_or(0, Vec::len), &status["recovery_codes_remaining"]);
    let wrong = (factors != 1 || *codes != 8).then(|| format!("{factors} factors, {codes} codes"));
    Ok(exactly(&replies, 200, 1).or(wrong))
}

async fn budget(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "budget").await?;
    let mut challenges = Vec::new();
    for _ in 0..5 {
        challenges.push(person.challenge(to).await?);
    }
    let wrong = person.wrong_code()?;
    let bodies = (0..crowd).map(|n| json!({ "code": wrong, "challenge": challenges[n % 5] }));
    let replies = at_once(proofs(to, "/mfa/totp/verify", bodies)).await?;
    let evaluated = replies.iter().filter(|reply| reply.problem() == "invalid-code").count();
    Ok((evaluated != 5).then(|| format!("{evaluated} evaluated")))
}

async fn rotation(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut person = Person::enrolled(to, "rotation").await?;
    let mut browser = Client::new(to);
    let body = json!({ "email": person.email, "password": PASSWORD });
    patiently(|| {
        let mut browser = browser.clone();
        let body = body.clone();
        async move { browser.post("/login", &body).await }
    })
    .await?
    .expect(202)?;
    browser.post("/login", &body).await?.expect(202)?;
    let old = browser.clone();
    let done = Arc::new(AtomicBool::new(false));
    let probes: Vec<_> = (0..crowd / 4)
        .map(|_| {
            let (mut old, done) = (old.clone(), done.clone());
            tokio::spawn(async move {
                let mut used = 0;
                let mut last = false;
                while !last {
                    last = done.load(SeqCst);
                    let reply = old.get("/me").await?;
                    used += usize::from(reply.status == 200);
                }
                // One more with what was certainly begun after the upgrade was answered.
                let after = old.get("/session").await?;
                Ok::<_, std::io::Error>((used, after.status))
            })
        })
        .collect();
    let code = person.code().await?;
    browser.post("/mfa/totp/verify", &json!({ "code": code })).await?.expect(200)?;
    done.store(true, SeqCst);
    for probe in probes {
        let (used, after) = probe.await??;
        if used > 0 || after != 401 {
            return Ok(Some(format!("the old token: {used} × 200, afterwards {after}")));
        }
    }
    let new = browser.get("/me").await?.status;
    Ok((new != 200).then(|| format!("the new token: {new}")))
}

async fn change(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "change").await?;
    let mut others = Vec::new();
    for _ in 0..10 {
        let body = person.credentials();
        let reply = patiently(|| async { Client::new(to).post("/login", &body).await }).await?.expect(200)?;
        others.push(reply.member("token").context("a token")?);
    }
    let changed = Arc::new(AtomicBool::new(false));
    let probes: Vec<_> = (0..crowd / 2)
        .map(|n| {
            let mut client = Client::new(to).with_bearer(&others[n % others.len()]);
            let changed = changed.clone();
            tokio::spawn(async move {
                let (mut late, mut after) = (0, 0);
                while after < 3 {
                    let is_after = changed.load(SeqCst);
                    let status = client.get("/me").await?.status;
                    after += usize::from(is_after);
                    late += usize::from(is_after && status != 401);
                }
                Ok::<_, std::io::Error>(late)
            })
        })
        .collect();
    let body = json!({ "current_password": PASSWORD, "new_password": "yet another canary phrase" });
    let reply = patiently(|| async { person.client(to).post("/password/change", &body).await }).await?;
    changed.store(true, SeqCst);
    let mut late = 0;
    for probe in probes {
        late += probe.await??;
    }
    reply.expect(204)?;
    let own = person.client(to).get("/me").await?.status;
    Ok((late > 0 || own != 200).then(|| format!("{late} uses afterwards; its own session {own}")))
}

async fn trust(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let mut person = Person::enrolled(to, "trust").await?;
    let mut browser = Client::new(to);
    let body = json!({ "email": person.email, "password": PASSWORD });
    for _ in 0..60 {
        if browser.post("/login", &body).await?.status == 202 {
            break;
        }
    }
    let code = person.code().await?;
    browser.post("/mfa/totp/verify", &json!({ "code": code, "trust_browser": true })).await?.expect(200)?;
    let trusted: BTreeMap<_, _> = browser
        .cookies
        .iter()
        .filter(|(name, _)| name.contains("trust"))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    anyhow::ensure!(!trusted.is_empty(), "no trust cookie among {:?}", browser.cookies.keys());
    let requests = (0..crowd / 4)
        .map(|_| {
            let mut thief = Client::new(to);
            thief.cookies.clone_from(&trusted);
            (thief, "/login", body.clone())
        })
        .collect();
    let replies = at_once(requests).await?;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    let (straight, asked, busy) = (count(200), count(202), count(503));
    let wrong = straight != 1 || straight + asked + busy != replies.len();
    Ok(wrong
        .then(|| format!("{straight} let in, {asked} asked for a factor, {busy} busy of {}", replies.len())))
}

async fn code_quota(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "quota").await?;
    let challenge = person.challenge(to).await?;
    let bodies = (0..crowd).map(|_| json!({ "challenge": challenge }));
    let replies = at_once(proofs(to, "/mfa/otp/send", bodies)).await?;
    let mails = mails(host, &person.email, 3, has_code).await;
    Ok(exactly(&replies, 202, 3).or_else(|| (mails != 3).then(|| format!("{mails} mails"))))
}

async fn link_quota(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "links").await?;
    let bodies = (0..crowd).map(|_| json!({ "email": person.email }));
    let replies = at_once(proofs(to, "/mfa/magic-link/send", bodies)).await?;
    let accepted = replies.iter().filter(|reply| reply.status == 202).count();
    let mails = mails(host, &person.email, 3, has_token).await;
    let wrong = accepted != crowd || mails == 0 || mails > 3;
    Ok(wrong.then(|| format!("{accepted} accepted, {mails} mails")))
}

/// How many mails of a kind somebody got, once there are `awaited` and nothing more has come for a while.
async fn mails(host: &Host, email: &str, awaited: usize, is_meant: fn(&Mail) -> bool) -> usize {
    let count =
        || host.site().mailbox().mails().iter().filter(|mail| mail.to == email && is_meant(mail)).count();
    for _ in 0..200 {
        if count() >= awaited {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    count()
}

async fn registration(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let body = json!({ "email": address("twin"), "password": PASSWORD, "session": "bearer" });
    let replies = at_once(proofs(to, "/register", (0..crowd / 5).map(|_| body.clone()))).await?;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    let (made, taken, busy) = (count(201), count(409), count(503));
    Ok((made != 1 || made + taken + busy != replies.len())
        .then(|| format!("{made} made, {taken} taken, {busy} busy")))
}
