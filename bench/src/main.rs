//! Measures a host and its stores: `cargo xtask bench [ROW...] [--scale N] [--json]`.
//!
//! Times of a machine that does other things say little, so whatever answers HTTP is compared with a bare axum server
//! under the same load right before and after, and what counts is the median of the ratios. The CPU time of a
//! request is that of the server's process, which a busy machine changes least.
//!
//! # Modules
//!
//! [`http`]: hosts under load · [`stores`]: the stores' libraries · [`growth`]: with a million accounts in them ·
//! [`start`]: starts and memory · [`load`]: the client · [`hello`]: the bare server · [`mod@reference`]: one written by hand · [`people`]: accounts ·
//! [`process`]: what a process uses · [`report`], [`plot`], [`docs`]: what is said of it
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that talks to a person")]

mod docs;
mod growth;
mod hello;
mod http;
mod load;
mod people;
mod plot;
mod process;
mod reference;
mod report;
mod start;
mod stores;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hello::Served;
use http::{Size, Stage};
use plot::{Line, Plot};
use report::{Report, Row};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

/// What can be measured, by name.
const GROUPS: [&str; 6] = ["sqlite", "memory", "growth", "start", "store-sqlite", "store-memory"];

/// Measures the host that COUNTERSIGN_ARTIFACTS names.
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", max_term_width = 100)]
struct Cli {
    /// What to measure: sqlite and memory (hosts on these stores), growth, start, store-sqlite, store-memory;
    /// all without any
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// How much: 1 is what the goals are judged by
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// Measures nothing, and puts a report into docs/performance.md
    #[arg(long, value_name = "REPORT")]
    docs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let done = match words.get(1..) {
        // What this starts itself as, to be compared with.
        Some([role, address]) if role == "hello" => {
            address.parse().map_err(Into::into).and_then(hello::serve)
        }
        Some([role, address, dir, accounts]) if role == "reference" => refer(address, dir, accounts),
        _ => run(&Cli::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refer(address: &str, dir: &str, accounts: &str) -> Result<()> {
    reference::serve(address.parse()?, Path::new(dir), accounts.parse()?)
}

fn run(cli: &Cli) -> Result<()> {
    if let Some(file) = &cli.docs {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        return docs::write(&serde_json::from_str(&text).with_context(|| file.display().to_string())?);
    }
    for row in &cli.rows {
        ensure!(GROUPS.contains(&&**row), "there is no row `{row}`; there are {}", GROUPS.join(", "));
    }
    let report = measure(cli)?;
    println!("{}", if cli.json { serde_json::to_string_pretty(&report)? } else { report.table() });
    Ok(())
}

/// So many at scale 1, and never fewer than `least`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
fn count(full: f64, scale: f64, least: f64) -> usize {
    (full * scale).max(least) as usize
}

fn measure(cli: &Cli) -> Result<Report> {
    let wants = |row: &str| cli.rows.is_empty() || cli.rows.iter().any(|wanted| wanted == row);
    let is_full = cli.scale >= 1.0;
    let of = |full, least| count(full, cli.scale, least);
    let size = Size {
        repeats: if is_full { 5 } else { 1 },
        window: Duration::from_secs(1).mul_f64(cli.scale.clamp(0.05, 1.0)),
        people: of(3000.0, 6.0),
        hashing: of(200.0, 2.0),
        moves_clock: !is_full,
    };
    let begun = Instant::now();
    let (mut rows, mut plots) = (Vec::new(), Vec::new());
    let mut lines = Vec::new();
    for store in ["sqlite", "memory"] {
        if wants(store) {
            let hello = Served::start("hello", &[])?;
            eprintln!("== a host on {store}: {} accounts, {} repeats", size.people, size.repeats);
            let mut stage = Stage::new(store, size, &hello)?;
            rows.extend(stage.rows()?);
            rows.extend(peak(store, &stage)?);
            let connections: &[usize] = if is_full { &[1, 4, 16, 64, 256] } else { &[1, 4] };
            let [checks, hello] = stage.by_connections(connections)?;
            lines.push(Line { name: format!("session check, {store}"), points: checks });
            if store == "sqlite" {
                lines.push(Line { name: "bare server".into(), points: hello });
            }
        }
    }
    if !lines.is_empty() {
        let title = "Requests a second by connections".into();
        plots.push(Plot { name: "connections".into(), title, lines });
    }
    if wants("store-sqlite") {
        eprintln!("== store-sqlite");
        rows.push(stores::sqlite(size.repeats, of(50_000.0, 200.0) as u64)?);
    }
    if wants("store-memory") {
        eprintln!("== store-memory");
        rows.push(stores::memory(size.repeats, of(500_000.0, 1.0) as u64)?);
    }
    if wants("growth") {
        eprintln!("== growth");
        let accounts: &[u64] = if is_full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[100, 200] };
        let (grown, plot) = growth::rows(accounts, of(20_000.0, 50.0) as u64)?;
        rows.extend(grown);
        plots.push(plot);
    }
    if wants("start") {
        eprintln!("== starts");
        rows.extend(start::rows(size.repeats, size.window)?);
    }
    if !is_full {
        // Too little was done to judge by.
        rows.iter_mut().for_each(|row: &mut Row| row.holds = None);
    }
    let about = BTreeMap::from([
        ("machine".into(), machine()),
        ("commit".into(), said("git", &["describe", "--always", "--dirty"])),
        ("load at the end".into(), said("cut", &["-d ", "-f1-3", "/proc/loadavg"])),
        ("day".into(), said("date", &["+%Y-%m-%d %H:%M"])),
        ("command".into(), command(cli)),
        ("took".into(), format!("{} s", begun.elapsed().as_secs())),
    ]);
    Ok(Report { about, rows, plots })
}

fn command(cli: &Cli) -> String {
    let scale = format!("--scale {}", cli.scale);
    let words = ["cargo xtask bench"].into_iter().chain(cli.rows.iter().map(String::as_str));
    let all: Vec<&str> = words.chain((cli.scale < 1.0).then_some(&*scale)).collect();
    all.join(" ")
}

/// The memory of a host that was under load; without mail and other accounts there is only the crowd's.
fn peak(store: &str, stage: &Stage<'_>) -> Result<Option<Row>> {
    if store != "sqlite" {
        return Ok(None);
    }
    let (peak, most) = (stage.peak()?, (32 + 2 * 19) << 20);
    let goal = "≤ 32 MiB, and 19 MiB for each of 2 hashing workers";
    Ok(Some(Row::figure("resident memory, most under load", goal, start::mib(peak), Some(peak <= most))))
}

/// What this runs on.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
