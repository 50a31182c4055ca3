//! What is installed from outside: tools that tests compare with, and the check of dependencies.
use crate::project::{self, cargo, root, run, target_dir, which};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program that the tests run, and the Debian package it comes in.
const TOOLS: [(&str, &str); 15] = [
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("oathtool", "oathtool"),
    ("zbarimg", "zbar-tools"),
    ("rsvg-convert", "librsvg2-bin"),
    ("faketime", "faketime"),
    ("sqlite3", "sqlite3"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("npm", "npm"),
    ("zsh", "zsh"),
    ("fish", "fish"),
];

/// Reverse proxies, and where their packages have them. They are unpacked, not installed: the packages start a server
/// with the machine.
const PROXIES: [(&str, &str); 2] = [("nginx", "usr/sbin/nginx"), ("caddy", "usr/bin/caddy")];

/// What the tests run of PyPI, with the hashes of the packages.
const REQUIREMENTS: [&str; 3] =
    ["tests/smtp/requirements.txt", "tests/openapi/requirements.txt", "tests/proxies/requirements.txt"];

/// What the tests run in a browser: packages of npm, with their hashes.
const PACKAGES: [&str; 2] = ["tests/axe/package.json", "tests/axe/package-lock.json"];

const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
const NIGHTLY: &str = "nightly-2026-10-30";

/// Installs the tools that are missing.
pub fn install_missing() -> Result<()> {
    let mut missing: Vec<&str> =
        TOOLS.iter().filter(|(program, _)| which(program).is_none()).map(|(_, package)| *package).collect();
    if !makes_environments() {
        missing.push("python3-venv");
    }
    if !missing.is_empty() {
        install(&missing)?;
    }
    unpack_proxies()?;
    install_python()?;
    install_axe()
}

/// Debian's Python cannot make an environment without a package of its own.
fn makes_environments() -> bool {
    let mut python = project::command("python3");
    let said = python.args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    said.is_ok_and(|status| status.success())
}

fn install(missing: &[&str]) -> Result<()> {
    let list = missing.join(" ");
    if which("apt-get").is_none() {
        bail!("the tests need tools that are not installed, and there is no apt-get here: {list}");
    }
    println!("Installing what the tests need (Debian packages): {list}");
    // A machine that was set up long ago knows old versions only; that the update fails need not matter.
    if let Err(error) = run(&mut apt(&["update", "--quiet"])) {
        println!("{error:#}; trying without");
    }
    let mut install = apt(&["install", "--yes", "--quiet", "--no-install-recommends"]);
    run(install.args(missing)).with_context(|| format!("the tests need these Debian packages: {list}"))
}

/// One of the proxies: that of the machine, or one of our own under `target/tools`. Traefik is always ours, of PyPI.
pub fn proxy(name: &str) -> Result<PathBuf> {
    if name == "traefik" {
        return Ok(target_dir()?.join("tools/python/bin/traefik"));
    }
    let packaged = PROXIES.iter().find(|(program, _)| *program == name);
    let (_, file) = packaged.with_context(|| format!("{name} is no proxy that the tests run"))?;
    let on_machine = which(name).or_else(|| Some(Path::new("/").join(file)).filter(|path| path.is_file()));
    on_machine.map_or_else(|| Ok(target_dir()?.join("tools/debian").join(file)), Ok)
}

fn unpack_proxies() -> Result<()> {
    let tools = target_dir()?.join("tools");
    for (name, _) in PROXIES {
        if proxy(name)?.is_file() {
            continue;
        }
        // A machine that was set up long ago, or has just been made, knows no version that is there.
        if let Err(error) = run(&mut apt(&["update", "--quiet"])) {
            println!("{error:#}; trying without");
        }
        println!("Unpacking what the tests need (Debian package {name}) into {}", tools.display());
        let downloads = tools.join(name);
        fs::create_dir_all(&downloads)?;
        let mut download = project::command("apt-get");
        run(download.args(["download", "--quiet", name]).current_dir(&downloads))
            .with_context(|| format!("the tests need this Debian package: {name}"))?;
        for package in fs::read_dir(&downloads)? {
            let mut extract = project::command("dpkg-deb");
            run(extract.arg("--extract").arg(package?.path()).arg(tools.join("debian")))?;
        }
        fs::remove_dir_all(downloads)?;
    }
    Ok(())
}

/// `apt-get`, as root.
fn apt(words: &[&str]) -> Command {
    let mut command = if is_root() {
        project::command("apt-get")
    } else {
        let mut sudo = project::command("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(words);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// The Python that the tests run, with what they need of PyPI: one of our own under `target/tools`.
pub fn python() -> Result<PathBuf> {
    Ok(target_dir()?.join("tools/python/bin/python"))
}

/// What asks an interface everything that its description allows, and more (schemathesis): in that Python.
pub fn schemathesis() -> Result<PathBuf> {
    Ok(target_dir()?.join("tools/python/bin/schemathesis"))
}

fn install_python() -> Result<()> {
    let dir = target_dir()?.join("tools/python");
    // A copy of the lists lies there once all of it is installed.
    let installed = dir.join("installed.txt");
    let mut list = String::new();
    for file in REQUIREMENTS {
        list.push_str(&fs::read_to_string(root().join(file))?);
    }
    if fs::read_to_string(&installed).is_ok_and(|there| there == list) {
        return Ok(());
    }
    println!("Installing what the tests need (PyPI, {}) into {}", REQUIREMENTS.join(", "), dir.display());
    run(project::command("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    let mut pip = project::command(python()?);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    for file in REQUIREMENTS {
        pip.arg("--requirement").arg(root().join(file));
    }
    run(&mut pip)?;
    Ok(fs::write(installed, list)?)
}

/// The rules that pages are held to: axe-core, under `target/tools`.
pub fn axe() -> Result<PathBuf> {
    Ok(target_dir()?.join("tools/axe/node_modules/axe-core/axe.min.js"))
}

fn install_axe() -> Result<()> {
    let dir = target_dir()?.join("tools/axe");
    let files = PACKAGES.map(|file| root().join(file));
    let same = |file: &PathBuf| {
        let there = dir.join(file.file_name().unwrap_or_default());
        fs::read(there).ok().is_some_and(|there| fs::read(file).is_ok_and(|wanted| wanted == there))
    };
    if files.iter().all(same) && axe()?.is_file() {
        return Ok(());
    }
    println!("Installing what the tests need (npm, {}) into {}", PACKAGES[0], dir.display());
    fs::create_dir_all(&dir)?;
    for file in &files {
        fs::copy(file, dir.join(file.file_name().unwrap_or_default()))?;
    }
    let mut npm = project::command("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    run(npm.current_dir(&dir))
}

/// `cargo-deny`: the one on `PATH`, or one of our own under `target/tools`.
pub fn cargo_deny() -> Result<PathBuf> {
    which("cargo-deny").map_or_else(|| own("cargo-deny", CARGO_DENY), Ok)
}

/// `valgrind`, which no test needs.
pub fn valgrind() -> Result<()> {
    if which("valgrind").is_none() { install(&["valgrind"]) } else { Ok(()) }
}

/// `cargo-fuzz`: one of our own under `target/tools`.
pub fn cargo_fuzz() -> Result<PathBuf> {
    own("cargo-fuzz", CARGO_FUZZ)
}

/// A compiler of one night, for what no stable one does, under `target/tools`: `rustup run` with it.
pub fn nightly() -> Result<Command> {
    let home = target_dir()?.join("tools/rustup");
    let rustup = || {
        let mut command = project::command("rustup");
        command
            .env("RUSTUP_HOME", &home)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env_remove("RUSTC");
        command
    };
    let mut look = rustup();
    let there =
        look.args(["run", NIGHTLY, "cargo", "miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !there.status().context("rustup is what installs compilers")?.success() {
        println!("Installing {NIGHTLY} with Miri into {}", home.display());
        let mut install = rustup();
        install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--no-self-update"]);
        run(install.args(["--component", "miri", "--component", "rust-src"]))?;
    }
    let mut command = rustup();
    command.args(["run", NIGHTLY]);
    Ok(command)
}

/// A program of crates.io, of that version, under `target/tools`.
fn own(name: &str, version: &str) -> Result<PathBuf> {
    let tools = target_dir()?.join("tools");
    let program = tools.join("bin").join(name);
    let said = project::command(&program).arg("--version").stderr(Stdio::null()).output();
    if said.is_ok_and(|said| said.stdout.trim_ascii().ends_with(version.as_bytes())) {
        return Ok(program);
    }
    println!("Installing {name} {version} into {}", tools.display());
    // Unoptimised: it runs for a second, and would be built for minutes more.
    let mut install = cargo();
    install.args(["install", "--locked", "--debug", "--no-track", "--force", "--version", version]);
    run(install.arg("--root").arg(&tools).arg(name))?;
    Ok(program)
}
