//! So many of a kind in so long a time, told by when each of them was.
use countersign_plugin_api::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When the last ones were, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quota(Vec<Time>);

impl Quota {
    /// How long until one more is allowed; `None` when it is.
    pub(crate) fn wait(&self, now: Time, most: usize, per: Duration) -> Option<Duration> {
        let recent: Vec<Time> = self.0.iter().copied().filter(|at| now < *at + per).collect();
        let first_to_end = recent.len().checked_sub(most)?;
        recent.get(first_to_end).map(|at| (*at + per).since(now))
    }

    /// Counts one.
    pub(crate) fn count(&mut self, now: Time, per: Duration) {
        self.0.retain(|at| now < *at + per);
        self.0.push(now);
    }

    /// From when on it says nothing any more.
    pub(crate) fn ends(&self, per: Duration) -> Time {
        self.0.last().map_or(Time::EPOCH, |at| *at + per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_ten_minutes_whenever_one_looks() {
        let per = Duration::from_mins(10);
        let mut quota = Quota::default();
        let mut taken = Vec::new();
        for second in 0..2_000 {
            let now = Time::from_secs(second);
            match quota.wait(now, 3, per) {
                None if second % 7 == 0 => {
                    quota.count(now, per);
                    taken.push(second);
                }
                Some(wait) => assert_eq!(quota.wait(now + wait, 3, per), None),
                None => {}
            }
        }
        assert_eq!(taken, [0, 7, 14, 602, 609, 616, 1_204, 1_211, 1_218, 1_806, 1_813, 1_820]);
        assert!(taken.windows(4).all(|four| four[3] - four[0] >= 600));
        assert_eq!(quota.0.len(), 3, "what is over is forgotten");
        assert_eq!(quota.ends(per), Time::from_secs(2_420));
    }

    #[test]
    fn a_smaller_quota_waits_for_more_of_them_to_end() {
        let per = Duration::from_secs(100);
        let mut quota = Quota::default();
        (0..3).for_each(|n| quota.count(Time::from_secs(n * 10), per));
        let now = Time::from_secs(30);
        for (most, wait) in [(4, None), (3, Some(70)), (2, Some(80)), (1, Some(90))] {
            assert_eq!(quota.wait(now, most, per), wait.map(Duration::from_secs), "{most}");
        }
    }
}
