//! `cargo xtask ci`: what a change must pass.
use crate::{
    artifacts, bench, demo, fixtures,
    project::{self, cargo, root, shown},
    siege, test, tools,
};
use anyhow::Result;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// Workspaces of their own, which nothing here builds: that would take longer than all of the rest.
const APART: [&str; 2] = ["bench/primitives", "fuzz"];

fn manifest(workspace: &str) -> PathBuf {
    root().join(workspace).join("Cargo.toml")
}

/// Runs every check, and then every test.
pub fn run() -> Result<()> {
    step(cargo().args(["fmt", "--all", "--check"]))?;
    for workspace in ["tests/fixtures"].into_iter().chain(APART) {
        step(cargo().args(["fmt", "--all", "--check", "--manifest-path"]).arg(manifest(workspace)))?;
    }
    step(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    println!("== cargo clippy (tests/fixtures)");
    fixtures::cargo(&["clippy", "--workspace", "--", "-D", "warnings"])?;
    documentation()?;
    dependencies()?;
    tools::install_missing()?;
    let built = artifacts::everything()?;
    println!("== cargo xtask demo --walk");
    demo::from_nothing(&built)?;
    // Small: that every campaign works, and nothing falls short that does not take a quiet machine to judge.
    println!("== cargo xtask siege --debug --scale 0.004");
    siege::small(&built)?;
    println!("== cargo xtask bench --debug --scale 0.001");
    bench::small(&built)?;
    // Last, so that the summary of the tests closes the output.
    test::run(&[])
}

fn step(command: &mut Command) -> Result<()> {
    println!("== {}", shown(command));
    project::run(command)
}

/// With what is private: a module's front page leads into it, and is read by those who change it.
fn documentation() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"]);
    // Examples need what tests need: dependencies have the features that clippy has checked them with.
    doc.args(["--lib", "--bins", "--examples"]);
    step(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
}

/// Bans, licences and sources need no network. Advisories need their database: without it the rest still counts.
fn dependencies() -> Result<()> {
    const STATIC: [&str; 4] = ["check", "bans", "licenses", "sources"];
    let program = tools::cargo_deny()?;
    let deny = |words: &[&str]| {
        let mut command = project::command(&program);
        command.args(words);
        command
    };
    step(&mut deny(&STATIC))?;
    for workspace in APART {
        step(deny(&["--manifest-path"]).arg(manifest(workspace)).args(STATIC))?;
    }
    let fetched = deny(&["fetch", "db"]).stderr(Stdio::null()).stdout(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) {
        step(&mut deny(&["check", "--disable-fetch", "advisories"]))
    } else {
        println!("== advisories: NOT CHECKED, their database cannot be reached from here");
        Ok(())
    }
}
