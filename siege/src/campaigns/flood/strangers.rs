//! What strangers can do to owners: wrong passwords, links and resets under the owners' names, and logins under names that
//! nobody has, each of which costs the host a hash.
use super::{Run, from};
use crate::{
    http::Client,
    people::{PASSWORD, Person},
    place::{self, host},
    report::{ms, quantile},
};
use anyhow::Result;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};

/// Strangers who go for owners, a third of them in each way.
const AIMING: usize = 12;
/// Strangers with names that nobody has: more than may wait for a hash, so that somebody is turned away all the time.
const INVENTING: usize = 160;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let lasts = run.scale.time(Duration::from_mins(1), Duration::from_secs(3));
    let owners = run.scale.of(40, 3);
    for store in place::STORES {
        let host = host(store);
        let to = host.address();
        let Seen { asked, known, proofs, unknown } = run.runtime.block_on(besieged(to, owners, lasts))?;
        let at = ("flood", "R16");
        for (who, seen) in [
            ("the owners' own browsers are let in", &known),
            ("the second factor never fails", &proofs),
            ("an owner whom no cookie vouches for, from another network, is let in", &unknown),
        ] {
            let (all, wrong) = (seen.times.len(), &seen.wrong);
            run.report.check(
                at,
                format!("{store}: strangers with the owners' names, and with names of nobody: {who}"),
                format!("{} of {all} not, beside {asked} requests {wrong:?}", wrong.len()),
                wrong.is_empty() && all > 0,
            );
            let slowest = quantile(&seen.times, 0.99);
            run.report.timed(
                at,
                run.scale.judges_time(),
                format!("{store}: and in 500 ms (p99)"),
                format!("{} of {all}", ms(slowest)),
                slowest <= Duration::from_millis(500),
            );
        }
        host.stop();
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    asked: usize,
    known: Answers,
    proofs: Answers,
    unknown: Answers,
}

#[derive(Default)]
struct Answers {
    times: Vec<Duration>,
    wrong: Vec<String>,
}

impl Answers {
    fn note(&mut self, reply: &crate::http::Reply, status: u16) {
        self.times.push(reply.took);
        if reply.status != status {
            self.wrong.push(reply.label());
        }
    }
}

async fn besieged(to: SocketAddr, owners: usize, lasts: Duration) -> Result<Seen> {
    let mut known = Vec::new();
    for _ in 0..owners {
        known.push(at_home(to).await?);
    }
    let newcomer = Person::enrolled(to, "newcomer").await?;
    let names = known.iter().map(|(owner, _)| owner.email.clone()).collect();
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let strangers = strangers(to, names, &over, &asked);
    let (mut seen, begun, mut round) = (Seen::default(), Instant::now(), 0);
    while begun.elapsed() < lasts {
        let at = round % known.len();
        let (owner, browser) = &mut known[at];
        round += 1;
        let body = json!({ "email": owner.email, "password": PASSWORD });
        let reply = browser.post("/login", &body).await?;
        seen.known.note(&reply, 202);
        // One wrong guess of each owner, since five would lock them out, and the right code if there is one: neither may be
        // lost in the crowd.
        let codes = [Some(owner.wrong_code()?).filter(|_| round <= owners), owner.code_at_once()?];
        for (code, status) in codes.into_iter().zip([401, 200]) {
            if let Some(code) = code.filter(|_| reply.status == 202) {
                let reply = browser.post("/mfa/totp/verify", &json!({ "code": code })).await?;
                seen.proofs.note(&reply, status);
            }
        }
        let reply = Client::new(to).post("/login", &newcomer.credentials()).await?;
        seen.unknown.note(&reply, 202);
        sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Relaxed);
    for stranger in strangers {
        stranger.await?;
    }
    seen.asked = asked.load(Relaxed);
    Ok(seen)
}

/// An owner, and a browser that has completed a login and is known by its device cookie.
async fn at_home(to: SocketAddr) -> Result<(Person, Client)> {
    let (mut owner, mut browser) = (Person::enrolled(to, "owner").await?, Client::new(to));
    browser.post("/login", &json!({ "email": owner.email, "password": PASSWORD })).await?.expect(202)?;
    let code = owner.codes.pop().unwrap_or_default();
    browser.post("/mfa/recovery/verify", &json!({ "code": code })).await?.expect(200)?;
    Ok((owner, browser))
}

fn strangers(
    to: SocketAddr,
    names: Vec<String>,
    over: &Arc<AtomicBool>,
    asked: &Arc<AtomicUsize>,
) -> Vec<JoinHandle<()>> {
    let names = Arc::new(names);
    let stranger = |n: usize| {
        let (over, asked, names) = (over.clone(), asked.clone(), names.clone());
        tokio::spawn(async move {
            let mut client = Client::from(to, from(n));
            while !over.load(Relaxed) {
                let now = asked.fetch_add(1, Relaxed);
                let email = match n {
                    0..AIMING => names[now % names.len()].clone(),
                    _ => format!("nobody-{now}@example.net"),
                };
                let path = match n % 3 {
                    1 if n < AIMING => "/mfa/magic-link/send",
                    2 if n < AIMING => "/password/reset",
                    _ => "/login",
                };
                let body = match path {
                    "/login" => json!({ "email": email, "password": "a wrong canary phrase" }),
                    _ => json!({ "email": email }),
                };
                let _ = client.post(path, &body).await;
                client.cookies.clear();
            }
        })
    };
    (0..AIMING + INVENTING).map(stranger).collect()
}
