//! Plugins that are bad on purpose, and the examples: a workspace of their own, built for the tests.
use crate::{
    artifacts::{VARIABLE, library},
    project::{cargo, root, run, target_dir},
};
use anyhow::Result;
use std::{env, path::PathBuf, process::Stdio, sync::OnceLock};

/// The fixture that is built with another panic strategy than its workspace.
const ABORTING: &str = "panic-abort";

/// The library of a fixture. Builds all of them the first time in a process, unless
/// [`COUNTERSIGN_ARTIFACTS`](VARIABLE) says that everything has been built.
///
/// # Panics
/// When they cannot be built: no test can go on.
pub fn fixture(package: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let dir = if env::var_os(VARIABLE).is_some() { dir() } else { build() };
        dir.unwrap_or_else(|error| panic!("cannot build the fixtures: {error:#}"))
    });
    built.join("debug").join(library(package))
}

fn dir() -> Result<PathBuf> {
    Ok(target_dir()?.join("fixtures"))
}

/// Builds them; answers where.
pub fn build() -> Result<PathBuf> {
    let target = dir()?;
    let fixtures = |words: &[&str]| {
        let mut command = cargo();
        command.arg(words[0]).arg("--manifest-path").arg(root().join("tests/fixtures/Cargo.toml"));
        command.arg("--target-dir").arg(&target).args(&words[1..]).stdout(Stdio::null());
        run(&mut command)
    };
    fixtures(&["build", "--workspace", "--exclude", ABORTING])?;
    // The panic strategy of a library is that of its last crate, so its dependencies need no second build.
    fixtures(&["rustc", "--package", ABORTING, "--lib", "--", "-C", "panic=abort"])?;
    Ok(target)
}
