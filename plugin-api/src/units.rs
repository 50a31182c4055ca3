//! Times, spans and sizes as types, and as users write them: `"5m"`, `"12h"`, `"64 MiB"`.
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{
    fmt,
    ops::{Add, Range},
    time::Duration,
};

/// An instant: whole seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// The expiry of what does not expire.
    pub const NEVER: Self = Self(i64::MAX as u64);
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From seconds since the Unix epoch; what lies beyond [`Time::NEVER`] is `NEVER`.
    pub const fn from_secs(secs: u64) -> Self {
        if secs > Self::NEVER.0 { Self::NEVER } else { Self(secs) }
    }
    /// Seconds since the Unix epoch.
    pub const fn secs(self) -> u64 {
        self.0
    }
    /// How long from `earlier` to this instant; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self::from_secs(self.0.saturating_add(span.as_secs()))
    }
}

/// RFC 3339 in UTC, to the second: `2026-11-21T09:30:00Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.0 / 86_400, self.0 % 86_400);
        // Days to a civil date (Howard Hinnant's algorithm), years counted from March.
        let days = days.saturating_add(719_468);
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}")?;
        // With each of these formatted for itself a time cost 2,600 instructions, a quarter of a line of the log.
        let mut rest = *b"-00-00T00:00:00Z";
        let digit = |number: u64| b'0' + (number % 10) as u8;
        for (at, part) in [month, day, hour, minute, second].into_iter().enumerate() {
            rest[3 * at + 1] = digit(part / 10);
            rest[3 * at + 2] = digit(part);
        }
        f.write_str(std::str::from_utf8(&rest).unwrap_or_default())
    }
}

/// What [`Display`](fmt::Display) writes, and nothing else.
impl std::str::FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let broken = || format!("`{text}` is not a time like 2026-11-21T09:30:00Z");
        let parsed = || {
            let number = |range: Range<usize>| {
                let digits = text.get(range)?;
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
            };
            let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
            let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
            // A civil date to days (the same algorithm the other way).
            let from_march = if month <= 2 { year.checked_sub(1)? } else { year };
            let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
            let days = from_march * 365 + from_march / 4 - from_march / 100 + from_march / 400 + of_year;
            let time =
                Self::from_secs(days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second);
            // A day that there is not, and any other spelling, is written otherwise.
            (time.to_string() == text).then_some(time)
        };
        parsed().ok_or_else(broken)
    }
}

/// A length of time as configuration spells it: a whole number and one of `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unit = |unit: &str| match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3_600),
            "d" => Some(86_400),
            _ => None,
        };
        measured(text, unit).map(|secs| Self(Duration::from_secs(secs))).ok_or_else(|| {
            format!(
                "`{text}` is not a duration: write a whole number and s, m, h or d, like \"30s\" or \"12h\""
            )
        })
    }
}

/// A number of bytes as configuration spells it: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unit = |unit: &str| match unit {
            "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        measured(text, unit).map(Self).ok_or_else(|| {
            format!("`{text}` is not a size: write a whole number and B, KiB, MiB or GiB, like \"64 MiB\"")
        })
    }
}

fn measured(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    number.checked_mul(unit(text[digits..].trim_start_matches(' '))?)
}

macro_rules! from_text {
    ($type:ident) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
from_text!(Span);
from_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_rfc_3339() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_111_111_109, "2005-03-18T01:58:29Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (20_000_000_000, "2603-10-11T11:33:20Z"),
        ] {
            assert_eq!(Time::from_secs(secs).to_string(), text);
            assert_eq!(text.parse(), Ok(Time::from_secs(secs)));
        }
        for wrong in [
            "",
            "2026-11-21",
            "2026-11-21T09:30:00",
            "2026-11-21t09:30:00Z",
            "2026-11-21T09:30:00+00:00",
            "2025-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "äää-11-21T09:30:00Z",
        ] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_and_sizes_read_as_users_write_them() {
        assert_eq!("30s".parse(), Ok(Span(Duration::from_secs(30))));
        assert_eq!("12h".parse(), Ok(Span(Duration::from_hours(12))));
        assert_eq!("64 MiB".parse(), Ok(Size(64 << 20)));
        for wrong in
            ["", "5", "m", "5 weeks", "-5m", "5.5m", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
        }
        assert!("5 MB".parse::<Size>().is_err());
    }
}
