//! Families of series, and how Prometheus reads them (text format 0.0.4).
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Series of one family. What labels hold is bounded by what is loaded; this is for a plugin that makes names up.
const MOST: usize = 1024;

/// Series of one name, told apart by their labels.
pub(crate) struct Family<S> {
    name: &'static str,
    help: &'static str,
    /// Labels that are known beforehand: their series begin at zero, so that a rate sees the first count.
    known: &'static [&'static str],
    series: RwLock<BTreeMap<Box<str>, S>>,
}

/// What a series holds.
pub(crate) trait Series: Default {
    const KIND: &'static str;
    fn write(&self, out: &mut String, name: &str, labels: &str);
}

/// A family of any kind, as text.
pub(super) trait Exposed: Sync {
    fn write(&self, out: &mut String);
}

impl<S: Series> Family<S> {
    pub(super) const fn new(name: &'static str, help: &'static str, known: &'static [&'static str]) -> Self {
        Self { name, help, known, series: RwLock::new(BTreeMap::new()) }
    }

    fn with(&self, labels: &str, act: impl FnOnce(&S)) {
        if let Some(series) = self.series.read().get(labels) {
            return act(series);
        }
        let mut series = self.series.write();
        let is_full = series.len() >= MOST && !series.contains_key(labels);
        act(series.entry(if is_full { "overflow=\"true\"" } else { labels }.into()).or_default());
    }
}

impl<S: Series + Send + Sync> Exposed for Family<S> {
    fn write(&self, out: &mut String) {
        self.known.iter().for_each(|labels| self.with(labels, |_| {}));
        head(out, self.name, self.help, S::KIND);
        for (labels, series) in &*self.series.read() {
            series.write(out, self.name, labels);
        }
    }
}

/// What is counted.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Family<Count> {
    /// One more. The labels are as [`labels`] writes them; none is "".
    pub(crate) fn count(&self, labels: &str) {
        self.add(labels, 1);
    }
    pub(crate) fn add(&self, labels: &str, more: u64) {
        self.with(labels, |count| {
            count.0.fetch_add(more, Relaxed);
        });
    }
    /// How many there were so far.
    pub(crate) fn so_far(&self, labels: &str) -> u64 {
        self.series.read().get(labels).map_or(0, |count| count.0.load(Relaxed))
    }
}

impl Series for Count {
    const KIND: &'static str = "counter";
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        sample(out, name, labels, self.0.load(Relaxed));
    }
}

/// What rises and falls.
#[derive(Default)]
pub(crate) struct Level(AtomicI64);

impl Family<Level> {
    pub(crate) fn shift(&self, by: i64) {
        self.with("", |level| {
            level.0.fetch_add(by, Relaxed);
        });
    }
}

impl Series for Level {
    const KIND: &'static str = "gauge";
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        sample(out, name, labels, self.0.load(Relaxed));
    }
}

/// Upper bounds of the buckets in microseconds: from a read of the page cache to the longest try of a delivery.
const BOUNDS: [u32; 17] = [
    5, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 30_000_000,
];

/// How long something took.
#[derive(Default)]
pub(crate) struct Times {
    /// By bucket; the last is for what is above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Family<Times> {
    pub(crate) fn took(&self, labels: &str, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| u64::from(*bound) * 1_000 < nanos);
        self.with(labels, |times| {
            times.counts[bucket].fetch_add(1, Relaxed);
            times.nanos.fetch_add(nanos, Relaxed);
        });
    }
    /// Times what is done.
    pub(crate) fn time<T>(&self, labels: &str, work: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let made = work();
        self.took(labels, since.elapsed());
        made
    }
}

impl Series for Times {
    const KIND: &'static str = "histogram";
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count.load(Relaxed);
            let bound = BOUNDS.get(at).map_or("+Inf".into(), |micros| seconds(u64::from(*micros) * 1_000));
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
        }
        sample(out, &format!("{name}_sum"), labels, seconds(self.nanos.load(Relaxed)));
        // Not another load: the buckets and the count must agree.
        sample(out, &format!("{name}_count"), labels, below);
    }
}

fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// The lines before the series of a family.
pub(super) fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// One series.
pub(super) fn sample(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

/// Labels as they stand between the braces.
pub(crate) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> String {
    let mut text = String::with_capacity(96);
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(name);
        text.push_str("=\"");
        if value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
            for c in value.chars() {
                match c {
                    '\\' | '"' => text.extend(['\\', c]),
                    '\n' => text.push_str("\\n"),
                    _ => text.push(c),
                }
            }
        } else {
            text.push_str(value);
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(family: &impl Exposed) -> String {
        let mut out = String::new();
        family.write(&mut out);
        out
    }

    #[test]
    fn what_is_known_begins_at_zero_and_labels_are_escaped() {
        let family = Family::<Count>::new("c_total", "What.", &["kind=\"a\"", "kind=\"b\""]);
        family.count("kind=\"b\"");
        family.add(&labels([("kind", "x\"y\\z\n"), ("more", "")]), 2);
        assert_eq!(
            text(&family),
            "# HELP c_total What.\n# TYPE c_total counter\nc_total{kind=\"a\"} 0\nc_total{kind=\"b\"} 1\n\
             c_total{kind=\"x\\\"y\\\\z\\n\",more=\"\"} 2\n"
        );
    }

    #[test]
    fn a_time_is_in_its_bucket_and_in_all_above() {
        let family = Family::<Times>::new("t_seconds", "What.", &[]);
        for micros in [5, 6, 1_000, 40_000_000] {
            family.took("", Duration::from_micros(micros));
        }
        let text = text(&family);
        for line in [
            "t_seconds_bucket{le=\"0.000005\"} 1",
            "t_seconds_bucket{le=\"0.000025\"} 2",
            "t_seconds_bucket{le=\"0.0005\"} 2",
            "t_seconds_bucket{le=\"0.001\"} 3",
            "t_seconds_bucket{le=\"30.0\"} 3",
            "t_seconds_bucket{le=\"+Inf\"} 4",
            "t_seconds_sum 40.001011",
            "t_seconds_count 4",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_plugin_that_makes_names_up_fills_one_series() {
        let family = Family::<Count>::new("c_total", "What.", &[]);
        (0..2 * MOST).for_each(|at| family.count(&labels([("event", &at.to_string())])));
        assert_eq!(text(&family).lines().count(), 2 + MOST + 1);
        assert!(text(&family).contains(&format!("{{overflow=\"true\"}} {MOST}\n")));
    }

    #[test]
    fn a_level_falls_as_it_rose() {
        let family = Family::<Level>::new("l", "What.", &[""]);
        family.shift(2);
        family.shift(-1);
        assert!(text(&family).ends_with("\nl 1\n"));
    }
}
