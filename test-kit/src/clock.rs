//! The clock of a real binary, moved from outside by libfaketime: the binary itself has nothing for it.
use crate::project::{self, which};
use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A clock that runs like the machine's, a number of seconds ahead or behind. It can be moved while a host runs.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    ahead: AtomicI64,
}

impl Clock {
    /// A clock that shows the machine's time, kept in `file`.
    pub fn new(file: PathBuf) -> Self {
        let clock = Self { file, ahead: AtomicI64::new(0) };
        clock.set(0);
        clock
    }
    /// Makes it so many seconds ahead of the machine's.
    pub fn set(&self, ahead: i64) {
        // Renamed into place: the host looks at any time, and must never see half a number.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}\n")).expect("the clock can be set");
        fs::rename(new, &self.file).expect("the clock can be set");
        self.ahead.store(ahead, Relaxed);
    }
    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_secs()).expect("a time that a test can mean");
        self.set(self.ahead.load(Relaxed) + by);
    }
    /// What it shows, in seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        unix().saturating_add_signed(self.ahead.load(Relaxed))
    }

    /// Lets a child live by this clock. Its monotonic clock stays the machine's, so that no timer goes wild.
    pub fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}

/// Removes what libfaketime leaves in shared memory of a process that was killed, under its id: `faketime` refuses to
/// start in a later process that has the same.
pub(crate) fn forget(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        // A process that had the machine's clock, or ended by itself, has left nothing.
        let _ = fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

/// The machine's time.
pub(crate) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the machine's clock is after 1970").as_secs()
}

/// The library that `faketime` itself would preload.
fn library() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // It gives up when a process with the same id was killed and has left its shared memory, as others' do.
        (0..20).find_map(|_| preloaded()).expect("faketime preloads its library")
    })
}

fn preloaded() -> Option<String> {
    assert!(
        which("faketime").is_some(),
        "the clock is moved by faketime, which is not installed (apt install faketime)"
    );
    let mut env = project::command("faketime");
    let output = env.args(["-m", "-f", "+0", "env"]).output().expect("faketime runs");
    let text = String::from_utf8(output.stdout).expect("an environment of text");
    text.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_lives_by_the_clock() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::new(dir.path().join("clock"));
        for ahead in [0, 86_400, -86_400] {
            clock.set(ahead);
            let mut date = project::command("date");
            clock.preload(date.arg("+%s"));
            let earliest = clock.now();
            let output = date.output().expect("date runs");
            let said: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
            assert!((earliest..=clock.now()).contains(&said), "{said}, {ahead} s ahead");
        }
    }
}
