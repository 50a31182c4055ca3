//! Ten times the logins that a host can do.
use super::{Run, from};
use crate::{
    http::{Client, Reply},
    people::Person,
    place::host,
    report::{ms, quantile},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let lasts = run.scale.time(Duration::from_mins(1), Duration::from_secs(5));
    let host = host("sqlite");
    let to = host.address();
    let outcome = run.runtime.block_on(ten_times(to, lasts))?;
    let Overload { capacity, asked, granted_wrong, admitted, shed, others, slowest, back } = outcome;
    let (at, judged) = (("flood", "R62"), run.scale.judges_time());
    run.report.check(at, "10 times the logins it can do: 0 wrong grants", format!("{granted_wrong} of {asked} ({capacity:.0}/s possible; {admitted} admitted, {shed} told to come back, others {others:?})"), granted_wrong == 0 && others.is_empty());
    run.report.timed(
        at,
        judged,
        "admitted ones in 2 s (p99)",
        ms(slowest),
        slowest <= Duration::from_secs(2),
    );
    run.report.timed(
        at,
        judged,
        "as quick as before within 10 s",
        back.map_or("never".into(), ms),
        back.is_some_and(|took| took <= Duration::from_secs(10)),
    );
    host.stop();
    Ok(())
}

struct Overload {
    capacity: f64,
    asked: usize,
    granted_wrong: usize,
    admitted: usize,
    shed: usize,
    others: Vec<String>,
    slowest: Duration,
    back: Option<Duration>,
}

async fn ten_times(to: SocketAddr, lasts: Duration) -> Result<Overload> {
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(Person::enrolled(to, "load").await?);
    }
    let people = Arc::new(people);
    let once = |n: usize, right: bool| {
        let people = people.clone();
        async move {
            let mut body = people[n % people.len()].credentials();
            if !right {
                body = json!({ "email": format!("nobody-{n}@example.net"), "password": "a wrong canary phrase" });
            }
            Client::from(to, from(n)).post("/login", &body).await
        }
    };
    let begun = Instant::now();
    let mut before = Vec::new();
    for n in 0..40 {
        before.push(once(n, true).await?.took);
    }
    // Two at a time is what its hashing threads can do.
    let capacity = 2.0 * 40.0 / begun.elapsed().as_secs_f64();
    let gap = Duration::from_secs_f64(1.0 / (10.0 * capacity));
    let (begun, mut tasks) = (Instant::now(), Vec::new());
    let mut n = 0;
    while begun.elapsed() < lasts {
        // Whether or not anything has been answered.
        tasks.push((n % 2 == 0, tokio::spawn(once(n, n % 2 == 0))));
        n += 1;
        let next = begun + gap * u32::try_from(n)?;
        tokio::time::sleep_until(next.into()).await;
    }
    let mut seen = Overload {
        capacity,
        asked: n,
        granted_wrong: 0,
        admitted: 0,
        shed: 0,
        others: Vec::new(),
        slowest: Duration::ZERO,
        back: None,
    };
    let mut times = Vec::new();
    for (right, task) in tasks {
        let reply: io::Result<Reply> = task.await?;
        let Ok(reply) = reply else { continue };
        match (right, reply.status) {
            (_, 503) => seen.shed += 1,
            (true, 202) | (false, 401 | 429) => {
                seen.admitted += 1;
                times.push(reply.took);
            }
            (true, 200) | (false, 200..=299) => seen.granted_wrong += 1,
            _ => seen.others.push(reply.label()),
        }
    }
    seen.slowest = quantile(&times, 0.99);
    let over = Instant::now();
    let usual = quantile(&before, 0.5) * 2;
    while seen.back.is_none() && over.elapsed() < Duration::from_secs(30) {
        let reply = once(0, true).await.context("after the load")?;
        seen.back = (reply.status == 202 && reply.took <= usual).then(|| over.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(seen)
}
