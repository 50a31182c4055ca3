//! The budget of guesses, one for each account: it is the wall between a guesser and a six-digit code.
//!
//! All methods, challenges and sessions draw on it (RFC 4226, 7.3), and it is written before the answer
//! leaves. With the defaults a guesser has 35 guesses on the first day and 5 a day after that, and after 100
//! without a success in between none at all (NIST SP 800-63B-4, 3.2.2).
use crate::config::Lockout;
use countersign_plugin_api::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// So many failures in a row and no code of an app is looked at any more.
const HARD_STOP: u32 = 100;

/// What a guess is a guess of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Totp,
    Recovery,
    Email,
}

impl Method {
    /// The method's name among a session's `amr` (RFC 8176 names `otp`).
    pub(crate) fn amr(self) -> &'static str {
        match self {
            Self::Totp => "otp",
            Self::Recovery => "recovery",
            Self::Email => "email",
        }
    }
}

/// What has been guessed wrong since the last success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// In a row.
    failures: u32,
    /// Of these, since the last lock.
    since_lock: u32,
    /// Of these, guesses of codes by mail.
    by_mail: u32,
    /// How often it has locked.
    locks: u32,
    locked_until: Option<Time>,
    /// When a refusal was last put on record.
    noted_at: Option<Time>,
}

impl Budget {
    /// How long nothing is evaluated; `None` when a guess may be made.
    ///
    /// A recovery code lifts the hard stop, so it is looked at even then. It has 80 bits, and wrong ones go
    /// on locking: no more than `threshold` of them for each `max_duration`.
    pub(crate) fn wait(&self, method: Method, now: Time, rules: &Lockout) -> Option<Duration> {
        match self.locked_until {
            Some(until) if now < until => Some(until.since(now)),
            _ => (self.is_stopped() && method != Method::Recovery).then_some(rules.max_duration),
        }
    }

    /// Whether only a recovery code, or an administrator, can help.
    pub(crate) fn is_stopped(&self) -> bool {
        self.failures >= HARD_STOP
    }

    /// Counts a guess that was evaluated and wrong. Answers the end of the lock that it brought about.
    pub(crate) fn fail(&mut self, method: Method, now: Time, rules: &Lockout) -> Option<Time> {
        self.failures = self.failures.saturating_add(1);
        self.since_lock = self.since_lock.saturating_add(1);
        self.by_mail = self.by_mail.saturating_add(u32::from(method == Method::Email));
        if self.since_lock < rules.threshold {
            return None;
        }
        let doubled = 2u32.checked_pow(self.locks).and_then(|times| rules.duration.checked_mul(times));
        let until = now + doubled.unwrap_or(rules.max_duration).min(rules.max_duration);
        (self.since_lock, self.by_mail) = (0, 0);
        self.locks = self.locks.saturating_add(1);
        self.locked_until = Some(until);
        Some(until)
    }

    /// A second factor was proven: what was guessed before is forgiven.
    ///
    /// A code by mail forgives wrong codes by mail, and nothing else. Or whoever reads the mailbox could go on
    /// guessing what the app shows without end.
    pub(crate) fn succeed(&mut self, method: Method) {
        if method == Method::Email {
            self.failures = self.failures.saturating_sub(self.by_mail);
            self.since_lock = self.since_lock.saturating_sub(self.by_mail);
            self.by_mail = 0;
        } else {
            *self = Self::default();
        }
    }

    /// The end of the lock that holds now.
    pub(crate) fn locked_until(&self, now: Time) -> Option<Time> {
        self.locked_until.filter(|until| now < *until)
    }

    /// How many guesses in a row were wrong.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How many guesses are left before the next lock.
    pub(crate) fn left(&self, rules: &Lockout) -> u32 {
        rules.threshold.saturating_sub(self.since_lock).max(1)
    }

