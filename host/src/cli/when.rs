//! An instant as it is given on the command line.
use countersign_plugin_api::{Span, Time};
use toml::value::{Datetime, Offset};

/// How long ago, such as `90m`, or a time in UTC, such as `2026-11-21T09:30:00Z` or `2026-11-21`.
pub(super) fn parse(text: &str, now: Time) -> Result<Time, String> {
    if let Ok(Span(ago)) = text.parse() {
        return Ok(Time::from_secs(now.secs().saturating_sub(ago.as_secs())));
    }
    text.parse().ok().and_then(instant).ok_or_else(|| {
        format!(
            "`{text}` is no time: write how long ago, like `90m` or `7d`, or one like `2026-11-21T09:30:00Z`"
        )
    })
}

fn instant(at: Datetime) -> Option<Time> {
    let date = at.date?;
    let of_day = match (at.time, at.offset) {
        (None, None) => 0,
        (Some(time), Some(Offset::Z | Offset::Custom { minutes: 0 })) => {
            let second = u64::from(time.second.unwrap_or_default());
            u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60 + second
        }
        _ => return None,
    };
    // A civil date to days (Howard Hinnant's algorithm), years counted from March.
    let (year, month, day) = (u64::from(date.year), u64::from(date.month), u64::from(date.day));
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    Some(Time::from_secs(days.checked_sub(719_468)? * 86_400 + of_day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        for secs in [0, 951_782_399, 951_782_400, 1_709_164_800, 1_800_000_000, 4_102_444_800] {
            let time = Time::from_secs(secs);
            assert_eq!(parse(&time.to_string(), Time::EPOCH), Ok(time));
        }
    }

    #[test]
    fn spans_count_back_and_nonsense_is_refused() {
        let now = Time::from_secs(1_000_000);
        let secs = |text: &str| parse(text, now).map(Time::secs).ok();
        assert_eq!(secs("90m"), Some(1_000_000 - 5_400));
        assert_eq!(secs("100000d"), Some(0));
        assert_eq!(secs("1970-01-02"), Some(86_400));
        assert_eq!(secs("1970-01-01T00:00:01+00:00"), Some(1));
        for bad in [
            "",
            "yesterday",
            "12",
            "1970-13-01",
            "1970-01-01T01:00:00",
            "1970-01-01T01:00:00+02:00",
            "01:00:00",
            "1969-12-31",
        ] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }
}
