//! What the tests load beside the product: plugins that are bad on purpose, a workspace of their own, and the examples.
use crate::{
    artifacts::{VARIABLE, examples, library},
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
    built().join("fixtures/debug").join(library(package))
}

/// The library of one of the [`examples`], built likewise.
///
/// # Panics
/// When they cannot be built.
pub fn example(package: &str) -> PathBuf {
    built().join("examples/debug").join(library(package))
}

/// The directory in which those of both are.
fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = if env::var_os(VARIABLE).is_some() { target_dir() } else { build() };
        dir.unwrap_or_else(|error| panic!("cannot build the fixtures: {error:#}"))
    })
}

/// Builds them; answers in which directory.
pub fn build() -> Result<PathBuf> {
    let dir = target_dir()?;
    let mut command = cargo();
    command.arg("build").arg("--target-dir").arg(dir.join("examples")).stdout(Stdio::null());
    run(command.args(examples()?.iter().flat_map(|name| ["--package", name])))?;
    let target = dir.join("fixtures");
    let fixtures = |words: &[&str]| {
        let mut command = cargo();
        command.arg(words[0]).arg("--manifest-path").arg(root().join("tests/fixtures/Cargo.toml"));
        command.arg("--target-dir").arg(&target).args(&words[1..]).stdout(Stdio::null());
        run(&mut command)
    };
    fixtures(&["build", "--workspace", "--exclude", ABORTING])?;
    // The panic strategy of a library is that of its last crate, so its dependencies need no second build.
    fixtures(&["rustc", "--package", ABORTING, "--lib", "--", "-C", "panic=abort"])?;
    Ok(dir)
}