    /// Whether a refusal is to be put on record: once a minute, or hammering on a lock would write without
    /// end. It changes nothing about the lock.
    pub(crate) fn note_refusal(&mut self, now: Time) -> bool {
        let due = self.noted_at.is_none_or(|at| at + Duration::from_mins(1) <= now);
        if due {
            self.noted_at = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    /// Guesses wrong at every second at which that is possible; the seconds at which it was.
    fn hammer(budget: &mut Budget, method: Method, seconds: std::ops::Range<u64>) -> Vec<u64> {
        let rules = Lockout::default();
        let mut evaluated = Vec::new();
        let mut second = seconds.start;
        while second < seconds.end {
            if let Some(wait) = budget.wait(method, at(second), &rules) {
                second += wait.as_secs();
            } else {
                evaluated.push(second);
                budget.fail(method, at(second), &rules);
            }
        }
        evaluated
    }

    #[test]
    fn each_lock_holds_twice_as_long_up_to_a_day() {
        let rules = Lockout::default();
        let mut budget = Budget::default();
        let mut now = 1_000;
        for minutes in [15, 30, 60, 120, 240, 480, 960, 1_440, 1_440] {
            for _ in 0..4 {
                assert_eq!(budget.fail(Method::Totp, at(now), &rules), None);
                assert_eq!(budget.wait(Method::Totp, at(now), &rules), None);
            }
            let end = now + minutes * 60;
            assert_eq!(budget.fail(Method::Totp, at(now), &rules), Some(at(end)));
            assert_eq!(budget.wait(Method::Totp, at(now), &rules), Some(Duration::from_secs(minutes * 60)));
            assert_eq!(budget.wait(Method::Recovery, at(end - 1), &rules), Some(Duration::from_secs(1)));
            assert_eq!(budget.wait(Method::Totp, at(end), &rules), None);
            now = end;
        }
    }

    #[test]
    fn thirty_five_on_the_first_day_five_a_day_later_a_hundred_in_all() {
        let mut budget = Budget::default();
        assert_eq!(hammer(&mut budget, Method::Totp, 0..DAY).len(), 35);
        for day in 1..14 {
            let evaluated = hammer(&mut budget, Method::Totp, day * DAY..(day + 1) * DAY).len();
            assert!(evaluated <= 5, "{evaluated} on day {day}");
        }
        let later = hammer(&mut budget, Method::Totp, 14 * DAY..1_000 * DAY);
        assert!(budget.is_stopped());
        assert_eq!(budget.failures, 100);
        assert_eq!(budget.wait(Method::Totp, at(2_000 * DAY), &Lockout::default()).unwrap().as_secs(), DAY);
        assert!(later.len() <= 65);
    }

    #[test]
    fn at_the_hard_stop_recovery_codes_are_evaluated_five_a_day() {
        let mut budget = Budget::default();
        hammer(&mut budget, Method::Totp, 0..1_000 * DAY);
        assert_eq!(hammer(&mut budget, Method::Recovery, 1_000 * DAY..1_010 * DAY).len(), 50);
        budget.succeed(Method::Recovery);
        assert_eq!(budget, Budget::default());
    }

    #[test]
    fn a_threshold_that_does_not_divide_the_hard_stop_ends_there_too() {
        let rules = Lockout { threshold: 7, ..Lockout::default() };
        let mut budget = Budget::default();
        let mut now = at(0);
        while !budget.is_stopped() {
            now = now + budget.wait(Method::Totp, now, &rules).unwrap_or_default();
            budget.fail(Method::Totp, now, &rules);
        }
        assert_eq!(budget.failures, 100);
        assert!(budget.wait(Method::Totp, now, &rules).is_some());
        assert_eq!(budget.wait(Method::Recovery, now, &rules), None, "two of seven since the last lock");
    }

    #[test]
    fn refusals_are_noted_once_a_minute_and_leave_the_lock_alone() {
        let mut budget = Budget { locked_until: Some(at(900)), ..Budget::default() };
        let noted: Vec<u64> = (0..180).filter(|second| budget.note_refusal(at(*second))).collect();
        assert_eq!(noted, [0, 60, 120]);
        assert_eq!(budget.locked_until, Some(at(900)));
        assert_eq!(budget.failures, 0);
    }

    #[test]
    fn a_code_by_mail_forgives_wrong_codes_by_mail_only() {
        let rules = Lockout::default();
        let mut budget = Budget::default();
        for (guessed, failures) in [(Method::Totp, 1), (Method::Email, 2), (Method::Email, 3)] {
            budget.fail(guessed, at(0), &rules);
            assert_eq!(budget.failures(), failures);
        }
        budget.succeed(Method::Email);
        assert_eq!((budget.failures, budget.left(&rules)), (1, 4));
        budget.succeed(Method::Email);
        assert_eq!((budget.failures, budget.left(&rules)), (1, 4), "each once");
        // What has locked stays, and so does the length of the next lock.
        (0..4).for_each(|_| _ = budget.fail(Method::Email, at(0), &rules));
        budget.succeed(Method::Email);
        assert_eq!((budget.failures, budget.locks, budget.left(&rules)), (5, 1, 5));
        assert!(budget.wait(Method::Email, at(899), &rules).is_some());
        budget.succeed(Method::Totp);
        assert_eq!(budget, Budget::default());
    }
}
