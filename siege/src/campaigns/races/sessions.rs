//! Sessions, trust, quotas of mails, and one address for many.
use super::{Outcome, at_once, exactly, has_code, has_token, proofs};
use crate::{
    http::Client,
    people::{PASSWORD, Person, address, patiently},
};
use anyhow::Context;
use countersign_test_kit::{Host, Mail};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

pub(super) async fn rotation(host: &Host, crowd: usize) -> Outcome {
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
    let probes: Vec<_> = (0..crowd)
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

pub(super) async fn change(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::register(to, "change").await?;
    let mut others = Vec::new();
    for _ in 0..10 {
        let body = person.credentials();
        let reply = patiently(|| async { Client::new(to).post("/login", &body).await }).await?.expect(200)?;
        others.push(reply.member("token").context("a token")?);
    }
    let changed = Arc::new(AtomicBool::new(false));
    let probes: Vec<_> = (0..crowd)
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

pub(super) async fn trust(host: &Host, crowd: usize) -> Outcome {
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
    let requests = (0..crowd)
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

pub(super) async fn code_quota(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let person = Person::enrolled(to, "quota").await?;
    let challenge = person.challenge(to).await?;
    let bodies = (0..crowd).map(|_| json!({ "challenge": challenge }));
    let replies = at_once(proofs(to, "/mfa/otp/send", bodies)).await?;
    let mails = mails(host, &person.email, 3, has_code).await;
    Ok(exactly(&replies, 202, 3).or_else(|| (mails != 3).then(|| format!("{mails} mails"))))
}

pub(super) async fn link_quota(host: &Host, crowd: usize) -> Outcome {
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

pub(super) async fn registration(host: &Host, crowd: usize) -> Outcome {
    let to = host.address();
    let body = json!({ "email": address("twin"), "password": PASSWORD, "session": "bearer" });
    let replies = at_once(proofs(to, "/register", (0..crowd).map(|_| body.clone()))).await?;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    let (made, taken, busy) = (count(201), count(409), count(503));
    Ok((made != 1 || made + taken + busy != replies.len())
        .then(|| format!("{made} made, {taken} taken, {busy} busy")))
}
