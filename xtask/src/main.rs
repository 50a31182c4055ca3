//! `cargo xtask`: the project's own commands.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands that talk to a person")]
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use xtask::{artifacts, bench, ci, demo, dist, fuzz, qr, sanitize, siege, site, test};

/// Builds, tests and shows Countersign. Nothing but a Rust toolchain and a C compiler is needed to start.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the binary `countersign` and the plugin libraries, and says where they are
    Build {
        /// Optimised, as it would be deployed
        #[arg(long)]
        release: bool,
    },
    /// Runs every test, after installing the tools that they need and building what they run
    ///
    /// The tools are Debian packages (curl, openssl, python3-venv, oathtool, zbar-tools, librsvg2-bin, faketime,
    /// sqlite3, strace, systemd) and, under target/tools, reverse proxies (nginx, caddy) and an SMTP server from PyPI (aiosmtpd);
    /// only missing ones are installed, and named first.
    Test {
        /// For cargo-nextest where it is installed, else for `cargo test`. Given any, only what they select is
        /// run; otherwise everything is, the examples in the documentation included
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// What a change must pass: formatting, lints, licences and sources of dependencies, and every test
    Ci,
    /// Packs what is installed: a tarball and a Debian package, with checksums, under target/dist
    ///
    /// Built optimised, with the plugins, manual pages, completions, the systemd unit and the examples. SOURCE_DATE_EPOCH
    /// says how old the files are to be; without it, the last commit does.
    Dist,
    /// An auth host with a second factor, from nothing: builds, initialises, starts, and shows the way
    ///
    /// Starts the host in the foreground (Ctrl-C ends it) and prints the curl lines that lead from sign-up to a
    /// login that demands a code.
    Demo {
        /// Where it keeps its configuration and data; used again when it is there
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Goes the way itself, printing each request and its answer, and stops the host at the end
        #[arg(long)]
        walk: bool,
    },
    /// Attacks a host and its stores, and compares what it measures with what is promised
    ///
    /// Races, crashes, floods, faults: each campaign prints requirement, figure and measurement, and the command fails
    /// when any falls short. Full scale takes a quiet machine, root for a small file system, and an hour.
    Siege(siege::Siege),
    /// Throws bytes at whatever reads what a stranger wrote, under AddressSanitizer, and says what broke
    ///
    /// Each target starts from fuzz/corpus and from what earlier runs found, which is kept, minimised, under
    /// target/fuzz, and at first is what lies in fuzz/found. cargo-fuzz is installed into target/tools. The stable compiler does it, told to be an unstable one.
    Fuzz(fuzz::Fuzz),
    /// Looks for memory that is read or written where it must not be: the boundary in Miri, a walk under valgrind
    ///
    /// Miri comes with a nightly toolchain of its own, which rustup puts under target/tools. valgrind is a Debian package.
    Sanitize(sanitize::Sanitize),
    /// Measures a host and its stores beside a bare server in the same run, and compares with the goals
    ///
    /// Throughput, CPU for each request, latencies, memory, starts. A table for people, or JSON. Takes a quiet machine.
    Bench(bench::Bench),
    /// Renders README and docs into target/site: HTML without JavaScript, for a browser or any web server
    Site,
    /// Draws the QR code of an enrolment: reads the answer of `totp/enroll` from standard input
    Qr,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Build { release } => build(release),
        Command::Test { args } => test::run(&args),
        Command::Ci => ci::run(),
        Command::Dist => dist::command(),
        Command::Demo { dir, walk } => demo::run(dir.as_deref(), walk),
        Command::Siege(siege) => siege::run(&siege),
        Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        Command::Sanitize(sanitize) => sanitize::run(&sanitize),
        Command::Bench(bench) => bench::run(&bench),
        Command::Site => site::run(),
        Command::Qr => qr::from_stdin(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(release: bool) -> Result<()> {
    let built = artifacts::build(release)?;
    println!("binary   {}", built.binary().display());
    for plugin in artifacts::plugins()? {
        println!("plugin   {}", built.plugin(&plugin).display());
    }
    Ok(())
}
