//! Structured nonsense for every endpoint: nothing may break, and every refusal is a problem document.
mod nonsense;

use super::Run;
use crate::{
    http::{Client, Reply},
    people::Person,
    place::{self, host, mib},
};
use anyhow::Result;
use nonsense::request;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, net::SocketAddr};

/// Method, path, and the fields that its body has.
const ENDPOINTS: &[(&str, &str, &[&str])] = &[
    ("POST", "/register", &["email", "password", "session"]),
    ("POST", "/login", &["email", "password", "session"]),
    ("POST", "/logout", &[]),
    ("GET", "/session", &[]),
    ("GET", "/me", &[]),
    ("GET", "/verify", &[]),
    ("GET", "/sessions", &[]),
    ("DELETE", "/sessions/x", &[]),
    ("POST", "/reauthenticate", &["password"]),
    ("POST", "/password/change", &["current_password", "new_password"]),
    ("POST", "/password/reset", &["email"]),
    ("POST", "/password/reset/confirm", &["token", "new_password"]),
    ("POST", "/email/verify", &["token"]),
    ("GET", "/mfa/status", &[]),
    ("POST", "/mfa/totp/enroll", &["label"]),
    ("POST", "/mfa/totp/verify", &["code", "enrollment", "challenge", "trust_browser"]),
    ("POST", "/mfa/totp/disable", &["factor"]),
    ("POST", "/mfa/recovery/generate", &[]),
    ("POST", "/mfa/recovery/verify", &["code", "challenge"]),
    ("POST", "/mfa/otp/send", &["challenge"]),
    ("POST", "/mfa/otp/verify", &["code", "challenge", "trust_browser"]),
    ("POST", "/mfa/magic-link/send", &["email"]),
    ("GET", "/mfa/magic-link/verify", &[]),
    ("POST", "/mfa/magic-link/verify", &["token", "session"]),
    ("GET", "/mfa/challenge/status", &[]),
    ("POST", "/mfa/challenge/cancel", &["challenge"]),
    ("GET", "/mfa/trusted-browsers", &[]),
    ("DELETE", "/mfa/trusted-browsers/x", &[]),
    ("POST", "/mfa/password/validate", &["password"]),
    ("GET", "/admin/users", &[]),
    ("GET", "/admin/users/x", &[]),
    ("POST", "/admin/users/x/mfa/reset", &[]),
    ("POST", "/admin/users/x/unlock", &[]),
    ("GET", "/admin/audit", &[]),
    ("GET", "//healthz", &[]),
    ("GET", "//readyz", &[]),
    ("GET", "//nothing", &[]),
];

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let inputs = run.scale.of(10_000, 40);
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let mut random = StdRng::seed_from_u64(run.seed);
    let seen = run.runtime.block_on(async {
        let person = Person::register(to, "fuzz").await?;
        // What the first requests allocate stays: caches, threads, buffers.
        let mut warm = Seen::default();
        for endpoint in ENDPOINTS {
            warm.fuzz(to, &person, endpoint, inputs.min(200), &mut random).await?;
        }
        let before = place::resident(process)?;
        let mut seen = Seen::default();
        for endpoint in ENDPOINTS {
            seen.fuzz(to, &person, endpoint, inputs, &mut random).await?;
        }
        seen.grown = place::resident(process)?.saturating_sub(before);
        Ok::<_, anyhow::Error>(seen)
    })?;
    let log = host.log();
    let panics = log.matches("panicked").count();
    let each = format!("{inputs} inputs for each of {} endpoints", ENDPOINTS.len());
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

#[derive(Default)]
struct Seen {
    failed: Vec<String>,
    bare: Vec<String>,
    refused: usize,
    busy: usize,
    statuses: BTreeMap<u16, usize>,
    grown: u64,
}

impl Seen {
    async fn fuzz(
        &mut self,
        to: SocketAddr,
        person: &Person,
        endpoint: &(&str, &str, &[&str]),
        inputs: usize,
        random: &mut StdRng,
    ) -> Result<()> {
        let mut client = Client::new(to);
        for _ in 0..inputs {
            client.bearer = random.random_bool(0.5).then(|| person.token.clone());
            let bytes = request(&client, endpoint, random);
            let Ok(reply) = client.send(&bytes).await else {
                // What the HTTP library refuses before routing may end the connection, but not the host.
                client = Client::new(to);
                continue;
            };
            self.note(&reply, &bytes);
        }
        // The host is still there.
        anyhow::ensure!(Client::new(to).get("//healthz").await?.status == 200, "after {}", endpoint.1);
        Ok(())
    }

    fn note(&mut self, reply: &Reply, bytes: &[u8]) {
        *self.statuses.entry(reply.status).or_default() += 1;
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).escape_debug().to_string();
        if reply.status == 503 && reply.problem() == "busy" {
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
            let is_api =
                bytes.split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.starts_with(b"/api/"));
            let is_page = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
                && (asks(b"/mfa/magic-link/verify") || asks(b"text/html") && !is_api);
            if !is_page
                && (reply.header("content-type") != Some("application/problem+json")
                    || reply.problem().is_empty())
            {
                self.bare.push(format!("{} for {}", reply.label(), shown()));
            }
        }
    }
}
