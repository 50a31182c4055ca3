//! What is said at the end: a table, as text or as JSON, and plots.
use crate::plot::Plot;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Something that was measured, and what it should be.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) goal: String,
    pub(crate) measured: String,
    /// The rate as a part of the reference's.
    pub(crate) ratio: Option<f64>,
    /// What the server's process used for one request, in microseconds; and how long half of them took, and 99 of 100.
    pub(crate) cpu: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// `None` where nothing is promised.
    pub(crate) holds: Option<bool>,
}

impl Row {
    /// A plain figure.
    pub(crate) fn figure(name: &str, goal: &str, measured: String, holds: Option<bool>) -> Self {
        let (name, goal) = (name.into(), goal.into());
        Self { name, goal, measured, ratio: None, cpu: None, p50: None, p99: None, holds }
    }
    fn cells(&self) -> [String; 8] {
        let time = |micros: Option<f64>| {
            micros.map(|micros| shown(Duration::from_secs_f64(micros / 1e6))).unwrap_or_default()
        };
        let verdict = match self.holds {
            Some(true) => "holds",
            Some(false) => "FALLS SHORT",
            None => "",
        };
        [
            self.name.clone(),
            self.goal.clone(),
            self.measured.clone(),
            self.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            self.cpu.map(|cpu| format!("{cpu:.1} µs")).unwrap_or_default(),
            time(self.p50),
            time(self.p99),
            verdict.into(),
        ]
    }
}

/// A table of rows, what it was measured on, and plots.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) about: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) plots: Vec<Plot>,
}

impl Report {
    /// Markdown, as it goes into the documentation.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.about {
            let _ = writeln!(text, "- {key}: {value}");
        }
        text.push_str("\n| operation | goal | measured | ratio | CPU | p50 | p99 | |\n|---|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells().join(" | "));
        }
        text
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A time for people.
pub(crate) fn shown(time: Duration) -> String {
    let micros = micros(time);
    if micros < 1000.0 { format!("{micros:.0} µs") } else { format!("{:.1} ms", micros / 1000.0) }
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
