//! More of everything than there is room for: passwords, connections, bytes, names.
mod overload;

use super::Run;
use crate::{
    http::Client,
    people::{PASSWORD, Person, patiently},
    place::{self, host, mib},
    report::{ms, quantile},
};
use anyhow::Result;
use serde_json::json;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    hashes(run)?;
    slow(run)?;
    bodies(run)?;
    strangers(run)?;
    names(run)?;
    overload::run(run)
}

/// One of 250 addresses.
fn from(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 99, u8::try_from(n / 250 % 250).unwrap_or(0), u8::try_from(1 + n % 250).unwrap_or(1))
}

// ---- password hashes ----

fn hashes(run: &mut Run<'_>) -> Result<()> {
    let crowd = run.scale.of(500, 40);
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let base = place::resident(process)?;
    let (peak, labels) = run.runtime.block_on(async {
        let person = Person::register(to, "hash").await?;
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
                let mut client = Client::from(to, from(n));
                let body = person.credentials();
                tokio::spawn(async move { client.post("/login", &body).await })
            })
            .collect();
        let mut labels = std::collections::BTreeMap::<String, usize>::new();
        for login in logins {
            *labels.entry(login.await??.label()).or_default() += 1;
        }
        over.store(true, SeqCst);
        Ok::<_, anyhow::Error>((watch.await?, labels))
    })?;
    let bound = (base + 2 * (19 << 20)) * 11 / 10;
    let at = ("flood", "R47");
    run.report.check(
        at,
        format!("{crowd} logins at once: memory at most what two hashes take, and a tenth"),
        format!("{} of {}", mib(peak), mib(bound)),
        peak <= bound,
    );
    let proper = labels.keys().all(|label| ["200", "503 busy"].contains(&label.as_str()));
    run.report.check(
        at,
        format!("{crowd} logins at once: let in, or told to come back"),
        format!("{labels:?}"),
        proper && labels.contains_key("200"),
    );
    host.stop();
    Ok(())
}

// ---- slow clients ----

/// What a slow client sends before it stops.
const STALLS: [&str; 4] = [
    "",
    "POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-ty",
    "POST /api/auth/login HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"email\":",
    "POST /api/auth/login HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ema",
];

