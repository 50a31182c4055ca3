//! Rows about the process: how long a start takes, and how much memory there is without anybody to serve.
use crate::{
    process,
    report::{Row, median, shown},
};
use anyhow::{Context, Result, ensure};
use countersign_host::kernel::Candidate;
use countersign_test_kit::{Artifacts, Site, artifacts};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

const MIB: f64 = 1024.0 * 1024.0;

/// Mebibytes, with a tenth.
pub(crate) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "sizes of processes")]
    let bytes = bytes as f64;
    format!("{:.1} MiB", bytes / MIB)
}

/// The child, killed with whatever is measured of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From the start of the process to its first answer, and its memory a moment later.
pub(crate) fn rows(repeats: usize, rest: Duration) -> Result<Vec<Row>> {
    let site = Site::new().with_mail();
    let (mut times, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let mut command = site.serve();
        let begun = Instant::now();
        let child = Running(command.spawn().context("the host does not start")?);
        while !answers(site.address()) {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the host does not answer\n{}", site.log());
            sleep(Duration::from_micros(100));
        }
        times.push(begun.elapsed().as_secs_f64());
        sleep(rest);
        #[expect(clippy::cast_precision_loss, reason = "sizes of processes")]
        idle.push(process::resident(child.0.id())? as f64);
    }
    let time = Duration::from_secs_f64(median(times));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of processes")]
    let idle = median(idle) as u64;
    Ok(vec![
        Row::figure(
            "start to first answer, all plugins",
            "≤ 25 ms",
            shown(time),
            Some(time <= Duration::from_millis(25)),
        ),
        plugins(repeats)?,
        Row::figure("resident memory, idle", "≤ 16 MiB", mib(idle), Some(idle <= 16 << 20)),
    ])
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = write!(stream, "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// Reading, judging and opening each library of the product.
fn plugins(repeats: usize) -> Result<Row> {
    let libraries = artifacts::plugins()?;
    let mut slowest = (Duration::ZERO, String::new());
    for name in &libraries {
        let mut times = Vec::new();
        for _ in 0..repeats {
            let begun = Instant::now();
            let candidate =
                Candidate::read(&Artifacts::get().plugin(name), None).map_err(anyhow::Error::msg)?;
            candidate.open().map_err(anyhow::Error::msg)?;
            times.push(begun.elapsed().as_secs_f64());
        }
        slowest = slowest.max((Duration::from_secs_f64(median(times)), name.clone()));
    }
    let (time, name) = slowest;
    Ok(Row::figure(
        "to judge and open a plugin",
        "≤ 1 ms",
        format!("{:.2} ms ({name}, the slowest)", time.as_secs_f64() * 1e3),
        Some(time <= Duration::from_millis(1)),
    ))
}
