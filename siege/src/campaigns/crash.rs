//! `kill -9` under load, on SQLite. Each worker has an account of its own, does one thing after the other, and keeps a
//! book of what was acknowledged; what was under way at the kill may have happened or not, all else is certain.
mod worker;

use super::Run;
use crate::{place::host, report::ms};
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site, project};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};
use worker::{Book, REPLAYS, UNDER_WAY, Worker};

/// Accounts, each with one request under way at any time.
const WORKERS: usize = 64;

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
