//! Power that fails: what a host writes, syncs and answers is recorded, and the disk is put back as it may have been at
//! any instant, which is everything that was synced, and of all else any part. A host has to start on that.
mod disk;

use super::{Run, crash::is_sound};
use crate::{http::Client, people::Person, trace::Trace};
use anyhow::{Result, ensure};
use countersign_test_kit::Site;
use disk::{Disk, Event, events};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::net::SocketAddr;

/// The calls that change a file, that keep it, and that answer; with all that is written.
const OPTIONS: [&str; 5] =
    ["-x", "-s", "1000000", "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,write,writev,sendto,sendmsg"];

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let (writes, cuts) = (run.scale.of(150, 6), run.scale.of(50, 2));
    let mut random = StdRng::seed_from_u64(run.seed);
    let host = Site::with_store("sqlite").start();
    let data = host.site().path("data");
    let trace = Trace::attach(host.server().id(), &host.site().path("trace"), &OPTIONS)?;
    let before = Disk::of(&data)?;
    let tokens = run.runtime.block_on(accounts(host.address(), writes))?;
    let events = events(&trace.end()?)?;
    let mut site = host.kill();
    let told = events.iter().filter(|event| matches!(event, Event::Answered)).count();
    ensure!(told == writes, "{told} answers in the trace, and not {writes}");
    let (mut unsound, mut lost, mut acknowledged) = (0, 0, 0);
    for _ in 0..cuts {
        let seen = &events[..random.random_range(..events.len())];
        before.after(seen, &mut random).write(&data)?;
        unsound += usize::from(!is_sound(&site)?);
        let host = site.start();
        let told = seen.iter().filter(|event| matches!(event, Event::Answered)).count();
        lost += run.runtime.block_on(missing(host.address(), &tokens[..told]))?;
        acknowledged += told;
        site = host.kill();
    }
    let at = ("powerloss", "R51");
    run.report.check(
        at,
        format!("power fails at {cuts} places among {} calls: PRAGMA integrity_check: ok", events.len()),
        format!("{unsound} of the databases unsound"),
        unsound == 0,
    );
    run.report.check(
        at,
        "what was not synced is kept, lost or torn: acknowledged and lost: 0",
        format!("{lost} of {acknowledged}"),
        lost == 0 && acknowledged > 0,
    );
    Ok(())
}

/// One account after the other, so that the order of the answers is that of the tokens.
async fn accounts(to: SocketAddr, count: usize) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(Person::register(to, "power").await?.token);
    }
    Ok(tokens)
}

async fn missing(to: SocketAddr, tokens: &[String]) -> Result<usize> {
    let mut missing = 0;
    for token in tokens {
        let status = Client::new(to).with_bearer(token).get("/me").await?.status;
        missing += usize::from(status != 200);
    }
    Ok(missing)
}
