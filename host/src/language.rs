//! Languages: what a browser asks for, and which of those there are.

/// More than anybody reads; what a stranger sends is kept in an account, so it has an end.
const MOST: usize = 5;
/// The longest language tag that is worth looking at: `zh-cmn-Hans-CN` has 14.
const LONGEST: usize = 35;

/// The ranges of an `Accept-Language` (RFC 9110, section 12.5.4), the best first: what is wanted with quality 0, or
/// cannot be read, is left out, and so is `*`, which any language would be.
pub(crate) fn preferences(header: &str) -> String {
    let mut ranges: Vec<(u16, &str)> = header.split(',').take(4 * MOST).filter_map(range).collect();
    ranges.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    let ranges: Vec<&str> = ranges.into_iter().map(|(_, range)| range).take(MOST).collect();
    ranges.join(",")
}

/// A range and its quality in thousandths.
fn range(member: &str) -> Option<(u16, &str)> {
    let mut parts = member.split(';').map(|part| part.trim_matches([' ', '\t']));
    let tag = parts.next().filter(|tag| is_tag(tag))?;
    let quality = match (parts.next(), parts.next()) {
        (None, _) => 1000,
        (Some(weight), None) => quality(weight)?,
        _ => return None,
    };
    (quality > 0).then_some((quality, tag))
}

/// A weight (RFC 9110, section 12.4.2): from 0 to 1, with three digits after the point at most.
fn quality(weight: &str) -> Option<u16> {
    let value = weight.strip_prefix(['q', 'Q'])?.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let (whole, rest) = value.trim_start_matches([' ', '\t']).split_once('.').unwrap_or((value, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{rest:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", quality) => Some(quality),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Whether it has the shape of a language tag (RFC 5646): letters, then letters and digits, in parts of 1 to 8.
pub(crate) fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    text.len() <= LONGEST
        && (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// Which of the languages there are suits best, as RFC 4647, section 3.4 looks it up: each range is made shorter until
/// one of them is met. `None`: the default.
pub(crate) fn lookup<'a>(preferences: &str, available: &[&'a str]) -> Option<&'a str> {
    preferences.split(',').find_map(|range| {
        let mut range = range;
        loop {
            if let Some(met) = available.iter().find(|tag| tag.eq_ignore_ascii_case(range)) {
                return Some(*met);
            }
            range = range.rsplit_once('-')?.0;
            // A single letter or digit says that something follows, and nothing does.
            if let Some((before, [_])) =
                range.rsplit_once('-').map(|(before, last)| (before, last.as_bytes()))
            {
                range = before;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_by_quality_and_nonsense_is_left_out() {
        for (header, sorted) in [
            ("", ""),
            ("de", "de"),
            ("de-AT, de;q=0.8, en;q=0.7, *;q=0.1", "de-AT,de,en"),
            ("en;q=0.5, de;q=0.9, fr", "fr,de,en"),
            ("en;q=0.5,de;q=0.5", "en,de"),
            ("de;q=0, en;q=0.001", "en"),
            ("de;q=0.000, fr;q=1.000", "fr"),
            ("de;Q=0.3,fr ; q=0.4", "fr,de"),
            ("de;q=1.001, fr;q=2, it;q=.5, es;q=0.1234, pt;q=-1, nl;q=0.5;x=1, en;q=", ""),
            ("x, *, d, 12, de_AT, de-, -de, de--AT, d\u{e9}, zh-Hans-CN", "zh-Hans-CN"),
            ("aa,bb,cc,dd,ee,ff,gg", "aa,bb,cc,dd,ee"),
            (&"a-".repeat(5000), ""),
        ] {
            assert_eq!(preferences(header), sorted, "{header}");
        }
    }

    #[test]
    fn a_range_is_made_shorter_until_it_is_met() {
        let available = ["en", "de", "zh-Hant", "pt-BR"];
        for (preferences, met) in [
            ("de-AT", Some("de")),
            ("DE", Some("de")),
            ("fr,de", Some("de")),
            ("en,de", Some("en")),
            ("zh-Hant-CN-x-private1", Some("zh-Hant")),
            ("zh-Hans", None),
            ("zh", None),
            ("pt", None),
            ("pt-br", Some("pt-BR")),
            ("de-x-private", Some("de")),
            ("", None),
            ("fr", None),
        ] {
            assert_eq!(lookup(preferences, &available), met, "{preferences}");
        }
    }
}
