//! Plugins at fault: a thousand panics, calls that hang, and files that are not what was pinned.
mod starts;

use super::Run;
use crate::{
    http::{Client, Reply},
    people::Person,
    place::{self, mib},
    report::{ms, quantile},
};
use anyhow::Result;
use countersign_test_kit::{Host, Site};
use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use toml_edit::{Item, Table, value};
use xtask::fixtures::fixture;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    panics(run)?;
    hangs(run)?;
    starts::run(run)
}

/// Takes the second factor out of a configuration.
fn without_gate(site: &Site) {
    site.edit(|config| {
        let all = config["plugin"].as_array_of_tables().cloned().unwrap_or_default();
        let others =
            all.iter().filter(|one| !one["file"].as_str().is_some_and(|file| file.contains("mfa"))).cloned();
        config["plugin"] = Item::ArrayOfTables(others.collect());
        config.remove("mfa");
    });
}

fn panics(run: &mut Run<'_>) -> Result<()> {
    let site = Site::with_store("memory");
    site.add_plugin(&fixture("panics-in-handler"));
    let host = site.start();
    let (to, process, count) = (host.address(), host.server().id(), run.scale.of(1000, 50));
    let (proper, after, grown) = run.runtime.block_on(async {
        let mut client = Client::new(to);
        for _ in 0..50 {
            client.get("/panics-in-handler/panic").await?;
        }
        let before = place::resident(process)?;
        let mut proper = 0;
        for _ in 0..count {
            let reply = client.get("/panics-in-handler/panic").await?;
            proper += usize::from(reply.status == 503 && reply.problem() == "plugin-fault");
        }
        let after = client.get("/panics-in-handler/well").await?.status;
        Ok::<_, anyhow::Error>((proper, after, place::resident(process)?.saturating_sub(before)))
    })?;
    let at = ("plugins", "R67");
    run.report.check(
        at,
        format!("{count} panics: {count} × 503 plugin-fault"),
        format!("{proper}"),
        proper == count,
    );
    run.report.check(at, "the next request is answered", after.to_string(), after == 204);
    run.report.check(at, "resident memory grows by at most 4 MiB", mib(grown), grown <= 4 << 20);
    host.stop();
    Ok(())
}

