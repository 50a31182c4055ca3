//! Connections that are slow, and bytes without end.
use super::{Run, from};
use crate::{
    people::Person,
    place::{self, host, mib},
    report::{ms, quantile},
};
use anyhow::Result;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

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

pub(super) fn slow(run: &mut Run<'_>) -> Result<()> {
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

pub(super) fn bodies(run: &mut Run<'_>) -> Result<()> {
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
