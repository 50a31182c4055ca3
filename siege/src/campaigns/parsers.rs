//! Structured nonsense for every endpoint: nothing may break, and every refusal is a problem document.
mod endpoints;
mod nonsense;

use super::Run;
use crate::{
    http::{Client, Reply},
    people::{PASSWORD, Person, patiently},
    place::{self, host, mib},
};
use anyhow::{Context, Result};
use countersign_test_kit::Host;
use endpoints::{Endpoint, endpoints};
use nonsense::request;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// So many endpoints at a time.
const AT_ONCE: usize = 8;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let inputs = run.scale.of(10_000, 40);
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let seed = run.seed;
    let (endpoints, seen) = run.runtime.block_on(async {
        let administrator = administrator(&host).await?;
        let endpoints = Arc::new(endpoints(to).await?);
        // What the first requests allocate stays: caches, threads, buffers.
        fuzz_all(to, &administrator, &endpoints, inputs.min(200), !seed).await?;
        let before = place::resident(process)?;
        let mut seen = fuzz_all(to, &administrator, &endpoints, inputs, seed).await?;
        seen.grown = place::resident(process)?.saturating_sub(before);
        Ok::<_, anyhow::Error>((endpoints.len(), seen))
    })?;
    let log = host.log();
    let panics = log.matches("panicked").count();
    let each = format!("{inputs} inputs for each of {endpoints} endpoints");
    let first = |all: &[String]| all.first().map(|first| format!("; first: {first}")).unwrap_or_default();
    let at = ("parsers", "R58");
    run.report.check(
        at,
        format!("{each}: 0 × 5xx"),
        format!("{} (503 busy beside: {}){}", seen.failed.len(), seen.busy, first(&seen.failed)),
        seen.failed.is_empty(),
    );
    run.report.check(
        at,
        "every refusal is problem+json",
        format!("{} are not, of {}{}", seen.bare.len(), seen.refused, first(&seen.bare)),
        seen.bare.is_empty(),
    );
    run.report.check(at, "0 panics", panics.to_string(), panics == 0);
    run.report.timed(
        at,
        run.scale.judges_time(),
        "resident memory grows by at most 10 MiB",
        mib(seen.grown),
        seen.grown <= 10 << 20,
    );
    host.stop();
    Ok(())
}

/// The bearer token of one who has shown a second factor, which the endpoints of administrators ask for.
async fn administrator(host: &Host) -> Result<String> {
    let mut person = Person::enrolled(host.address(), "administrator").await?;
    let named = host.site().run(&["user", "set-role", &person.email, "admin"]);
    anyhow::ensure!(named.status.success(), "{}", String::from_utf8_lossy(&named.stderr));
    let challenge = person.challenge(host.address()).await?;
    let body = json!({ "code": person.code().await?, "challenge": challenge });
    let told = Client::new(host.address()).post("/mfa/totp/verify", &body).await?.expect(200)?;
    told.member("token").context("a token")
}

async fn fuzz_all(
    to: SocketAddr,
    administrator: &str,
    endpoints: &Arc<Vec<Endpoint>>,
    inputs: usize,
    seed: u64,
) -> Result<Seen> {
    let (next, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Seen::default())));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (next, all, endpoints) = (next.clone(), all.clone(), endpoints.clone());
            let administrator = administrator.to_owned();
            tokio::spawn(async move {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(endpoint) = endpoints.get(at) else { return Ok::<_, anyhow::Error>(()) };
                    let mut random = StdRng::seed_from_u64(seed.wrapping_add(at as u64));
                    let mut seen = Seen::default();
                    seen.fuzz(to, &administrator, endpoint, inputs, &mut random).await?;
                    all.lock().unwrap_or_else(PoisonError::into_inner).add(seen);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok::<_, anyhow::Error>(std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A browser that is signed in, with an account of its own.
async fn browser(to: SocketAddr) -> Result<Client> {
    let person = Person::register(to, "fuzz").await?;
    let mut browser = Client::new(to);
    let body = json!({ "email": person.email, "password": PASSWORD });
    let reply = patiently(|| {
        let (mut browser, body) = (browser.clone(), body.clone());
        async move { browser.post("/login", &body).await }
    });
    browser.remember(&reply.await?.expect(200)?);
    Ok(browser)
}

#[derive(Default)]
struct Seen {
    failed: Vec<String>,
    bare: Vec<String>,
    refused: usize,
    busy: usize,
    grown: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.bare.extend(other.bare);
        self.refused += other.refused;
        self.busy += other.busy;
    }

    async fn fuzz(
        &mut self,
        to: SocketAddr,
        administrator: &str,
        endpoint: &Endpoint,
        inputs: usize,
        random: &mut StdRng,
    ) -> Result<()> {
        let mut owner = browser(to).await?;
        let nobody = Client::new(to);
        let somebody = if endpoint.is_for_administrators() {
            Client::new(to).with_bearer(administrator)
        } else {
            Person::register(to, "fuzz").await?.client(to)
        };
        let mut clients = [nobody, somebody, owner.clone()];
        for n in 0..inputs {
            // Who is signed out by what it asks asks for nothing more than strangers do.
            if n % 100 == 99 && owner.get("/session").await?.status != 200 {
                owner = browser(to).await?;
                clients[2] = owner.clone();
                if !endpoint.is_for_administrators() {
                    clients[1] = Person::register(to, "fuzz").await?.client(to);
                }
            }
            let client = &mut clients[random.random_range(0..3)];
            let cookies = client.cookies.clone();
            let bytes = request(client, endpoint, random);
            let reply = client.send(&bytes).await;
            client.cookies = cookies;
            // What the HTTP library refuses before routing may end the connection, but not the host.
            match reply {
                Ok(reply) => self.note(&reply, &bytes, endpoint),
                Err(_) => *client = client.clone(),
            }
        }
        // The host is still there.
        anyhow::ensure!(Client::new(to).get("//healthz").await?.status == 200, "after {}", endpoint.path);
        Ok(())
    }

    fn note(&mut self, reply: &Reply, bytes: &[u8], endpoint: &Endpoint) {
        // The cookies between are long, and say nothing.
        let shown = || {
            let text = String::from_utf8_lossy(bytes);
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            let line = head.lines().next().unwrap_or_default();
            format!("{line} … {body}").chars().take(300).collect::<String>().escape_debug().to_string()
        };
        // A page says it in words.
        let busy = reply.problem() == "busy" || reply.text().contains("There is much to do at the moment");
        if reply.status == 503 && busy {
            self.busy += 1;
        } else if reply.status >= 500 {
            self.failed.push(format!("{} for {}", reply.label(), shown()));
        }
        if reply.status >= 400 && ![400, 408, 431].contains(&reply.status)
            || reply.status == 400 && !reply.body.is_empty()
        {
            self.refused += 1;
            // A browser that looks for a page gets one, and so does whoever opens a mailed link.
            let asks = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            let is_page = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
                && (endpoint.may_be_a_page() || asks(b"text/html") && !endpoint.is_api());
            if !is_page
                && (reply.header("content-type") != Some("application/problem+json")
                    || reply.problem().is_empty())
            {
                self.bare.push(format!("{} for {}", reply.label(), shown()));
            }
        }
    }
}
