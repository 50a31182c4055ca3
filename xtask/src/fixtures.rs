//! What the tests load beside the product: plugins that are bad on purpose, a workspace of their own, and the examples.
use crate::{
    artifacts::{self, VARIABLE, library},
    project::{beside, root, run, target_dir},
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
    built().join("fixtures/debug").join(library(package))
}

/// The library of one of the [`examples`](artifacts::examples), built likewise.
///
/// # Panics
/// When they cannot be built.
pub fn example(package: &str) -> PathBuf {
    built();
    artifacts::example(package).unwrap_or_else(|error| panic!("no target directory: {error:#}"))
}

/// The directory in which the fixtures are.
fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = || {
            artifacts::build_examples()?;
            build()
        };
        let dir = if env::var_os(VARIABLE).is_some() { target_dir() } else { built() };
        dir.unwrap_or_else(|error| panic!("cannot build the fixtures: {error:#}"))
    })
}

/// Builds the fixtures; answers in which directory theirs is.
pub fn build() -> Result<PathBuf> {
    cargo(&["build", "--workspace", "--exclude", ABORTING])?;
    // The panic strategy of a library is that of its last crate, so its dependencies need no second build.
    cargo(&["rustc", "--package", ABORTING, "--lib", "--", "-C", "panic=abort"])?;
    target_dir()
}

/// Runs cargo in their workspace.
pub fn cargo(words: &[&str]) -> Result<()> {
    let mut command = beside("fixtures")?;
    command.arg(words[0]).arg("--manifest-path").arg(root().join("tests/fixtures/Cargo.toml"));
    run(command.args(&words[1..]).stdout(Stdio::null()))
}
