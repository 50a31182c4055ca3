//! The binary, the plugin libraries and the fixtures: built once, and found again.
use crate::project::{cargo, metadata, root, run, target_dir};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

/// Names the directory with the binary and the libraries, when they have been built already.
pub const VARIABLE: &str = "COUNTERSIGN_ARTIFACTS";

/// The fixture that is built with another panic strategy than its workspace.
const ABORTING: &str = "panic-abort";

/// What was built.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
}

impl Artifacts {
    /// What the tests run, with the fixtures. Builds it the first time in a process, unless
    /// [`COUNTERSIGN_ARTIFACTS`](VARIABLE) says that it has been done.
    ///
    /// # Panics
    /// When it cannot be built: no test can go on.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Artifacts> = OnceLock::new();
        BUILT.get_or_init(|| match env::var_os(VARIABLE) {
            Some(dir) => Self { dir: dir.into() },
            None => {
                build_for_tests().unwrap_or_else(|error| panic!("cannot build what is tested: {error:#}"))
            }
        })
    }

    /// Where the binary and the libraries lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// `countersign`.
    pub fn binary(&self) -> PathBuf {
        self.dir.join("countersign")
    }
    /// The library of one of the [`plugins`].
    pub fn plugin(&self, package: &str) -> PathBuf {
        self.dir.join(library(package))
    }
    /// The library of a fixture.
    pub fn fixture(&self, package: &str) -> PathBuf {
        let target = self.dir.parent().unwrap_or(&self.dir);
        target.join("fixtures/debug").join(library(package))
    }
}

/// What cargo calls the dynamic library of a package.
pub fn library(package: &str) -> String {
    format!("lib{}.so", package.replace('-', "_"))
}

/// The packages whose libraries a host loads: every one of the workspace that makes a dynamic library.
pub fn plugins() -> Result<Vec<String>> {
    let metadata = metadata(root())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_plugin = |package: &Value| {
        list(&package["targets"]).iter().any(|target| list(&target["kind"]).contains(&"cdylib".into()))
    };
    let packages = list(&metadata["packages"]);
    let names = packages.iter().filter(|package| is_plugin(package)).filter_map(|p| p["name"].as_str());
    Ok(names.map(Into::into).collect())
}

/// Builds the binary and the plugin libraries.
pub fn build(release: bool) -> Result<Artifacts> {
    let mut command = cargo();
    command.args(["build", "--package", "countersign-host"]);
    for plugin in plugins()? {
        command.args(["--package", &plugin]);
    }
    if release {
        command.arg("--release");
    }
    // Cargo talks on stderr; what a test or a script reads is on stdout.
    run(command.stdout(Stdio::null()))?;
    let built = Artifacts { dir: target_dir()?.join(if release { "release" } else { "debug" }) };
    ensure!(built.binary().is_file(), "cargo built no {}", built.binary().display());
    Ok(built)
}

/// Builds what the tests run: the same, and the fixtures.
pub fn build_for_tests() -> Result<Artifacts> {
    let built = build(false)?;
    let target = target_dir()?.join("fixtures");
    let fixtures = |words: &[&str]| {
        let mut command = cargo();
        command.arg(words[0]).arg("--manifest-path").arg(root().join("tests/fixtures/Cargo.toml"));
        command.arg("--target-dir").arg(&target).args(&words[1..]).stdout(Stdio::null());
        run(&mut command)
    };
    fixtures(&["build", "--workspace", "--exclude", ABORTING])?;
    // The panic strategy of a library is that of its last crate, so its dependencies need no second build.
    fixtures(&["rustc", "--package", ABORTING, "--lib", "--", "-C", "panic=abort"])?;
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_where_cargo_puts_them() {
        let built = Artifacts { dir: "/t/debug".into() };
        assert_eq!(built.plugin("plugin-mfa"), Path::new("/t/debug/libplugin_mfa.so"));
        assert_eq!(built.fixture("wrong-abi"), Path::new("/t/fixtures/debug/libwrong_abi.so"));
    }
}
