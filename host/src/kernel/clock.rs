//! Time that never goes back.
use countersign_plugin_api::Time;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Two clocks: the one on the wall, and one that is at least the wall, never goes back, and goes on with the
/// monotonic clock while the wall is behind. A clock that was set back revives nothing.
pub(super) struct Clock {
    start: Instant,
    /// Milliseconds since the Unix epoch at `start`: the largest that any reading implied.
    epoch: AtomicU64,
    /// When the mark was last written, in seconds.
    marked: AtomicU64,
}

/// How often the mark is written, with a batch that is written anyway.
const MARK_EVERY: u64 = 60;

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), epoch: AtomicU64::new(0), marked: AtomicU64::new(0) }
    }

    pub(super) fn wall() -> Time {
        Time::from_secs(since_epoch().as_secs())
    }

    pub(super) fn now(&self) -> Time {
        let wall = millis(since_epoch());
        let elapsed = millis(self.start.elapsed());
        let implied = wall.saturating_sub(elapsed);
        let epoch = self.epoch.fetch_max(implied, Relaxed).max(implied);
        Time::from_secs((epoch + elapsed) / 1000)
    }

    /// Takes over a mark that an earlier process stored.
    pub(super) fn recall(&self, mark: Time) {
        self.marked.fetch_max(mark.secs(), Relaxed);
        self.epoch.fetch_max(mark.secs().saturating_mul(1000), Relaxed);
    }

    /// Whether it is time to store a mark; says so once.
    pub(super) fn mark_is_due(&self, now: Time) -> bool {
        let marked = self.marked.load(Relaxed);
        now.secs() >= marked + MARK_EVERY
            && self.marked.compare_exchange(marked, now.secs(), Relaxed, Relaxed).is_ok()
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_in_the_future_is_kept_and_time_goes_on_from_it() {
        let clock = Clock::new();
        let mark = clock.now() + Duration::from_secs(1000);
        clock.recall(mark);
        assert!(clock.now() >= mark);
        assert!(Clock::wall() < mark);
    }

    #[test]
    fn a_mark_is_due_once_a_minute() {
        let clock = Clock::new();
        let at = |secs| Time::from_secs(secs);
        clock.recall(at(1000));
        let due: Vec<bool> = [1059, 1060, 1061, 1119, 1120].map(|secs| clock.mark_is_due(at(secs))).to_vec();
        assert_eq!(due, [false, true, false, false, true]);
    }
}
