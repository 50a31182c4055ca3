//! `doctor`: what is misconfigured, in plain words, and what to do about it.
//!
//! ```text
//! configuration    what `config check` refuses ───┐
//! clock            timedatectl, chronyc ──────────┤
//! files, disk      modes, owners, free space ─────┼─→ findings ─→ report
//! proxy, metrics   settings that do not agree ────┤
//! host, store, mail    Operation::Diagnose ───────┘
//! ```
//!
//! Each gathers facts first; what follows from them is a function, which a table tests.
mod clock;
mod files;
mod host;
mod proxy;

use super::{Failure, Report, check};
use crate::{config::Config, kernel::StartError, people};
use serde::Serialize;
use serde_json::json;
use std::{fmt::Write as _, path::Path};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something does not work, or is not safe.
    Problem,
    /// It may be meant, or cannot be told from here.
    Warning,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// One of [`AREAS`].
    area: &'static str,
    /// The thing and its place.
    what: String,
    /// What to do.
    fix: String,
}

fn problem(area: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { level: Level::Problem, area, what: what.into(), fix: fix.into() }
}

fn warning(area: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, ..problem(area, what, fix) }
}

fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// All that is looked at, in the order in which it is told.
const AREAS: [&str; 9] =
    ["configuration", "clock", "files", "disk", "proxy", "metrics", "host", "store", "mail"];

pub(super) fn run(file: &Path) -> Result<Report, Failure> {
    let (config, problems) = Config::examine(file);
    let Some(config) = config else { return Err(problems.into()) };
    let mut refused: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if let Err(StartError(more)) = people::check(&config, check::strictness(false)) {
        let more: Vec<String> = more.into_iter().filter(|text| !refused.contains(text)).collect();
        refused.extend(more);
    }
    let is_sound = refused.is_empty();
    let fix = "correct it: neither a start nor a reload takes it as it is";
    let mut findings: Vec<Finding> =
        refused.into_iter().map(|text| problem("configuration", text, fix)).collect();
    findings.extend(clock::findings(clock::synchronised()));
    findings.extend(files::findings(&files::Facts::gather(&config)));
    findings.extend(proxy::findings(&config));
    findings.extend(host::asked(&config, is_sound));
    Ok(report(&findings))
}

fn report(findings: &[Finding]) -> Report {
    let mut text = String::new();
    let mut told = |level, name: &str| {
        let all = findings.iter().filter(|finding| finding.level == level);
        let count = all.clone().count();
        for Finding { area, what, fix, .. } in all {
            let what = what.replace('\n', "\n  ");
            let _ = write!(text, "{name}: {area}: {what}\n  → {fix}\n\n");
        }
        count as u64
    };
    let (problems, warnings) = (told(Level::Problem, "problem"), told(Level::Warning, "warning"));
    let is_fine = |area: &&str| findings.iter().all(|finding| finding.area != *area);
    let fine: Vec<&str> = AREAS.into_iter().filter(is_fine).collect();
    let (p, w) = (counted(problems, "problem"), counted(warnings, "warning"));
    let _ = write!(text, "{p}, {w}; nothing to say about {}", fine.join(", "));
    let json = json!({ "problems": problems, "warnings": warnings, "findings": findings, "fine": fine });
    Report { failed: problems > 0, ..Report::new(text, json) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That these are the findings: level, area, and a part of what is said.
    #[track_caller]
    pub(super) fn assert_found(name: &str, findings: &[Finding], expected: &[(Level, &str, &str)]) {
        assert_eq!(findings.len(), expected.len(), "{name}: {findings:?}");
        for (finding, (level, area, part)) in findings.iter().zip(expected) {
            assert_eq!((finding.level, finding.area), (*level, *area), "{name}: {finding:?}");
            assert!(format!("{} → {}", finding.what, finding.fix).contains(part), "{name}: {finding:?}");
            assert!(AREAS.contains(area), "{area}");
        }
    }

    #[test]
    fn problems_come_first_and_decide_the_status() {
        let findings = [warning("proxy", "w", "do x"), problem("clock", "p\nq", "do y")];
        let told = report(&findings);
        assert!(told.failed);
        let text = "problem: clock: p\n  q\n  → do y\n\nwarning: proxy: w\n  → do x\n\n1 problem, 1 warning; \
            nothing to say about configuration, files, disk, metrics, host, store, mail";
        assert_eq!(told.text, text);
        assert_eq!(told.json["findings"][1]["level"], "problem");
        assert_eq!(told.json["fine"].as_array().map(Vec::len), Some(7));
        assert!(!report(&findings[..1]).failed);
    }
}