async fn stall(to: SocketAddr, n: usize) -> io::Result<Duration> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from(n), 0).into())?;
    let mut stream = socket.connect(to).await?;
    let begun = Instant::now();
    stream.write_all(STALLS[n % STALLS.len()].replace("HOST", &to.to_string()).as_bytes()).await?;
    let mut bytes = [0; 512];
    loop {
        // A byte now and then, where another would be taken: what counts is the head or the body as a whole.
        match timeout(Duration::from_secs(3), stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return Ok(begun.elapsed()),
            Err(_) if begun.elapsed() > Duration::from_mins(1) => return Ok(begun.elapsed()),
            Err(_) if n % 4 == 1 || n % 4 == 2 => drop(stream.write_all(b"a").await),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

fn slow(run: &mut Run<'_>) -> Result<()> {
    let (stalled, lasts) =
        (run.scale.of(1000, 60), run.scale.time(Duration::from_mins(1), Duration::from_secs(13)));
    let host = host("memory");
    let to = host.address();
    let (times, closed) = run.runtime.block_on(async {
        let person = Person::register(to, "slow").await?;
        let over = Arc::new(AtomicBool::new(false));
        let stalls: Vec<_> = (0..stalled)
            .map(|n| {
                let over = over.clone();
                tokio::spawn(async move {
                    let mut slowest = Duration::ZERO;
                    while !over.load(SeqCst) {
                        slowest = slowest.max(stall(to, n).await?);
                    }
                    Ok::<_, io::Error>(slowest)
                })
            })
            .collect();
        let (begun, mut times) = (Instant::now(), Vec::new());
        let mut client = person.client(to);
        while begun.elapsed() < lasts {
            let reply = client.get("/me").await?;
            anyhow::ensure!(reply.status == 200, "beside slow clients: {}", reply.text());
            times.push(reply.took);
            // A connection of its own, now and then: somebody new must get in as well.
            if times.len() % 10 == 0 {
                client = person.client(to);
            }
            sleep(Duration::from_millis(10)).await;
        }
        over.store(true, SeqCst);
        let mut closed = Vec::new();
        for stall in stalls {
            closed.push(stall.await??);
        }
        Ok::<_, anyhow::Error>((times, closed))
    })?;
    let (p99, last) = (quantile(&times, 0.99), closed.iter().max().copied().unwrap_or_default());
    let (at, judged) = (("flood", "R60"), run.scale.judges_time());
    run.report.timed(
        at,
        judged,
        format!("{stalled} stalled connections: others in 500 ms (p99)"),
        ms(p99),
        p99 <= Duration::from_millis(500),
    );
    run.report.timed(
        at,
        judged,
        "each of them is closed within 12 s",
        ms(last),
        last <= Duration::from_secs(12),
    );
    host.stop();
    Ok(())
}

// ---- bytes ----

/// Requests whose length two readers could disagree on, or that are too much.
const SHAPES: [&str; 10] = [
    "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nhost: HOST\r\n\r\n",
    "content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "content-length: +2\r\n\r\n{}",
    "content-length: 2, 2\r\n\r\n{}",
    "content-length: -1\r\n\r\n{}",
    "content-length: 99999999999999999999\r\n\r\n{}",
    "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
];

fn bodies(run: &mut Run<'_>) -> Result<()> {
    let host = host("memory");
    let (to, process) = (host.address(), host.server().id());
    let (shapes, sent, status, headers, grown) = run.runtime.block_on(async {
        let person = Person::register(to, "bodies").await?;
        let mut shapes = Vec::new();
        for shape in SHAPES {
            let head = "POST /api/auth/logout HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\nauthorization: Bearer TOKEN\r\n";
            let text = format!("{head}{shape}").replace("HOST", &to.to_string()).replace("TOKEN", &person.token);
            shapes.push(raw(to, text.as_bytes()).await?);
        }
        anyhow::ensure!(person.client(to).get("/me").await?.status == 200, "a shape has logged out");
        let before = place::resident(process)?;
        let (sent, status) = endless(to).await?;
        let headers = raw(to, format!("GET /api/auth/me HTTP/1.1\r\nhost: {to}\r\n{}\r\n", "x: y\r\n".repeat(9000)).as_bytes()).await?;
        Ok::<_, anyhow::Error>((shapes, sent, status, headers, place::resident(process)?.saturating_sub(before)))
    })?;
    let at = ("flood", "R61");
    let accepted = shapes.iter().filter(|status| !matches!(status, 0 | 400..=499 | 501)).count();
    run.report.check(
        at,
        format!("{} shapes with two lengths or none: refused", SHAPES.len()),
        format!("{accepted} accepted: {shapes:?}"),
        accepted == 0,
    );
    run.report.check(
        at,
        "1 GiB in chunks: closed before 64 KiB beyond the socket's buffers are read",
        format!("{} sent, then {status}", mib(sent)),
        sent <= 16 << 20 && matches!(status, 0 | 413),
    );
    run.report.check(at, "54 KB of headers: refused", headers.to_string(), matches!(headers, 0 | 431 | 400));
    run.report.check(at, "resident memory grows by at most 8 MiB", mib(grown), grown <= 8 << 20);
    host.stop();
    Ok(())
}

/// The status of the first answer; 0 for none.
async fn raw(to: SocketAddr, bytes: &[u8]) -> Result<u16> {
    let mut stream = TcpStream::connect(to).await?;
    // It may be closed before all of it is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

/// How many bytes of an endless body go out before the end, and what is answered.
async fn endless(to: SocketAddr) -> Result<(u64, u16)> {
    let mut stream = TcpStream::connect(to).await?;
    let head = format!(
        "POST /api/auth/login HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = [b"4000\r\n".as_slice(), &[b'a'; 0x4000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1 << 30 {
        match timeout(Duration::from_secs(3), stream.write_all(&chunk)).await {
            Ok(Ok(())) => sent += chunk.len() as u64,
            _ => break,
        }
    }
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(3), stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer);
    Ok((sent, text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)))
}

// ---- what strangers can do to one owner ----

fn strangers(run: &mut Run<'_>) -> Result<()> {
    let lasts = run.scale.time(Duration::from_mins(1), Duration::from_secs(6));
    for store in place::STORES {
        let host = host(store);
        let to = host.address();
        let outcome = run.runtime.block_on(besieged(to, lasts))?;
        let at = ("flood", "R16");
        let Besieged { asked, logins, refused, proofs, failed, slowest } = outcome;
        run.report.check(at, format!("{store}: strangers with wrong passwords, links and resets: the owner's own browser is never locked out"), format!("{refused:?} in {logins} logins beside {asked} requests"), refused.is_empty() && logins > 0);
        run.report.check(
            at,
            format!("{store}: and the second factor never fails"),
            format!("{failed} of {proofs}"),
            failed == 0 && proofs > 0,
        );
        run.report.timed(
            at,
            run.scale.judges_time(),
            format!("{store}: and is answered in 500 ms (p99)"),
            ms(slowest),
            slowest <= Duration::from_millis(500),
        );
        host.stop();
    }
    Ok(())
}

struct Besieged {
    asked: usize,
    logins: usize,
    refused: Vec<String>,
    proofs: usize,
    failed: usize,
    slowest: Duration,
}

async fn besieged(to: SocketAddr, lasts: Duration) -> Result<Besieged> {
    // A browser that has completed a login is known by its device cookie.
    let mut owner = Person::enrolled(to, "owner").await?;
    let body = json!({ "email": owner.email, "password": PASSWORD });
    let mut browser = Client::new(to);
    browser.post("/login", &body).await?.expect(202)?;
    let code = owner.code().await?;
    browser.post("/mfa/totp/verify", &json!({ "code": code })).await?.expect(200)?;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let strangers: Vec<_> = (0..12)
        .map(|n| {
            let (over, asked, email) = (over.clone(), asked.clone(), owner.email.clone());
            tokio::spawn(async move {
                let mut client = Client::from(to, from(n));
                while !over.load(SeqCst) {
                    let (path, body) = match n % 3 {
                        0 => ("/login", json!({ "email": email, "password": "a wrong canary phrase" })),
                        1 => ("/mfa/magic-link/send", json!({ "email": email })),
                        _ => ("/password/reset", json!({ "email": email })),
                    };
                    let _ = client.post(path, &body).await;
                    client.cookies.clear();
                    asked.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let mut seen =
        Besieged { asked: 0, logins: 0, refused: Vec::new(), proofs: 0, failed: 0, slowest: Duration::ZERO };
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasts {
        let reply = browser.post("/login", &body).await?;
        seen.logins += 1;
        if reply.status != 202 {
            seen.refused.push(reply.label());
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        // A wrong guess and then, if there is one, the right code: neither may be lost in the crowd.
        let codes = [Some(owner.wrong_code()?), owner.code_at_once()?];
        for (code, status) in codes.into_iter().zip([401, 200]) {
            let Some(code) = code.filter(|_| status == 200 || seen.proofs.is_multiple_of(4)) else {
                continue;
            };
            let reply = browser.post("/mfa/totp/verify", &json!({ "code": code })).await?;
            times.push(reply.took);
            seen.proofs += 1;
            seen.failed += usize::from(reply.status != status);
        }
        sleep(Duration::from_millis(50)).await;
    }
    over.store(true, SeqCst);
    for stranger in strangers {
        stranger.await?;
    }
    seen.asked = asked.load(Relaxed);
    seen.slowest = quantile(&times, 0.99);
    Ok(seen)
}

// ---- a million names ----

fn names(run: &mut Run<'_>) -> Result<()> {
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
