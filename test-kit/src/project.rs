//! Where things are, and how children are started.
use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The directory that cargo builds into, wherever the environment or the configuration put it.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = metadata(root())?;
    let path = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(path.into())
}

/// What `cargo metadata` says of the workspace in `dir`, dependencies not resolved.
pub fn metadata(dir: &Path) -> Result<serde_json::Value> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(dir.join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed");
    serde_json::from_slice(&output.stdout).context("cargo metadata does not answer JSON")
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The same for what is built beside the workspace: with libraries of its own, in `NAME` below the target directory,
/// from the same dependencies, which are built once for all.
pub fn beside(name: &str) -> Result<Command> {
    let target = target_dir()?;
    let mut command = cargo();
    command.env("CARGO_TARGET_DIR", target.join(name)).env("CARGO_BUILD_BUILD_DIR", target);
    Ok(command)
}

/// A child in the root of the workspace that inherits nothing of what cargo tells *our* package.
///
/// Cargo sets `LD_LIBRARY_PATH`, with which the host refuses to start; and it describes the running package in
/// `CARGO_*`, which build scripts further down would take for a change and build anew.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_about_us) {
            command.env_remove(name);
        }
    }
    command
}

fn is_about_us(variable: &str) -> bool {
    const EXACT: [&str; 5] =
        ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "CARGO_BIN_NAME", "OUT_DIR"];
    variable.starts_with("LD_") || variable.starts_with("CARGO_PKG_") || EXACT.contains(&variable)
}

/// Runs a child to its end; a failure names it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// Where a program of that name lies on `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_do_not_inherit_what_concerns_us() {
        for gone in ["LD_LIBRARY_PATH", "LD_PRELOAD", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(is_about_us(gone), "{gone}");
        }
        for kept in ["PATH", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN"] {
            assert!(!is_about_us(kept), "{kept}");
        }
    }
}
