//! The command line: what can be asked, and how what was done is said.
//!
//! A command returns a `Report` for stdout or a `Failure` for stderr; with `--json` either is JSON. Exit
//! status 0 is done, 1 failed, 2 wrong usage or configuration.
mod administration;
mod audit;
mod check;
mod doctor;
mod failure;
mod host;
mod import;
mod init;
mod keys;
mod kits;
mod library;
mod mfa;
mod outbox;
mod password;
mod plugin;
mod progress;
mod reload;
mod remove;
mod report;
mod scaffold;
mod serve;
mod store;
mod user;
mod when;

#[cfg(any(fuzzing, test))]
pub use import::fuzzing::import;

#[cfg(test)]
mod golden;

use crate::config::Registration;
use administration::{Audit, Mfa, Outbox, User};
use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind,
    parser::ValueSource,
};
use failure::Failure;
use report::Report;
use serde_json::json;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

/// An auth host whose logins are gated by a second factor that comes out of a plugin.
///
/// It keeps accounts and sessions, answers over HTTP, and loads everything else as dynamic libraries: the second
/// factor, the store, the delivery of mail. One TOML file configures it.
#[derive(Parser)]
#[command(
    name = "countersign",
    version,
    max_term_width = 100,
    after_help = "\
Example: from nothing to a running host
  countersign init demo
  countersign serve --config demo/countersign.toml

Exit status: 0 done, 1 failed, 2 wrong usage or configuration."
)]
struct Cli {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "countersign.toml")]
    config: PathBuf,
    /// Whether it was named, and is not the one that lies here.
    #[arg(skip)]
    is_named: bool,
    /// Print JSON: what was done on stdout, errors on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(Init),
    Serve(Serve),
    /// Have the running host take over configuration, keys and plugins.
    ///
    /// No request is dropped: those that were begun end as they began. If anything is wrong, everything stays as it
    /// was, and this says why. The address, the data directory and the store are changed by a restart alone. SIGHUP
    /// does the same.
    #[command(after_help = "\
Example:
  countersign plugin install ./libplugin_mfa.so && countersign reload")]
    Reload,
    #[command(subcommand)]
    Config(ConfigCommand),
    #[command(subcommand)]
    Keys(Keys),
    #[command(subcommand)]
    Plugin(Plugin),
    #[command(subcommand)]
    User(User),
    #[command(subcommand)]
    Mfa(Mfa),
    #[command(subcommand)]
    Audit(Audit),
    #[command(subcommand)]
    Outbox(Outbox),
    #[command(subcommand)]
    Store(store::Store),
    /// Say what is misconfigured, and what to do about it.
    ///
    /// Looks at the configuration and its pins, the clock, who may read the files, the room on the disk, the store, the
    /// relay, what the reverse proxy has to know, and how the host is that runs. No mail is sent: the relay is greeted,
    /// and left. Run it as the user that runs the host. The exit status is 1 when there is a problem; a warning may be
    /// what you want.
    #[command(after_help = "\
Examples:
  countersign doctor
  countersign doctor --json | jq -r '.findings[].what'")]
    Doctor,
    /// Print a script that completes this command in a shell.
    #[command(after_help = "\
Example:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of this command and of those below it.
    #[command(
        hide = true,
        after_help = "\
Example:
  countersign man ~/.local/share/man/man1"
    )]
    Man {
        /// The directory, which must be there.
        dir: PathBuf,
    },
}

/// Make a directory that a host can start from.
///
/// Writes a commented configuration, makes keys, and installs the plugins that lie beside this program, each
/// pinned to its bytes. Nothing that exists is overwritten.
#[derive(Args)]
#[command(after_help = "\
Example:
  countersign init /srv/auth --public-url https://auth.example.org")]
