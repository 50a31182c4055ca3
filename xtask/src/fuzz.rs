//! `cargo xtask fuzz`: bytes that nobody would write, for whatever reads what a stranger wrote.
use crate::{
    project::{self, root, run as completed, target_dir},
    tools,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Which targets, and for how long.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// Which targets, as they are called in fuzz/fuzz_targets; all without any
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// How long each is run
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub seconds: u64,
    /// Put what the targets have found into fuzz/found, for whoever goes on from there
    #[arg(long)]
    pub keep: bool,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The targets need instrumentation that the stable compiler has and does not offer.
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// What an input may cost, beyond which it is a finding. Memory in MiB: one allocation, and all of them with the
/// instrumentation's own.
const LIMITS: [&str; 4] = ["-timeout=20", "-malloc_limit_mb=64", "-rss_limit_mb=1024", "-max_len=8192"];

/// What the instrumented code runs on, named so that build scripts and macros are not instrumented.
const PLATFORM: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// What came of a target.
struct Outcome {
    target: String,
    executions: u64,
    corpus: usize,
    peak_mib: u64,
    findings: Vec<PathBuf>,
}

/// Fails when anything is found.
pub fn run(fuzz: &Fuzz) -> Result<()> {
    let known = targets()?;
    let wanted = if fuzz.targets.is_empty() { &known } else { &fuzz.targets };
    for name in wanted {
        ensure!(known.contains(name), "there is no target `{name}`; there are {}", known.join(", "));
    }
    let built = build()?;
    let mut outcomes = Vec::new();
    for name in wanted {
        eprintln!("== {name}, {} s", fuzz.seconds);
        outcomes.push(attack(&built, name, fuzz.seconds)?);
        if fuzz.keep {
            pack(&corpus(name)?, &kept(name))?;
        }
    }
    report(&outcomes, fuzz);
    let found: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
    ensure!(
        found == 0,
        "{found} inputs are findings: run the target's program with the file to see each again"
    );
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let files = fs::read_dir(root().join("fuzz/fuzz_targets"))?;
    let paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    let mut names: Vec<_> =
        paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Builds all targets, with AddressSanitizer; answers where they are.
fn build() -> Result<PathBuf> {
    let program = tools::cargo_fuzz()?;
    let dir = target_dir()?.join("fuzz");
    let mut build = project::command(program);
    build.args(["build", "--target", PLATFORM, "--target-dir"]).arg(&dir);
    completed(build.env(UNSTABLE.0, UNSTABLE.1).stdout(Stdio::null()))?;
    Ok(dir.join(PLATFORM).join("release"))
}

/// Where a target's runs on this machine put what they find.
fn corpus(name: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join("fuzz/corpus").join(name))
}

/// What runs elsewhere have found: thousands of small files, so they are in an archive.
fn kept(name: &str) -> PathBuf {
    root().join("fuzz/found").join(name).with_extension("tar.gz")
}

fn unpack(archive: &Path, dir: &Path) -> Result<()> {
    completed(project::command("tar").arg("-xzf").arg(archive).arg("-C").arg(dir))
}

/// The same bytes for the same inputs.
fn pack(dir: &Path, archive: &Path) -> Result<()> {
    fs::create_dir_all(archive.parent().context("an archive lies in a directory")?)?;
    let mut pack = project::command("tar");
    pack.args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u=rw,go=r,a+X",
    ]);
    completed(pack.args(["-I", "gzip -n9", "-cf"]).arg(archive).arg("-C").arg(dir).arg("."))
}

