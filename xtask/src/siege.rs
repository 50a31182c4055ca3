//! `cargo xtask siege`: builds what is attacked, and the attacker, and lets the one at the other.
use crate::{
    artifacts::{self, Artifacts, VARIABLE},
    fixtures,
    project::{self, cargo, shown, target_dir},
    tools,
};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// Which campaigns, and how large.
#[derive(Debug, Args)]
pub struct Siege {
    /// Which campaigns; all without any
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How large: 1 is what the figures are stated for. Times are judged from there on
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub scale: f64,
    /// So many campaigns at a time: for small runs, whose times are not judged
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub at_once: usize,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
    /// What all that is random comes from; a run prints its own
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Attacks the build that the tests use, and not the optimised one
    #[arg(long)]
    pub debug: bool,
}

/// Fails when anything falls short.
pub fn run(siege: &Siege) -> Result<()> {
    tools::install_missing()?;
    let built = artifacts::build(!siege.debug)?;
    fixtures::build()?;
    let mut attacker = cargo();
    attacker.args(["run", "--quiet", "--package", "siege", "--"]);
    attack(siege, attacker, &built)
}

/// All of them, the longest first.
const SMALL: [&str; 12] = [
    "mail",
    "flood",
    "plugins",
    "crash",
    "faults",
    "races",
    "timing",
    "powerloss",
    "secrecy",
    "linear",
    "parsers",
    "tokens",
];

/// Campaigns so small that each is only seen to work, with the attacker among [`artifacts::everything`]. Several at a
/// time: most of them wait most of the time.
pub fn small(built: &Artifacts) -> Result<()> {
    fixtures::build()?;
    let names = SMALL.map(Into::into).into();
    let siege = Siege { names, scale: 0.004, at_once: 4, json: false, seed: None, debug: true };
    attack(&siege, project::command(target_dir()?.join("debug/siege")), built)
}

fn attack(siege: &Siege, mut command: Command, built: &Artifacts) -> Result<()> {
    command.args(&siege.names);
    command.args(["--scale", &siege.scale.to_string(), "--at-once", &siege.at_once.to_string()]);
    if siege.json {
        command.arg("--json");
    }
    if let Some(seed) = siege.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    eprintln!("== {}", shown(&command));
    project::run(command.env(VARIABLE, built.dir()))
}
