//! `cargo xtask test`: every test, with what they need.
use crate::{
    artifacts::{self, VARIABLE},
    fixtures,
    project::{self, cargo, shown, which},
    tools,
};
use anyhow::{Result, bail};
use std::process::Command;

/// Installs, builds, runs. With arguments, only what they select.
pub fn run(args: &[String]) -> Result<()> {
    tools::install_missing()?;
    let built = if args.is_empty() {
        artifacts::everything()?
    } else {
        artifacts::build_examples()?;
        artifacts::build(false)?
    };
    fixtures::build()?;
    let mut steps = Vec::new();
    if args.is_empty() {
        let mut docs = cargo();
        docs.args(["test", "--doc", "--workspace"]);
        steps.push(docs);
    }
    steps.push(tests(args));

    let mut failed = Vec::new();
    for mut step in steps {
        println!("== {}", shown(&step));
        if project::run(step.env(VARIABLE, built.dir())).is_err() {
            failed.push(shown(&step));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// The tests proper, last, so that their summary closes the output.
fn tests(args: &[String]) -> Command {
    let mut command = cargo();
    if which("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        command.args(["test", "--all-targets", "--no-fail-fast"]);
    }
    let selects = |arg: &String| arg == "--package" || arg == "--manifest-path" || arg.starts_with("-p");
    if !args.iter().any(selects) {
        command.arg("--workspace");
    }
    command.args(args);
    command
}
