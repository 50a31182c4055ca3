//! The binary and the plugin libraries: built once, and found again.
use crate::project::{beside, cargo, metadata, root, run, target_dir};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

/// Names the directory with the binary and the libraries, when they have been built already.
pub const VARIABLE: &str = "COUNTERSIGN_ARTIFACTS";

/// What was built.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
}

impl Artifacts {
    /// What is in the directory that [`COUNTERSIGN_ARTIFACTS`](VARIABLE) names; without it, what the workspace of
    /// this crate builds, the first time in a process.
    ///
    /// # Panics
    /// When it cannot be built: no test can go on.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Artifacts> = OnceLock::new();
        BUILT.get_or_init(|| match env::var_os(VARIABLE) {
            Some(dir) => Self { dir: dir.into() },
            None => build(false).unwrap_or_else(|error| panic!("cannot build the host: {error:#}")),
        })
    }

    /// What somebody has put into a directory.
    pub fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.into() }
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
}

/// What cargo calls the dynamic library of a package.
pub fn library(package: &str) -> String {
    format!("lib{}.so", package.replace('-', "_"))
}

/// The packages of the product whose libraries a host loads.
pub fn plugins() -> Result<Vec<String>> {
    libraries(false)
}

/// The plugins that show how one is written. They belong to no installation: `countersign init` takes whatever lies
/// beside the binary, so they are built into a directory of their own.
pub fn examples() -> Result<Vec<String>> {
    libraries(true)
}

/// The packages of the workspace that make a dynamic library, from below `examples` or from elsewhere.
fn libraries(examples: bool) -> Result<Vec<String>> {
    let metadata = metadata(root())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_plugin = |package: &Value| {
        list(&package["targets"]).iter().any(|target| list(&target["kind"]).contains(&"cdylib".into()))
    };
    let place = root().join("examples");
    let is_example = |package: &Value| {
        package["manifest_path"].as_str().is_some_and(|manifest| Path::new(manifest).starts_with(&place))
    };
    let packages = list(&metadata["packages"]);
    let wanted = packages.iter().filter(|package| is_plugin(package) && is_example(package) == examples);
    Ok(wanted.filter_map(|package| package["name"].as_str()).map(Into::into).collect())
}

/// Builds all that the tests run, in one go: what packages share is built with the features that any of them asks
/// for, so that whoever builds them one by one builds most of it several times.
pub fn everything() -> Result<Artifacts> {
    run(cargo().args(["build", "--workspace", "--all-targets"]).stdout(Stdio::null()))?;
    let target = target_dir()?;
    lay_out(&target.join("debug"), &examples_dir(&target), &libraries_of(&examples()?))?;
    product("debug")
}

/// The product as cargo has built it, in a directory of its own: beside what cargo builds may lie [`examples`].
fn product(profile: &str) -> Result<Artifacts> {
    let target = target_dir()?;
    let dir = target.join("product").join(profile);
    let files = [vec!["countersign".to_owned()], libraries_of(&plugins()?)].concat();
    lay_out(&target.join(profile), &dir, &files)?;
    Ok(Artifacts { dir })
}

fn libraries_of(packages: &[String]) -> Vec<String> {
    packages.iter().map(|package| library(package)).collect()
}

/// Links files of one directory into another. Others may do so at the same time, and use what lies there.
fn lay_out(from: &Path, to: &Path, files: &[String]) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in files {
        let (built, placed) = (from.join(file), to.join(file));
        let link = to.join(format!(".{file}.{}", std::process::id()));
        fs::hard_link(&built, &link).with_context(|| format!("cannot link {}", built.display()))?;
        fs::rename(&link, &placed)?;
        // Two names of one file are left as they are.
        if link.exists() {
            fs::remove_file(&link)?;
        }
    }
    Ok(())
}

/// Builds the [`examples`] alone.
pub fn build_examples() -> Result<()> {
    let mut command = beside("examples")?;
    command.args(["build"]).args(examples()?.iter().flat_map(|name| ["--package", name]));
    run(command.stdout(Stdio::null()))
}

/// The library of one of the [`examples`], once it is built.
pub fn example(package: &str) -> Result<PathBuf> {
    Ok(examples_dir(&target_dir()?).join(library(package)))
}

fn examples_dir(target: &Path) -> PathBuf {
    target.join("examples/debug")
}

/// Builds the binary and the plugin libraries, and nothing else.
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
    product(if release { "release" } else { "debug" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_where_cargo_puts_them() {
        let built = Artifacts { dir: "/t/debug".into() };
        assert_eq!(built.plugin("plugin-mfa"), Path::new("/t/debug/libplugin_mfa.so"));
    }

    #[test]
    fn examples_are_no_part_of_the_product() {
        let (plugins, examples) = (plugins().expect("packages"), examples().expect("packages"));
        for shipped in ["plugin-mfa", "store-sqlite", "delivery-smtp"] {
            assert!(plugins.iter().any(|name| name == shipped), "{plugins:?}");
        }
        for shown in ["hello-delivery", "delivery-webhook"] {
            assert!(examples.iter().any(|name| name == shown), "{examples:?}");
            assert!(!plugins.iter().any(|name| name == shown), "{plugins:?}");
        }
    }
}
