//! A million names that nobody has, on a store that keeps everything in memory.
use super::{Run, from};
use crate::{
    http::Client,
    people::{PASSWORD, Person, patiently},
    place::{self, host, mib},
};
use anyhow::Result;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let count = run.scale.of(1_000_000, 2_000);
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
            (0..32).map(|n| tokio::spawn(name_after_name(to, n, next.clone(), count))).collect();
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
