//! A million names that nobody has, on a store that keeps everything in memory; and millions of ids that somebody has
//! found a way to have written to it.
use super::{Run, from};
use crate::{
    campaigns::linear,
    http::Client,
    people::{PASSWORD, Person, patiently},
    place::{self, host, mib},
};
use anyhow::Result;
use countersign_plugin_api::{Batch, Expect, Found, Keys, StoreError, Time};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    names(run)?;
    ids(run)
}

fn names(run: &mut Run<'_>) -> Result<()> {
    // Each is answered a while after it has asked, so it takes many to have all names asked for in minutes.
    let (count, strangers) = (run.scale.of(1_000_000, 2_000), run.scale.of(256, 32));
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let before = place::resident(process)?;
    let kept = run.runtime.block_on(async {
        // What must be there afterwards: a lock, a spent code, a trusted browser.
        let locked = Person::enrolled(to, "locked").await?;
        let challenge = locked.challenge(to).await?;
        for _ in 0..5 {
            let body = json!({ "code": locked.wrong_code()?, "challenge": challenge });
            Client::new(to).post("/mfa/totp/verify", &body).await?;
        }
        let spender = Person::enrolled(to, "spender").await?;
        let body = json!({ "code": spender.codes[0], "challenge": spender.challenge(to).await? });
        Client::new(to).post("/mfa/recovery/verify", &body).await?.expect(200)?;
        let mut trusting = Person::enrolled(to, "trusting").await?;
        let mut browser = Client::new(to);
        let login = json!({ "email": trusting.email, "password": PASSWORD });
        browser.post("/login", &login).await?.expect(202)?;
        let code = trusting.code().await?;
        browser
            .post("/mfa/totp/verify", &json!({ "code": code, "trust_browser": true }))
            .await?
            .expect(200)?;

        let next = Arc::new(AtomicUsize::new(0));
        let strangers: Vec<_> =
            (0..strangers).map(|n| tokio::spawn(name_after_name(to, n, next.clone(), count))).collect();
        for stranger in strangers {
            stranger.await??;
        }
        let code = json!({ "code": locked.codes[0], "challenge": locked.challenge(to).await? });
        let lock = Client::new(to).post("/mfa/recovery/verify", &code).await?.status;
        let body = json!({ "code": spender.codes[0], "challenge": spender.challenge(to).await? });
        let spent = Client::new(to).post("/mfa/recovery/verify", &body).await?.status;
        let trust = patiently(|| {
            let (mut browser, login) = (browser.clone(), login.clone());
            async move { browser.post("/login", &login).await }
        })
        .await?
        .status;
        Ok::<_, anyhow::Error>((lock, spent, trust))
    })?;
    let grown = place::resident(process)?.saturating_sub(before);
    let at = ("flood", "R49");
    run.report.check(at, format!("memory: after {count} strangers' names a lock, a spent code and a trusted browser are there (429, 401, 200)"), format!("{kept:?}"), kept == (429, 401, 200));
    // 38 MiB are those of the two hashing threads.
    run.report.check(
        at,
        format!("memory: {count} names take at most the store's 64 MiB and the hashes' 38"),
        mib(grown),
        grown <= (64 + 38) << 20,
    );
    host.stop();
    Ok(())
}

/// Whatever is kept for each of them is refused when there is no room, and nothing that lives makes room for it.
fn ids(run: &mut Run<'_>) -> Result<()> {
    const KEPT: u64 = 1000;
    let count = run.scale.of(3_000_000, 20_000);
    let table = json!({ "max_records": count / 10, "max_bytes": "64 MiB", "volatile": true });
    let store = linear::open("store-memory", &table)?;
    let before = place::resident(std::process::id())?;
    let put = |id: u64, now: u64, expires_at| {
        let mut batch = Batch::new(Time::from_secs(now));
        batch.put(&key(id), Expect::Absent, &[7; 100], expires_at);
        linear::apply(&store, batch)
    };
    for id in 0..KEPT {
        put(id, 1, Time::from_secs(1_000_000))?;
    }
    let (mut taken, mut refused) = (0, 0);
    for id in KEPT..KEPT + count as u64 {
        match put(id, 2, Time::from_secs(300)) {
            Ok(()) => taken += 1,
            Err(StoreError::Full) => refused += 1,
            Err(error) => anyhow::bail!("{error}"),
        }
    }
    let names: Vec<_> = (0..KEPT).map(key).collect();
    let mut lost = 0;
    for names in names.chunks(50) {
        let (mut keys, mut found) = (Keys::new(), Found::new());
        names.iter().for_each(|name| keys.push(name));
        store.get(&keys, &mut found)?;
        lost += (0..names.len()).filter(|at| found.at(*at).is_none()).count();
    }
    let grown = place::resident(std::process::id())?.saturating_sub(before);
    let again = put(0, 301, Time::NEVER) == Err(StoreError::Conflict) && put(KEPT, 301, Time::NEVER).is_ok();
    run.report.check(
        ("flood", "R49"),
        format!("memory: {count} ids in a store of 64 MiB: refused where there is no room, what lives stays, what expires goes"),
        format!("{taken} taken, {refused} refused, {lost} of {KEPT} lost, {} more, room again: {again}", mib(grown)),
        refused > 0 && lost == 0 && again && grown <= 80 << 20,
    );
    Ok(())
}

/// Where a record lies: places are hashes.
fn key(id: u64) -> [u8; 16] {
    let home = (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (u128::from(home) << 64 | u128::from(id)).to_be_bytes()
}

async fn name_after_name(to: SocketAddr, n: usize, next: Arc<AtomicUsize>, count: usize) -> Result<()> {
    let mut client = Client::from(to, from(n));
    loop {
        let name = next.fetch_add(1, Relaxed);
        if name >= count {
            return Ok(());
        }
        let path = if name.is_multiple_of(2) { "/password/reset" } else { "/mfa/magic-link/send" };
        let reply = client.post(path, &json!({ "email": format!("nobody-{name}@example.net") })).await?;
        client.cookies.clear();
        anyhow::ensure!([202, 503].contains(&reply.status), "{path}: {}", reply.text());
    }
}
