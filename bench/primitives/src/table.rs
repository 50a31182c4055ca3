//! What criterion has found, as a table.
use crate::decisions::{IN_PROCESS, LIBRARY};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{fs, path::Path};

/// What is promised, in nanoseconds.
const GOALS: [(&str, f64); 4] = [
    ("a call with nothing to say", 5.0),
    ("an answer that the plugin fills and the host frees", 30.0),
    ("TOTP, three steps of one factor", 600.0),
    ("challenge token, opened", 320.0),
];

/// The medians of all benches, in the order in which they were measured.
pub(crate) fn print(time: &Path, count: &Path) -> Result<()> {
    let mut found = Vec::new();
    for group in fs::read_dir(time)? {
        let group = group?.path();
        for bench in fs::read_dir(&group).into_iter().flatten() {
            let at = bench?.path().join("new");
            if at.join("estimates.json").is_file() {
                found.push((fs::metadata(at.join("estimates.json"))?.modified()?, at));
            }
        }
    }
    found.sort();
    println!("| | goal | time | instructions |\n|---|---|---|---|");
    // Of the decision that is measured on both sides of the boundary.
    let (mut library, mut in_process) = (None, None);
    for (_, at) in found {
        let about: Value = serde_json::from_str(&fs::read_to_string(at.join("benchmark.json"))?)?;
        let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        let (group, name) = (text("group_id"), text("function_id"));
        let goal = GOALS.iter().find(|(goal, _)| *goal == name);
        let goal = goal.map(|(_, nanos)| format!("≤ {nanos} ns")).unwrap_or_default();
        let (took, counted) = (median(&at)?, median(&count.join(at.strip_prefix(time)?)).ok());
        match name.as_str() {
            LIBRARY => library = Some((took, counted)),
            IN_PROCESS => in_process = Some((took, counted)),
            _ => {}
        }
        let counted = counted.map_or_else(|| "not counted".into(), |count| format!("{count:.0}"));
        println!("| {group}: {name} | {goal} | {} | {counted} |", nanos(took));
    }
    if let (Some((time, count)), Some((own_time, own_count))) = (library, in_process) {
        let counted = count.zip(own_count).map(|(count, own)| format!("{:.3}", count / own));
        let counted = counted.unwrap_or_else(|| "not counted".into());
        println!("| {LIBRARY}, × the same without a library | ≤ 1.05 | {:.3} | {counted} |", time / own_time);
    }
    Ok(())
}

fn median(at: &Path) -> Result<f64> {
    let estimates: Value = serde_json::from_str(&fs::read_to_string(at.join("estimates.json"))?)?;
    estimates["median"]["point_estimate"].as_f64().context("criterion has found no median")
}

fn nanos(nanos: f64) -> String {
    match nanos {
        nanos if nanos < 10.0 => format!("{nanos:.1} ns"),
        nanos if nanos < 10_000.0 => format!("{nanos:.0} ns"),
        nanos => format!("{:.1} µs", nanos / 1000.0),
    }
}
