//! The process as the system sees it, under the names that all Prometheus clients use.
use super::family::{head, sample};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use std::{
    fs,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What cannot be read is left out.
pub(super) fn write(out: &mut String) {
    let mut one = |name: &str, kind: &str, help: &str, value: Option<String>| {
        head(out, name, help, kind);
        if let Some(value) = value {
            sample(out, name, "", value);
        }
    };
    let stat = Stat::read();
    let ticks = clock_ticks_per_second();
    let hundredths = |count: u64| format!("{}.{:02}", count / ticks, count % ticks * 100 / ticks);
    one(
        "process_cpu_seconds_total",
        "counter",
        "Time on processors, of the user and the system.",
        stat.as_ref().map(|stat| hundredths(stat.cpu)),
    );
    one(
        "process_start_time_seconds",
        "gauge",
        "When it started, in seconds since the Unix epoch.",
        stat.as_ref().map(|stat| started(Duration::from_secs(stat.started / ticks)).to_string()),
    );
    one("process_resident_memory_bytes", "gauge", "Memory that is in use.", resident());
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().to_string());
    one("process_open_fds", "gauge", "File descriptors that are open.", open);
    let most = getrlimit(Resource::Nofile).current;
    one("process_max_fds", "gauge", "File descriptors that may be open.", most.map(|most| most.to_string()));
}

/// In ticks.
struct Stat {
    cpu: u64,
    started: u64,
}

impl Stat {
    /// proc(5): the name of the program may hold anything and ends with the last parenthesis.
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // What follows is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu: field(14)? + field(15)?, started: field(22)? })
    }
}

/// When a process started that did so that long after the machine. Reckoned once: the same at each scrape, also when
/// the clock is set. `/proc/stat` would know, and a hardened unit does not see it (`ProcSubset=pid`).
fn started(after: Duration) -> u64 {
    static STARTED: OnceLock<u64> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let up = clock_gettime(ClockId::Boottime);
        let age = Duration::from_secs(u64::try_from(up.tv_sec).unwrap_or_default()).saturating_sub(after);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(age).as_secs()
    })
}

fn resident() -> Option<String> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some((pages * page_size() as u64).to_string())
}