/// What hangs.
#[derive(Clone, Copy)]
enum Hangs {
    Route,
    Gate,
    /// A store with that fault.
    Store(&'static str),
}

/// A host with a plugin that hangs as long as the file `armed` is there.
fn hanging(what: Hangs) -> Host {
    let site = Site::with_store("memory");
    let mut table = Table::new();
    table["armed_by"] = value(site.path("armed").display().to_string());
    if let Hangs::Store(fault) = what {
        site.add_plugin(&fixture("store-faulty"));
        table["fault"] = value(fault);
        site.edit(|config| {
            config["store"]["use"] = value("faulty");
            config["store"]["faulty"] = Item::Table(table);
        });
    } else {
        if let Hangs::Gate = what {
            without_gate(&site);
            table["gates"] = value(true);
        }
        site.add_plugin(&fixture("hangs"));
        site.edit(|config| config["hangs"] = Item::Table(table));
    }
    site.start()
}

/// What clients saw while something hung.
struct Hang {
    answers: Vec<Reply>,
    health: Vec<Duration>,
    threads: u64,
    /// Whether it was said.
    red: bool,
    recovered: Option<Duration>,
}

fn hangs(run: &mut Run<'_>) -> Result<()> {
    let lasts = run.scale.time(Duration::from_secs(20), Duration::from_millis(2600));
    for (requirement, what, hangs, path) in [
        ("R68", "a plugin that hangs", Hangs::Route, "/hangs/hang"),
        ("R68", "a gate that hangs", Hangs::Gate, "/me"),
        ("R53", "a store whose reads hang", Hangs::Store("hangs-in-get"), "/me"),
        ("R53", "a store whose batches hang", Hangs::Store("hangs-in-apply"), "/mfa/totp/enroll"),
    ] {
        let host = hanging(hangs);
        let hang = run.runtime.block_on(hang(&host, path, lasts))?;
        let judged = run.scale.judges_time();
        let at = ("plugins", requirement);
        let granted = hang.answers.iter().filter(|reply| reply.status < 500).count();
        let all = hang.answers.len();
        run.report.check(
            at,
            format!("{what}: every request 503"),
            format!("{granted} others of {all}"),
            granted == 0 && all > 0,
        );
        let times: Vec<Duration> = hang.answers.iter().map(|reply| reply.took).collect();
        let slowest = quantile(&times, 0.99);
        run.report.timed(
            at,
            judged,
            format!("{what}: answered in 2.5 s (p99)"),
            ms(slowest),
            slowest <= Duration::from_millis(2500),
        );
        let health = quantile(&hang.health, 0.99);
        run.report.timed(
            at,
            judged,
            format!("{what}: /healthz and /readyz in 100 ms (p99)"),
            format!("{} of {}", ms(health), hang.health.len()),
            health <= Duration::from_millis(100),
        );
        run.report.check(
            at,
            format!("{what}: at most 256 threads"),
            hang.threads.to_string(),
            hang.threads <= 256,
        );
        run.report.check(at, format!("{what}: /readyz says so"), hang.red.to_string(), hang.red);
        let recovered = hang.recovered.map_or("never".into(), ms);
        run.report.check(
            at,
            format!("{what}: serves again within 5 s, without a restart"),
            recovered,
            hang.recovered.is_some_and(|took| took <= Duration::from_secs(5)),
        );
        host.stop();
    }
    Ok(())
}

async fn hang(host: &Host, path: &'static str, lasts: Duration) -> Result<Hang> {
    let (to, armed) = (host.address(), host.site().path("armed"));
    let person = Person::register(to, "hang").await?;
    fs::write(&armed, "")?;
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..50).map(|_| tokio::spawn(insist(person.client(to), path, over.clone()))).collect();
    let health = tokio::spawn(probe(to, over.clone()));
    tokio::time::sleep(lasts).await;
    let threads = place::threads(host.server().id())?;
    let (mut red, since) = (false, Instant::now());
    while !red && since.elapsed() < Duration::from_secs(10) {
        red = whatever(Client::new(to).get("//readyz")).await.status == 503;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    over.store(true, SeqCst);
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await?);
    }
    let health = health.await?;
    fs::remove_file(&armed)?;
    let begun = Instant::now();
    let mut recovered = None;
    while recovered.is_none() && begun.elapsed() < Duration::from_secs(20) {
        let status = whatever(ask(&mut person.client(to), path)).await.status;
        recovered = (1..500).contains(&status).then(|| begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Hang { answers, health, threads, red, recovered })
}

async fn ask(client: &mut Client, path: &str) -> std::io::Result<Reply> {
    if path.contains("enroll") {
        client.post(path, &serde_json::json!({})).await
    } else {
        client.get(path).await
    }
}

/// The answer; one without a status when none came, so that the rows say what a host is like that leaves clients waiting.
async fn whatever(asked: impl Future<Output = std::io::Result<Reply>>) -> Reply {
    let begun = Instant::now();
    let none = |_| Reply { status: 0, headers: Vec::new(), body: Vec::new(), took: begun.elapsed() };
    asked.await.unwrap_or_else(none)
}

async fn insist(mut client: Client, path: &'static str, over: Arc<AtomicBool>) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !over.load(SeqCst) {
        replies.push(whatever(ask(&mut client, path)).await);
        // As those do who were told when to come back, or they would only measure how fast 503 is written.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replies
}

async fn probe(to: SocketAddr, over: Arc<AtomicBool>) -> Vec<Duration> {
    let (mut client, mut times) = (Client::new(to), Vec::new());
    while !over.load(SeqCst) {
        let alive = whatever(client.get("//healthz")).await;
        assert!([0, 200].contains(&alive.status), "/healthz: {}", alive.status);
        times.extend([alive.took, whatever(client.get("//readyz")).await.took]);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    times
}
