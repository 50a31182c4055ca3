//! What was promised, and what was measured.
use serde_json::{Value, json};
use std::{fmt::Write as _, time::Duration};

/// One line.
struct Line {
    campaign: String,
    requirement: String,
    figure: String,
    measured: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Falls,
    /// Measured, and too small a run to judge.
    Seen,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Falls => "FALLS SHORT",
            Self::Seen => "not judged",
        }
    }
}

/// All lines of a run.
pub(crate) struct Report {
    pub(crate) scale: f64,
    pub(crate) seed: u64,
    lines: Vec<Line>,
    times: Vec<(String, Duration)>,
}

impl Report {
    pub(crate) fn new(scale: f64, seed: u64) -> Self {
        Self { scale, seed, lines: Vec::new(), times: Vec::new() }
    }

    /// This one, and then another of the same run.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.times.extend(other.times);
        self
    }

    /// A figure that either holds or does not.
    pub(crate) fn check(
        &mut self,
        at: (&str, &str),
        figure: impl Into<String>,
        measured: impl Into<String>,
        holds: bool,
    ) {
        self.add(at, figure.into(), measured.into(), if holds { Verdict::Holds } else { Verdict::Falls });
    }
    /// A figure of time, which a machine that does other work at the same time cannot show.
    pub(crate) fn timed(
        &mut self,
        at: (&str, &str),
        judged: bool,
        figure: impl Into<String>,
        measured: impl Into<String>,
        holds: bool,
    ) {
        let verdict = match (judged, holds) {
            (_, true) => Verdict::Holds,
            (true, false) => Verdict::Falls,
            (false, false) => Verdict::Seen,
        };
        self.add(at, figure.into(), measured.into(), verdict);
    }
    /// A campaign that could not be carried out: it has shown nothing.
    pub(crate) fn broken(&mut self, campaign: &str, why: &str) {
        self.add((campaign, "-"), "is carried out".into(), why.replace('\n', " "), Verdict::Falls);
    }
    pub(crate) fn ended(&mut self, campaign: &str, took: Duration) {
        self.times.push((campaign.into(), took));
    }

    fn add(
        &mut self,
        (campaign, requirement): (&str, &str),
        figure: String,
        measured: String,
        verdict: Verdict,
    ) {
        eprintln!("   {campaign:<8} {requirement:<4} {figure}: {measured} ({})", verdict.word());
        let (campaign, requirement) = (campaign.to_owned(), requirement.to_owned());
        self.lines.push(Line { campaign, requirement, figure, measured, verdict });
    }

    /// Whether nothing fell short.
    pub(crate) fn holds(&self) -> bool {
        self.lines.iter().all(|line| line.verdict != Verdict::Falls)
    }

    /// As Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("Scale {}, seed {}.\n\n", self.scale, self.seed);
        text.push_str("| campaign | requirement | figure | measured | |\n|---|---|---|---|---|\n");
        for line in &self.lines {
            let Line { campaign, requirement, figure, measured, verdict } = line;
            let measured = measured.replace('|', "\\|");
            let word = verdict.word();
            let _ = writeln!(text, "| {campaign} | {requirement} | {figure} | {measured} | {word} |");
        }
        let times = self.times.iter().map(|(name, took)| format!("{name} {} s", took.as_secs()));
        let _ = write!(text, "\n{}.", times.collect::<Vec<_>>().join(", "));
        text
    }
    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "campaign": line.campaign, "requirement": line.requirement, "figure": line.figure,
                "measured": line.measured, "verdict": line.verdict.word(),
            })
        };
        json!({
            "scale": self.scale, "seed": self.seed, "holds": self.holds(),
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
        })
    }
}

/// A share of measured times, in order: 0.5 is the median.
pub(crate) fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// In milliseconds, with one decimal.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
