//! `cargo xtask ci`: what a change must pass.
use crate::{
    artifacts, bench, demo, fixtures,
    project::{self, cargo, root, shown},
    siege, test, tools,
};
use anyhow::Result;
use std::process::{Command, Stdio};

/// Runs every check, and then every test.
pub fn run() -> Result<()> {
    step(cargo().args(["fmt", "--all", "--check"]))?;
    step(
        cargo()
            .args(["fmt", "--all", "--check", "--manifest-path"])
            .arg(root().join("tests/fixtures/Cargo.toml")),
    )?;
    step(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    println!("== cargo clippy (tests/fixtures)");
    fixtures::cargo(&["clippy", "--workspace", "--", "-D", "warnings"])?;
    documentation()?;
    dependencies()?;
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
    let program = tools::cargo_deny()?;
    let deny = |words: &[&str]| {
        let mut command = project::command(&program);
        command.args(words);
        command
    };
    step(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    let fetched = deny(&["fetch", "db"]).stderr(Stdio::null()).stdout(Stdio::null()).status();
    if fetched.is_ok_and(|status| status.success()) {
        step(&mut deny(&["check", "--disable-fetch", "advisories"]))
    } else {
        println!("== advisories: NOT CHECKED, their database cannot be reached from here");
        Ok(())
    }
}
