//! `kill -9` while accounts make new recovery codes: either all of the old ones are good afterwards, or all of the new.
use super::Run;
use crate::{
    http::Client,
    people::{Person, texts},
    place::host,
};
use anyhow::{Context, Result};
use countersign_test_kit::Host;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use tokio::time::sleep;

/// Accounts that are at it at each kill.
const AT_ONCE: usize = 8;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let kills = run.scale.of(200 / AT_ONCE, 1);
    let mut random = StdRng::seed_from_u64(run.seed);
    let mut site = host("sqlite").stop();
    let (mut told, mut wrong) = (0, Vec::new());
    for _ in 0..kills {
        let host = site.start();
        // Eight times eight hashes take about so long.
        let after = Duration::from_millis(random.random_range(0..800));
        let (owners, host) = run.runtime.block_on(interrupted(host, after))?;
        let host = host.start();
        for (owner, new) in owners {
            told += usize::from(new.is_some());
            let found = run.runtime.block_on(judge(host.address(), &owner, new))?;
            wrong.extend(found);
        }
        site = host.stop();
    }
    let first = wrong.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    run.report.check(
        ("crash", "R09"),
        "kill -9 while recovery codes are made anew: exactly one full set is good",
        format!("{} of {} not, {told} had been told the new ones{first}", wrong.len(), kills * AT_ONCE),
        wrong.is_empty(),
    );
    Ok(())
}

/// Who was at it, and the new codes of those who were told them.
type Owner = (Person, Option<Vec<String>>);

async fn interrupted(host: Host, after: Duration) -> Result<(Vec<Owner>, countersign_test_kit::Site)> {
    let to = host.address();
    let mut tasks = Vec::new();
    for _ in 0..AT_ONCE {
        let owner = Person::enrolled(to, "regenerate").await?;
        // The session that set up the authenticator has proven it just now.
        let mut client = owner.client(to);
        tasks.push(tokio::spawn(async move {
            let answer = client.post("/mfa/recovery/generate", &json!({})).await;
            (owner, answer)
        }));
    }
    sleep(after).await;
    let site = host.kill();
    let mut owners = Vec::new();
    for task in tasks {
        let (owner, answer) = task.await?;
        let told = answer.ok().filter(|reply| reply.status == 200);
        owners.push((owner, told.map(|reply| texts(&reply.json()["recovery_codes"]))));
    }
    Ok((owners, site))
}

/// What is wrong with somebody's codes.
async fn judge(to: SocketAddr, owner: &Person, new: Option<Vec<String>>) -> Result<Option<String>> {
    let status = owner.client(to).get("/mfa/status").await?.expect(200)?.json();
    let remaining = status["recovery_codes_remaining"].as_u64();
    if remaining != Some(8) {
        return Ok(Some(format!("{remaining:?} remain")));
    }
    let challenge = owner.challenge(to).await?;
    let tried = async |code: &str| {
        let body = json!({ "code": code, "challenge": challenge });
        Client::new(to).post("/mfa/recovery/verify", &body).await.map(|reply| reply.status)
    };
    let old = tried(&owner.codes[0]).await?;
    let Some(new) = new else {
        // Nobody has seen the new ones: there are eight, and the old ones are all good or all gone.
        let other = if old == 401 { tried(&owner.codes[7]).await? } else { 401 };
        return Ok(Some(format!("the old ones answer {old} and {other}"))
            .filter(|_| ![200, 401].contains(&old) || other != 401));
    };
    let first = new.first().context("no new codes")?;
    let newest = tried(first).await?;
    Ok(Some(format!("told the new ones: {newest}, and the old ones: {old}"))
        .filter(|_| (old, newest) != (401, 200)))
}
