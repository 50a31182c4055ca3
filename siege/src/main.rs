//! Lays siege to a host: `cargo xtask siege [NAME...] [--scale N] [--json]`.
//!
//! A campaign attacks the real binary with its real plugins, or a store's library, and compares what it measures with
//! the figure that is promised. Any shortfall ends the run with status 1. Whatever is random comes from a seed
//! that is printed.
//!
//! # Modules
//!
//! [`report`]: requirement, figure, measured · [`scale`]: how large · [`http`]: clients by the thousand ·
//! [`people`]: accounts and what they show · [`place`]: hosts · [`trace`]: their system calls · [`campaigns`]: one file
//! each, and a folder where it has parts
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that talks to a person")]

mod campaigns;
mod http;
mod people;
mod place;
mod report;
mod scale;
mod trace;

use anyhow::{Context, Result};
use campaigns::{ALL, Campaign, Run};
use clap::Parser;
use report::Report;
use scale::Scale;
use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};
use tokio::runtime::Runtime;

/// Attacks a host and measures what it promises. The host is the one that COUNTERSIGN_ARTIFACTS names.
#[derive(Parser)]
#[command(name = "siege", bin_name = "cargo xtask siege", max_term_width = 100)]
struct Cli {
    /// Which campaigns; all without any
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How large: 1 is what the figures are stated for; they are only judged where the size does not matter
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// So many campaigns at a time: for small runs, whose times are not judged
    #[arg(long, default_value_t = 1, value_name = "N")]
    at_once: usize,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// What all that is random comes from
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match lay(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("siege: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn lay(cli: &Cli) -> Result<bool> {
    let chosen = chosen(&cli.names)?;
    let seed = cli.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}, scale {}", cli.scale);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reports: Vec<Mutex<Report>> =
        chosen.iter().map(|_| Mutex::new(Report::new(cli.scale, seed))).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cli.at_once.max(1) {
            scope.spawn(|| {
                while let Some((campaign, report)) =
                    Some(next.fetch_add(1, Relaxed)).and_then(|at| chosen.get(at).zip(reports.get(at)))
                {
                    carry_out(campaign, &mut report.lock().unwrap_or_else(PoisonError::into_inner), &runtime);
                }
            });
        }
    });
    let reports =
        reports.into_iter().map(|report| report.into_inner().unwrap_or_else(PoisonError::into_inner));
    let report = reports.reduce(Report::and).context("no campaign")?;
    println!("{}", if cli.json { report.json().to_string() } else { report.table() });
    Ok(report.holds())
}

fn carry_out(campaign: &Campaign, report: &mut Report, runtime: &Runtime) {
    eprintln!("== {}: {}", campaign.name, campaign.about);
    let begun = Instant::now();
    let (scale, seed) = (Scale::new(report.scale), report.seed);
    if let Err(error) = (campaign.run)(&mut Run { scale, seed, report, runtime }) {
        report.broken(campaign.name, &format!("{error:#}"));
    }
    report.ended(campaign.name, begun.elapsed());
}

fn chosen(names: &[String]) -> Result<Vec<&'static Campaign>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let known = || ALL.iter().map(|campaign| campaign.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let found = ALL.iter().find(|campaign| campaign.name == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no campaign `{name}`; there are {}", known()))
    };
    names.iter().map(find).collect()
}