struct Init {
    /// The directory; made if need be.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the host will listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The origin that browsers will see; https beyond loopback. [default: http:// and the address of --listen]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Who may make an account.
    #[arg(long, value_enum, default_value_t = Sign::Closed)]
    registration: Sign,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sign {
    /// Administrators alone.
    Closed,
    /// Anybody, with an address that is not proven.
    Open,
}

impl From<Sign> for Registration {
    fn from(sign: Sign) -> Self {
        match sign {
            Sign::Closed => Self::Closed,
            Sign::Open => Self::Open,
        }
    }
}

/// Run the host.
///
/// It refuses to start with every reason there is. SIGTERM and SIGINT answer what was begun and stop it; SIGHUP
/// is `countersign reload`. The log goes to stderr: JSON lines, or text when stderr is a terminal.
#[derive(Args)]
#[command(after_help = "\
Examples:
  countersign serve --config /srv/auth/countersign.toml
  RUST_LOG=info,countersign::http=warn countersign serve")]
struct Serve {
    /// For development, on loopback alone: plugins need no pin, and every answer is marked.
    #[arg(long)]
    dev: bool,
    /// Start although LD_PRELOAD, LD_AUDIT or LD_LIBRARY_PATH is set, and say so in the log.
    #[arg(long)]
    allow_preload: bool,
    /// How the log looks; wins over the configuration. [default: pretty on a terminal, else json]
    #[arg(long, value_enum)]
    log_format: Option<crate::config::LogFormat>,
    /// What is logged, as RUST_LOG says it; wins over that, and that over the configuration.
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// Look at the configuration.
#[derive(Subcommand)]
enum ConfigCommand {
    /// Say everything that `serve` would refuse.
    ///
    /// Reads the configuration, the keys and the plugins' files, and asks each plugin about its own table.
    /// Nothing is started, and the store is not touched.
    #[command(after_help = "\
Example:
  countersign config check && systemctl restart countersign")]
    Check {
        /// What `serve --dev` would refuse.
        #[arg(long)]
        dev: bool,
    },
}

/// Look after the key ring.
///
/// One key of each role is active: `token` signs tokens, `seal` encrypts what is stored, `index` hides addresses,
/// `pepper` goes into hashes. A lost key file cannot be made up for: back it up apart from the store.
#[derive(Subcommand)]
enum Keys {
    /// Make a key file where there is none.
    #[command(after_help = "Example:\n  countersign keys init")]
    Init,
    /// Show the keys, never their secrets.
    #[command(after_help = "Example:\n  countersign keys list --json")]
    List,
    /// Make a new key that signs tokens from now on.
    ///
    /// The old one still checks those that it has signed. A running host takes it over at once.
    #[command(after_help = "Example:\n  countersign keys rotate")]
    Rotate,
    /// Remove a key that was superseded: a token key by `keys rotate`, a sealing key by `store reseal`.
    ///
    /// Refused while anything may still need it: a token lives up to an hour after its key was rotated out, and no
    /// record may be left under a sealing key, which all are asked about. A running host takes it over at once.
    #[command(after_help = "Example:\n  countersign keys retire 1f3a5c77")]
    Retire {
        /// The key's id, from `keys list`.
        kid: String,
    },
}

/// Look after plugins.
///
/// A plugin is a library in plugin_dir with a [[plugin]] entry that pins it to its bytes. A host that runs takes
/// changes over with `countersign reload`.
#[derive(Subcommand)]
enum Plugin {
    /// Show the configured plugins. Runs none of them.
    #[command(after_help = "Example:\n  countersign plugin list")]
    List,
    /// Show what a library says of itself, without running it.
    #[command(after_help = "Example:\n  countersign plugin inspect ./libplugin_mfa.so")]
    Inspect {
        /// The library.
        file: PathBuf,
    },
    /// Copy a library into plugin_dir and pin it in the configuration.
    ///
    /// The copy is named after its hash, checked and opened before it is entered. An entry of the same plugin is
    /// replaced, and the comments of the configuration stay.
    #[command(after_help = "Example:\n  countersign plugin install ./libplugin_mfa.so --sha256 9f86d081…")]
    Install {
        /// The library.
        file: PathBuf,
        /// The SHA-256 that it must have, 64 hexadecimal digits, from where you trust it.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Check every configured plugin as a start would: placement, pin, manifest, interface.
    #[command(after_help = "Example:\n  countersign plugin verify")]
    Verify,
    /// Remove a plugin, its table and its file.
    ///
    /// The store remembers which plugin gates logins. That one is removed with --disarm alone, because without it
    /// every second factor is skipped.
    #[command(after_help = "Example:\n  countersign plugin remove store-memory")]
    Remove {
        /// The plugin's name, or its file as the configuration names it.
        name: String,
        /// Let logins go on without the second factor that this plugin demands.
        #[arg(long)]
        disarm: bool,
    },
    New(New),
    Check(Check),
}

/// Make a project for a plugin of your own.
///
/// It builds, passes its own test and the conformance kit of its kind, and does something small: change it into what
/// you want. The sources of countersign-plugin-api are put beside it, as this program was built with them, so nothing
/// but crates.io is needed to build it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  countersign plugin new delivery pigeon
  countersign plugin new routes notes --path ~/src/notes --api ~/src/countersign/plugin-api")]
struct New {
    /// What it is to register.
    kind: Kind,
    /// What it is to be called: lower-case letters, digits and dashes.
    name: String,
    /// The directory of the project, which must not exist. [default: KIND-NAME, plugin-NAME for routes]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// A directory with countersign-plugin-api, to be used instead of a copy.
    #[arg(long, value_name = "DIR")]
    api: Option<PathBuf>,
}

/// What a plugin registers.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// How messages reach people.
    Delivery,
    /// What records are kept in.
    Store,
    /// What the host answers under /api/auth/NAME.
    Routes,
}

/// Run the conformance kits on whatever a library registers.
///
/// Opens the library as a host does, which runs its code with all that you may do: check what you would install, and
/// look at anything else with `plugin inspect`, which runs none of it. Registers it with the table that is given, and
/// says clause by clause what holds. The kits write records and send messages: give it a store and a relay that nobody needs. Where the
/// library lies and who may write there is not looked at, no hash is asked for, and plugins for development are
/// accepted.
#[derive(Args)]
#[command(after_help = "\
Examples:
  countersign plugin check target/debug/libdelivery_pigeon.so --set directory=/tmp/loft
  countersign plugin check libstore_sqlite.so --config scratch.toml")]
struct Check {
    /// The library.
    file: PathBuf,
    /// A value of the plugin's table, as TOML or as plain text; wins over --config, without which nothing else is in
    /// the table. Relative paths are relative to the working directory.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    values: Vec<String>,
}

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    // What is made is for its owner: keys, data, sockets.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let json = cli.json;
    match dispatch(cli) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            let text = if json { format!("{:#}", report.json) } else { report.text };
            let printed = print(&text);
            if report.failed { ExitCode::FAILURE } else { printed }
        }
        Err(failure) => {
            let text = if json { failure.json().to_string() } else { failure.to_string() };
            complain(&text);
            failure.exit()
        }
    }
}

