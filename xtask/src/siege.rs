//! `cargo xtask siege`: builds what is attacked, and the attacker, and lets the one at the other.
use crate::{
    artifacts::{self, VARIABLE},
    fixtures,
    project::{self, cargo, shown},
    tools,
};
use anyhow::Result;
use clap::Args;

/// Which campaigns, and how large.
#[derive(Debug, Args)]
pub struct Siege {
    /// Which campaigns; all without any
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How large: 1 is what the figures are stated for. Times are judged from there on
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub scale: f64,
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
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "siege", "--"]).args(&siege.names);
    command.args(["--scale", &siege.scale.to_string()]);
    if siege.json {
        command.arg("--json");
    }
    if let Some(seed) = siege.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    eprintln!("== {}", shown(&command));
    project::run(command.env(VARIABLE, built.dir()))
}
