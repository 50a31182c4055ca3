//! `cargo xtask sanitize`: whatever touches memory that is not its own. Two kinds of it see two kinds of code: Miri the
//! boundary, where our own unsafe code is, and valgrind the real binary with its libraries, SQLite and assembler included.
use crate::{
    artifacts::{self, Artifacts},
    demo,
    project::{root, run as completed, target_dir},
    tools,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Which checks.
#[derive(Debug, Args)]
pub struct Sanitize {
    /// Which; both without any
    #[arg(value_name = "CHECK")]
    pub checks: Vec<Check>,
}

/// A way to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// The tests of plugin-api in an interpreter that knows what may be done with each byte: all that crosses the
    /// boundary, the corpus of the fuzz target included
    Miri,
    /// A host with its plugins, from sign-up to a login with two factors, on a processor that knows of each byte whether
    /// it is there, and of each block whether anybody still knows it
    Memcheck,
}

/// Fails when anything is found.
pub fn run(sanitize: &Sanitize) -> Result<()> {
    let wanted = |check| sanitize.checks.is_empty() || sanitize.checks.contains(&check);
    if wanted(Check::Miri) {
        miri()?;
    }
    if wanted(Check::Memcheck) {
        tools::valgrind()?;
        memcheck(&artifacts::build(false)?)?;
    }
    Ok(())
}

/// Tests read the corpus, which Miri's isolation would not let them. The kits for stores and deliveries give what they
/// try a time, in which an interpreter is not done: they are left out.
fn miri() -> Result<()> {
    let mut miri = tools::nightly()?;
    miri.args(["cargo", "miri", "test", "--package", "countersign-plugin-api", "--lib", "--features"]);
    miri.args(["conformance", "--", "--skip", "conformance::"]);
    miri.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    completed(miri.env("CARGO_TARGET_DIR", target_dir()?.join("miri")))
}

/// What is found ends the host with a status of its own; threads take turns, so that none starves. A block that is still
/// reachable at the end is no leak: libraries are never unloaded. Whether bytes were written before they are used is
/// Miri's to say: memcheck takes what the assembler of the cipher makes for unwritten, and so every record of the store.
const OPTIONS: &str = "--quiet --error-exitcode=99 --undef-value-errors=no --leak-check=full \
    --show-leak-kinds=definite --errors-for-leak-kinds=definite --fair-sched=yes";

/// Valgrind in the place of the binary: whoever starts that, starts this.
fn memcheck(built: &Artifacts) -> Result<()> {
    let dir = target_dir()?.join("memcheck");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    for plugin in artifacts::plugins()? {
        let library = built.plugin(&plugin);
        symlink(&library, dir.join(library.file_name().context("a library has a name")?))?;
    }
    // valgrind preloads a library of its own, with which no host starts unless it is told to.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = serve ] || exec '{binary}' \"$@\"\n\
         exec valgrind {OPTIONS} --suppressions='{suppressions}' --log-file='{dir}/%p.log' '{binary}' \"$@\" --allow-preload\n",
        binary = built.binary().display(),
        suppressions = root().join("xtask/src/memcheck.supp").display(),
        dir = dir.display(),
    );
    let instead = dir.join("countersign");
    fs::write(&instead, script)?;
    fs::set_permissions(&instead, PermissionsExt::from_mode(0o755))?;
    let walked = demo::from_nothing(&Artifacts::in_dir(&dir));
    let found = said(&dir)?;
    walked.with_context(|| format!("the walk did not end as it should; valgrind says:\n{found}"))?;
    ensure!(found.is_empty(), "valgrind found something:\n{found}");
    println!("\nvalgrind found nothing.");
    Ok(())
}

fn said(dir: &Path) -> Result<String> {
    let mut all = String::new();
    for file in fs::read_dir(dir)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "log") {
            all.push_str(&fs::read_to_string(file)?);
        }
    }
    Ok(all)
}