fn parsed() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let is_named = matches.value_source("config") == Some(ValueSource::CommandLine);
    Cli::from_arg_matches(&matches).map(|cli| Cli { is_named, ..cli })
}

fn dispatch(cli: Cli) -> Result<Option<Report>, Failure> {
    let (config, json) = (&cli.config, cli.json);
    let report = match cli.command {
        Command::Init(args) => init::run(config, &args),
        Command::Serve(args) => return serve::run(config, &args, json).map(|()| None),
        Command::Reload => reload::run(config),
        Command::Config(ConfigCommand::Check { dev }) => check::run(config, dev),
        Command::Keys(command) => keys::run(config, &command),
        // A kit writes and sends: not with the table of the host that happens to lie here.
        Command::Plugin(Plugin::Check(check)) => kits::run(cli.is_named.then_some(config), &check),
        Command::Plugin(command) => plugin::run(config, &command),
        Command::User(command) => user::run(config, command),
        Command::Doctor => doctor::run(config),
        Command::Store(command) => store::run(config, &command, json),
        Command::Mfa(command) => mfa::run(config, command, json),
        Command::Outbox(command) => outbox::run(config, &command),
        Command::Audit(Audit::Tail(tail)) => return audit::run(config, &tail, json).map(|()| None),
        Command::Man { dir } => {
            let written = clap_mangen::generate_to(Cli::command(), &dir);
            written.map_err(|error| Failure::new(format_args!("{}: {error}", dir.display())))?;
            let text = format!("The manual pages are in {}.", dir.display());
            Ok(Report::new(&text, json!({ "written": dir })))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
            let script = String::from_utf8_lossy(&script).into_owned();
            Ok(Report::new(script.trim_end(), script.as_str().into()))
        }
    };
    report.map(Some)
}

/// What clap says: help and the version are what was asked for, the rest is wrong usage.
fn misused(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || !std::env::args_os().any(|arg| arg == "--json") {
        let _ = error.print();
    } else {
        let text = error.to_string();
        let sentence = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        complain(&Failure::usage(sentence).json().to_string());
    }
    if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: stdout: {error}"));
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn complain(text: &str) {
    // Where nobody reads there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
