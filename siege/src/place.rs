//! Hosts under siege, and what their processes use.
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site};
use std::{fmt, fs, net::SocketAddr, path::Path};

/// The stores that a host comes with.
pub(crate) const STORES: [&str; 2] = ["sqlite", "memory"];

/// A host on that store that sends mail into a box.
pub(crate) fn host(store: &str) -> Host {
    Site::with_store(store).with_mail().start()
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    status(process, "VmRSS:").map(|kib| kib * 1024)
}

/// How many threads it has.
pub(crate) fn threads(process: u32) -> Result<u64> {
    status(process, "Threads:")
}

fn status(process: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("no number")
}

/// The kernel's end of a host's connection.
pub(crate) struct Socket {
    pub(crate) peer: SocketAddr,
    /// As the kernel numbers them: 1 is established, 4 and 5 wait for the other side to end it.
    state: u8,
    /// Bytes that the other side has not acknowledged.
    pub(crate) unsent: u64,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in state {} with {} bytes unsent", self.state, self.unsent)
    }
}

/// Every connection to `host` that the kernel knows of, listening sockets and the clients' own ends apart.
pub(crate) fn sockets(host: SocketAddr) -> Result<Vec<Socket>> {
    let text = fs::read_to_string("/proc/net/tcp")?;
    let listed = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, peer, state, queues) =
            (address(fields.next()?)?, address(fields.next()?)?, fields.next()?, fields.next()?);
        let (state, unsent) = (u8::from_str_radix(state, 16).ok()?, queues.split(':').next()?);
        let unsent = u64::from_str_radix(unsent, 16).ok()?;
        (local == host && peer.port() != 0).then_some(Socket { peer, state, unsent })
    });
    Ok(listed.collect())
}

/// As the kernel writes it: the bytes of the address as a number of this machine, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some((ip, u16::from_str_radix(port, 16).ok()?).into())
}

/// Mebibytes, rounded.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", (bytes + (1 << 19)) >> 20)
}

/// Every file below a directory, with what is in it.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => {
                found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
            }
            _ => {}
        }
    }
    found
}
