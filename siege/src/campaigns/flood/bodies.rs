//! Bytes without end, and lengths that two readers could disagree on.
use super::Run;
use crate::{
    people::Person,
    place::{self, host, mib},
};
use anyhow::Result;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

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

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
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