/// Starts from the committed corpus and from what earlier runs have found, and keeps of both what is worth keeping.
fn attack(built: &Path, name: &str, seconds: u64) -> Result<Outcome> {
    let program = built.join(name);
    let (found, artifacts) = (corpus(name)?, target_dir()?.join("fuzz/artifacts").join(name));
    fs::create_dir_all(&artifacts)?;
    if !found.is_dir() {
        fs::create_dir_all(&found)?;
        let kept = kept(name);
        if kept.is_file() {
            unpack(&kept, &found)?;
        }
    }
    let seeds = root().join("fuzz/corpus").join(name);
    let dictionary = root().join("fuzz/dictionaries").join(name).with_extension("dict");

    let mut fuzzer = instrumented(&program);
    fuzzer.args(LIMITS).arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    if dictionary.is_file() {
        fuzzer.arg(format!("-dict={}", dictionary.display()));
    }
    let said = fuzzer.arg(&found).arg(&seeds).output().context("the target does not start")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    fs::write(artifacts.with_extension("log"), &said)?;
    minimise(&program, &found, &seeds)?;

    let number = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok()).unwrap_or(0)
    };
    let files =
        |dir: &Path| -> Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|file| Ok(file?.path())).collect() };
    let outcome = Outcome {
        target: name.into(),
        executions: number("number_of_executed_units"),
        corpus: files(&found)?.len(),
        peak_mib: number("peak_rss_mb"),
        findings: files(&artifacts)?,
    };
    let ended =
        said.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    ensure!(outcome.executions > 0 || !outcome.findings.is_empty(), "{name} did not run:\n{ended}");
    Ok(outcome)
}

/// Of two inputs that reach the same, the smaller stays.
fn minimise(program: &Path, found: &Path, seeds: &Path) -> Result<()> {
    let smaller = found.with_extension("smaller");
    let _ = fs::remove_dir_all(&smaller);
    fs::create_dir_all(&smaller)?;
    let mut merge = instrumented(program);
    merge.args(LIMITS).arg("-merge=1").arg(&smaller).arg(found).arg(seeds);
    let merged = merge.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if merged.success() {
        fs::remove_dir_all(found)?;
        fs::rename(&smaller, found)?;
    }
    Ok(())
}

/// A target runs in what memory and environment it has, whatever ours says.
fn instrumented(program: &Path) -> Command {
    let mut command = project::command(program);
    command.env_remove("RUST_BACKTRACE").env("ASAN_OPTIONS", "detect_odr_violation=0");
    command
}

fn report(outcomes: &[Outcome], fuzz: &Fuzz) {
    if fuzz.json {
        let all: Vec<_> = outcomes
            .iter()
            .map(|o| {
                json!({ "target": o.target, "seconds": fuzz.seconds, "executions": o.executions,
                    "corpus": o.corpus, "peak_mib": o.peak_mib, "findings": o.findings })
            })
            .collect();
        println!("{}", json!(all));
        return;
    }
    println!("| target | seconds | executions | corpus | memory, MiB | found |");
    println!("|---|---|---|---|---|---|");
    for o in outcomes {
        let found = match o.findings.len() {
            0 => "nothing".into(),
            _ => o.findings.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" "),
        };
        let Outcome { target, executions, corpus, peak_mib, .. } = o;
        println!("| {target} | {} | {executions} | {corpus} | {peak_mib} | {found} |", fuzz.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_kept_in_the_same_bytes_and_comes_back() {
        let work = std::env::temp_dir().join(format!("found-{}", std::process::id()));
        let (found, back) = (work.join("found"), work.join("back"));
        let [first, second] = ["first", "second"].map(|name| work.join("kept").join(name));
        let put = |name: &str| fs::write(found.join(name), [name.as_bytes(), &[0, 255]].concat()).unwrap();
        [&found, &back].into_iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
        ["b", "a"].into_iter().for_each(put);
        pack(&found, &first).unwrap();
        fs::remove_file(found.join("b")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        put("b");
        pack(&found, &second).unwrap();
        assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "whenever, in whatever order");
        unpack(&second, &back).unwrap();
        assert_eq!(fs::read(back.join("b")).unwrap(), b"b\0\xff");
        assert_eq!(fs::read_dir(&back).unwrap().count(), 2);
        fs::remove_dir_all(&work).unwrap();
    }
}
