//! More of everything than there is room for: passwords, connections, bytes, names.
mod bodies;
mod names;
mod overload;
mod slow;
mod strangers;

use super::Run;
use crate::{
    http::Client,
    people::Person,
    place::{self, host, mib},
};
use anyhow::Result;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::sleep;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    hashes(run)?;
    slow::run(run)?;
    bodies::run(run)?;
    strangers::run(run)?;
    names::run(run)?;
    overload::run(run)
}

/// One of 250 addresses of one of 250 networks.
fn from(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 99, u8::try_from(n / 250 % 250).unwrap_or(0), u8::try_from(1 + n % 250).unwrap_or(1))
}

/// How each of a crowd that posts all at once is answered, and the most memory that the host has resident meanwhile.
async fn at_once(
    to: SocketAddr,
    process: u32,
    crowd: usize,
    body: Value,
) -> Result<(u64, BTreeMap<String, usize>)> {
    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let over = over.clone();
        tokio::spawn(async move {
            let mut peak = 0;
            while !over.load(SeqCst) {
                peak = place::resident(process).unwrap_or(0).max(peak);
                sleep(Duration::from_millis(5)).await;
            }
            peak
        })
    };
    let logins: Vec<_> = (0..crowd)
        .map(|n| {
            let (mut client, body) = (Client::from(to, from(n)), body.clone());
            tokio::spawn(async move { client.post("/login", &body).await })
        })
        .collect();
    let mut labels = BTreeMap::new();
    for login in logins {
        *labels.entry(login.await??.label()).or_default() += 1;
    }
    over.store(true, SeqCst);
    Ok((watch.await?, labels))
}

fn hashes(run: &mut Run<'_>) -> Result<()> {
    let crowd = run.scale.of(500, 40);
    for store in place::STORES {
        let host = host(store);
        let (to, process) = (host.address(), host.server().id());
        let idle = place::resident(process)?;
        let (peak, labels) = run.runtime.block_on(async {
            let person = Person::register(to, "hash").await?;
            at_once(to, process, crowd, person.credentials()).await
        })?;
        let (at, bound) = (("flood", "R47"), (idle + 2 * (19 << 20)) * 11 / 10);
        run.report.check(
            at,
            format!(
                "{store}: {crowd} logins at once: at most the memory of an idle host, two hashes, and a tenth"
            ),
            format!("{} of {}", mib(peak), mib(bound)),
            peak <= bound,
        );
        let proper = labels.keys().all(|label| ["200", "503 busy"].contains(&label.as_str()));
        run.report.check(
            at,
            format!("{store}: {crowd} logins at once: let in, or told to come back"),
            format!("{labels:?}"),
            proper && labels.contains_key("200"),
        );
        host.stop();
    }
    Ok(())
}
