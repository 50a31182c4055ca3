//! `cargo xtask bench`: builds what is measured, and what measures.
use crate::{
    artifacts::{self, Artifacts, VARIABLE},
    project::{self, cargo, root, shown, target_dir},
    tools,
};
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::Command};

/// What to measure, and how much.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure; all without any
    #[arg(value_name = "ROW")]
    pub rows: Vec<String>,
    /// How much: 1 is what the goals are judged by
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub scale: f64,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
    /// Measures nothing, and puts a report (of --json) into docs/performance.md, with its plots
    #[arg(long, value_name = "REPORT")]
    pub docs: Option<PathBuf>,
    /// Measures the build that the tests use, and not the optimised one: only to see that it works
    #[arg(long)]
    pub debug: bool,
    /// Only the pieces that a request is made of: the time and the instructions of each
    #[arg(long, conflicts_with_all = ["rows", "scale", "json", "docs", "debug"])]
    pub primitives: bool,
}

/// Measures; what falls short is told, and is no failure.
pub fn run(bench: &Bench) -> Result<()> {
    let built = artifacts::build(!bench.debug)?;
    if bench.primitives {
        return primitives(&built);
    }
    tools::install_missing()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "bench"]);
    if !bench.debug {
        // The client must not be what is slow.
        command.arg("--release");
    }
    command.arg("--");
    measure(bench, command, &built)
}

/// So small that it is only seen to work, with the client among [`artifacts::everything`].
pub fn small(built: &Artifacts) -> Result<()> {
    let bench =
        Bench { rows: Vec::new(), scale: 0.001, json: false, docs: None, debug: true, primitives: false };
    measure(&bench, project::command(target_dir()?.join("debug/bench")), built)
}

fn measure(bench: &Bench, mut command: Command, built: &Artifacts) -> Result<()> {
    command.args(&bench.rows).args(["--scale", &bench.scale.to_string()]);
    if bench.json {
        command.arg("--json");
    }
    if let Some(report) = &bench.docs {
        command.arg("--docs").arg(std::path::absolute(report)?);
    }
    eprintln!("== {}", shown(&command));
    project::run(command.env(VARIABLE, built.dir()))
}

/// A workspace of its own with a target directory of its own, as what it calls inside the host stands behind a `cfg`.
fn primitives(built: &Artifacts) -> Result<()> {
    let dir = target_dir()?.join("primitives");
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--manifest-path"]);
    command.arg(root().join("bench/primitives/Cargo.toml")).arg("--").arg(dir.join("found"));
    eprintln!("== {}", shown(&command));
    command.env("CARGO_TARGET_DIR", &dir).env("RUSTFLAGS", "--cfg primitives");
    project::run(command.env(VARIABLE, built.dir()))
}
