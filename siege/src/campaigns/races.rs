//! Everything that works once, used by a hundred at the same instant; budgets and quotas likewise.
mod codes;
mod sessions;

use super::Run;
use crate::{
    http::{Client, Reply},
    place::{STORES, host},
};
use anyhow::Result;
use codes::{
    address_link, all_recovery_codes, budget, challenge, enrolment, magic_link, mailed_code, recovery_code,
    reset_link, totp_step,
};
use countersign_test_kit::{Host, Mail};
use serde_json::Value;
use sessions::{change, code_quota, link_quota, registration, rotation, trust};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Barrier;

type Outcome = Result<Option<String>>;

type Round<'h> = Pin<Box<dyn Future<Output = Outcome> + 'h>>;

/// A race: its requirement, what must come of it, and one round, which answers what went wrong.
struct Race {
    requirement: &'static str,
    figure: &'static str,
    round: for<'h> fn(&'h Host, usize) -> Round<'h>,
}

macro_rules! race {
    ($requirement:literal, $figure:literal, $round:ident) => {
        Race {
            requirement: $requirement,
            figure: $figure,
            round: |host, crowd| Box::pin($round(host, crowd)),
        }
    };
}

const RACES: &[Race] = &[
    race!("R01", "one time step over two challenges and a step-up: 1 success", totp_step),
    race!("R07", "one recovery code: 1 session", recovery_code),
    race!("R07", "8 recovery codes, the crowd on each: 8 sessions", all_recovery_codes),
    race!("R26", "one challenge and 8 good codes: 1 session", challenge),
    race!("R11", "one code by mail: 1 session", mailed_code),
    race!("R37", "one magic link: 1 session", magic_link),
    race!("R34", "one reset link: 1 new password", reset_link),
    race!("R37", "one link that proves an address: 1 success", address_link),
    race!("R01", "one enrolment: 1 factor, 8 recovery codes", enrolment),
    race!("R16", "wrong guesses over 5 challenges and 10 addresses: 5 evaluated", budget),
    race!("R29", "the old token during and after the upgrade: 0 uses", rotation),
    race!("R34", "sessions in flight when the password changes: 0 uses afterwards", change),
    race!("R41", "one trust cookie: 1 trusted login", trust),
    race!("R11", "requests for a code by mail: 3 sent, 3 mails", code_quota),
    race!("R37", "requests for a link: all 202, at most 3 mails", link_quota),
    race!("-", "one address, registered by many: 1 account", registration),
];

#[expect(clippy::unnecessary_wraps, reason = "the form of every campaign")]
pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let (rounds, crowd) = (run.scale.of(50, 1), run.scale.of(100, 20).min(100));
    for store in STORES {
        let host = host(store);
        for race in RACES {
            let outcomes: Vec<Outcome> = run.runtime.block_on(async {
                let mut outcomes = Vec::new();
                for _ in 0..rounds {
                    outcomes.push((race.round)(&host, crowd).await);
                }
                outcomes
            });
            let mut wrong = BTreeMap::<String, usize>::new();
            for outcome in outcomes {
                if let Some(what) =
                    outcome.unwrap_or_else(|error| Some(format!("not carried out: {error:#}")))
                {
                    *wrong.entry(what).or_default() += 1;
                }
            }
            let seen = wrong.iter().map(|(what, times)| format!("{times} × {what}")).collect::<Vec<_>>();
            let measured =
                if seen.is_empty() { format!("{rounds} of {rounds} rounds") } else { seen.join("; ") };
            let figure = format!("{store}: {} (a crowd of {crowd})", race.figure);
            run.report.check(("races", race.requirement), figure, measured, wrong.is_empty());
        }
        host.stop();
    }
    Ok(())
}

/// All of these at the same instant; the answers, in their order.
async fn at_once(requests: Vec<(Client, &'static str, Value)>) -> Result<Vec<Reply>> {
    let start = Arc::new(Barrier::new(requests.len()));
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|(mut client, path, body)| {
            let start = start.clone();
            tokio::spawn(async move { client.post_at(path, &body, &start).await })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await??);
    }
    Ok(replies)
}

/// What is wrong, unless `wanted` of the answers have that status and all others are proper refusals.
fn exactly(replies: &[Reply], status: u16, wanted: usize) -> Option<String> {
    let granted = replies.iter().filter(|reply| reply.status == status).count();
    if granted != wanted {
        let mut seen = BTreeMap::<String, usize>::new();
        replies.iter().for_each(|reply| *seen.entry(reply.label()).or_default() += 1);
        return Some(format!("{granted} instead of {wanted}: {seen:?}"));
    }
    let improper = |reply: &&Reply| {
        let slugs = ["invalid-code", "challenge-invalid", "link-invalid", "locked", "busy", "rate-limited"];
        let cookies = reply.header("set-cookie").is_some_and(|line| !line.contains("Max-Age=0"));
        reply.status != status && (cookies || !slugs.contains(&&*reply.problem()))
    };
    replies.iter().find(improper).map(|reply| format!("a loser got {}", reply.text()))
}

fn program(to: SocketAddr, n: usize) -> Client {
    // From several addresses: a budget is the account's, whoever asks.
    Client::from(to, Ipv4Addr::new(127, 77, 0, u8::try_from(1 + n % 10).unwrap_or(1)))
}

fn proofs(
    to: SocketAddr,
    path: &'static str,
    bodies: impl Iterator<Item = Value>,
) -> Vec<(Client, &'static str, Value)> {
    bodies.enumerate().map(|(n, body)| (program(to, n), path, body)).collect()
}

/// Whether it holds a code.
pub(super) fn has_code(mail: &Mail) -> bool {
    mail.text.lines().any(|line| line.trim().len() == 6 && line.trim().parse::<u32>().is_ok())
}

fn has_token(mail: &Mail) -> bool {
    mail.text.contains("token=")
}

/// The newest mail of a kind that somebody got; it may still be under way.
pub(super) async fn mail(host: &Host, email: &str, is_meant: fn(&Mail) -> bool) -> Result<Mail> {
    for _ in 0..500 {
        let mails = host.site().mailbox().mails();
        if let Some(mail) = mails.into_iter().rev().find(|mail| mail.to == email && is_meant(mail)) {
            return Ok(mail);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no mail came to {email}")
}
