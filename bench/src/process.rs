//! What a process uses, as the kernel counts it.
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::{fs, time::Duration};

/// The CPU time of all its threads, user and system. `stat` tells it in hundredths of a second, which a short run
/// does not fill; the scheduler counts nanoseconds.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the server is gone")? {
        // A thread may end while this looks.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos += text.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// The same of this process, to the nanosecond: what the scheduler has counted is as old as the last tick.
pub(crate) fn own_cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Resident memory now, in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// The most that it has ever been.
pub(crate) fn peak(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

fn status(process: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).context("no number")?;
    Ok(kib * 1024)
}
