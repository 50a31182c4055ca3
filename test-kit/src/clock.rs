//! The clock of a real binary, moved from outside by libfaketime: the binary itself has nothing for it.
use crate::project::{self, which};
use std::{
    fs,
    path::{Path, PathBuf},
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
        forget_the_dead();
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}

/// What libfaketime keeps in shared memory for a process, with its id after it.
const KEPT: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];
const SHARED_MEMORY: &str = "/dev/shm";

/// Removes what libfaketime has left in shared memory, under their ids, of processes that were killed: one that has
/// such an id by chance would end before it began.
fn forget_the_dead() {
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| KEPT.iter().find_map(|kept| name.strip_prefix(kept)));
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Somebody else may have been quicker, or it is another user's.
            let _ = fs::remove_file(entry.path());
        }
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
        assert!(
            which("faketime").is_some(),
            "the clock is moved by faketime, which is not installed (apt install faketime)"
        );
        let mut env = project::command("faketime");
        let output = env.args(["-m", "-f", "+0", "env"]).output().expect("faketime runs");
        let text = String::from_utf8(output.stdout).expect("an environment of text");
        let library = text.lines().find_map(|line| line.strip_prefix("LD_PRELOAD="));
        let complaint = String::from_utf8_lossy(&output.stderr);
        library.unwrap_or_else(|| panic!("faketime preloads no library: {complaint}")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{process::Child, thread::sleep, time::Instant};

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

    #[test]
    fn what_the_killed_have_left_is_removed_and_the_living_keep_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::new(dir.path().join("clock"));
        let [mut killed, mut living] = [(), ()].map(|()| {
            let mut sleep = project::command("sleep");
            clock.preload(sleep.arg("60"));
            sleep.spawn().expect("sleep starts")
        });
        let left = |child: &Child| {
            KEPT.map(|kept| Path::new(SHARED_MEMORY).join(format!("{kept}{}", child.id())).exists())
        };
        let give_up = Instant::now() + Duration::from_secs(20);
        while [left(&killed), left(&living)] != [[true; 2]; 2] {
            assert!(Instant::now() < give_up, "libfaketime keeps something under the id of its process");
            sleep(Duration::from_millis(10));
        }
        killed.kill().expect("it can be killed");
        killed.wait().expect("it has ended");
        clock.preload(&mut project::command("true"));
        assert_eq!([left(&killed), left(&living)], [[false; 2], [true; 2]]);
        living.kill().expect("it can be killed");
        living.wait().expect("it has ended");
        clock.preload(&mut project::command("true"));
        assert_eq!(left(&living), [false; 2]);
    }
}
