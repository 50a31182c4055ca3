//! Hosts under siege, and what their processes use.
use anyhow::{Context, Result};
use countersign_test_kit::{Host, Site};
use std::{fs, path::Path};

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
