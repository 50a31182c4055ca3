//! `kill -9` under load, on SQLite, and inside the making of new recovery codes. Each worker has an account of its own, does one thing after the other, and keeps a
//! book of what was acknowledged; what was under way at the kill may have happened or not, all else is certain.
mod regenerate;
mod worker;

use super::Run;
use crate::{place::host, report::ms};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site, project};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};
use worker::{Book, REPLAYS, Worker};

/// Accounts, each with one request under way at any time.
const WORKERS: usize = 80;
/// How many requests are sent and not answered at a kill (R51), and how long that is waited for.
const LEAST: usize = 50;
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let (kills, operations) = (run.scale.of(500, 3), run.scale.of(10_000, 40));
    let mut random = StdRng::seed_from_u64(run.seed);
    let mut site = host("sqlite").stop();
    let mut seen = Seen::default();
    let under_way = Arc::new(AtomicUsize::new(0));
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::new(random.random(), &under_way)).collect();
    let done = |workers: &[Worker]| workers.iter().map(|worker| worker.acknowledged).sum::<usize>();
    while seen.under_way.len() < kills || done(&workers) < operations {
        let begun = Instant::now();
        let host = site.start();
        seen.slowest_start = seen.slowest_start.max(begun.elapsed());
        let load = Duration::from_millis(random.random_range(40..600));
        let killed = run.runtime.block_on(cycle(&host, &mut workers, load, &under_way))?;
        seen.under_way.push(killed);
        site = host.kill();
        if seen.under_way.len() % 10 == 1 {
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
    let least = seen.under_way.iter().min().copied().unwrap_or(0);
    judge(
        "R51",
        "requests sent and not answered at each kill: at least 50",
        format!("{} kills, least {least}", seen.under_way.len()),
        least >= LEAST,
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
        wrong.is_empty() && events >= operations,
    );
    regenerate::run(run)
}

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

/// What workers may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Load,
    Pause,
    Over,
}

/// One time between two starts: what is there is compared, then there is load. Answers how many requests were under way
/// at its end.
async fn cycle(
    host: &Host,
    workers: &mut Vec<Worker>,
    load: Duration,
    under_way: &AtomicUsize,
) -> Result<usize> {
    let to = host.address();
    verify_all(to, workers).await?;
    let phase = watch::Sender::new(Phase::Load);
    let tasks: Vec<_> = std::mem::take(workers)
        .into_iter()
        .map(|mut worker| {
            let mut phase = phase.subscribe();
            tokio::spawn(async move {
                loop {
                    let now =
                        phase.wait_for(|phase| *phase != Phase::Pause).await.map_or(Phase::Over, |now| *now);
                    // Whatever breaks off was under way at the kill.
                    if now == Phase::Over || worker.act(to).await.is_err() {
                        return worker;
                    }
                }
            })
        })
        .collect();
    sleep(load).await;
    let killed = kill(host, &phase, under_way).await?;
    phase.send_replace(Phase::Over);
    for task in tasks {
        workers.push(task.await?);
    }
    Ok(killed)
}

/// Kills the host when enough requests are under way. It is stopped for the count, so that none is answered between
/// that and the kill, and nothing new is sent to it meanwhile.
async fn kill(host: &Host, phase: &watch::Sender<Phase>, under_way: &AtomicUsize) -> Result<usize> {
    let begun = Instant::now();
    loop {
        phase.send_replace(Phase::Pause);
        host.server().signal(Signal::STOP)?;
        // Answers that have left are read.
        sleep(Duration::from_millis(20)).await;
        let now = under_way.load(SeqCst);
        if now >= LEAST || begun.elapsed() > PATIENCE {
            host.server().signal(Signal::KILL)?;
            return Ok(now);
        }
        host.server().signal(Signal::CONT)?;
        phase.send_replace(Phase::Load);
        sleep(Duration::from_millis(10)).await;
    }
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
pub(super) fn is_sound(site: &Site) -> Result<bool> {
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
