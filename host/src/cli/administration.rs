//! What can be asked about accounts.
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Look after accounts.
///
/// Works through the running host, or on the store itself when none runs. What is done is in the audit record, and
/// the account is told by mail.
#[derive(Subcommand)]
pub(super) enum User {
    /// Make an account. Its password is asked for, or read from stdin.
    #[command(after_help = "\
Examples:
  countersign user add ann@example.org
  pass show auth/ann | countersign user add ann@example.org --role admin --password-stdin")]
    Add {
        /// The e-mail address.
        email: String,
        /// What the account is to applications; `admin` administrates.
        #[arg(long, default_value = "user")]
        role: String,
        /// Read the password from stdin: all of it, but a line break at its end.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all accounts.
    #[command(after_help = "Example:\n  countersign user list --json")]
    List,
    /// Show an account, its factors, its locks and its sessions.
    #[command(after_help = "Example:\n  countersign user show ann@example.org")]
    Show {
        /// The e-mail address, or the id.
        user: String,
    },
    /// Give an account another role. Its sessions have it at once.
    #[command(after_help = "Example:\n  countersign user set-role ann@example.org admin")]
    SetRole {
        /// The e-mail address, or the id.
        user: String,
        /// What the account is to applications; `admin` administrates.
        role: String,
    },
    /// Give an account another password, and end all its sessions.
    ///
    /// The password is asked for, or read from stdin, and has to meet the policy. The second factor stays.
    #[command(after_help = "\
Examples:
  countersign user set-password ann@example.org
  pass show auth/ann | countersign user set-password ann@example.org --password-stdin")]
    SetPassword {
        /// The e-mail address, or the id.
        user: String,
        /// Read the password from stdin: all of it, but a line break at its end.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove an account with its sessions and its second factor. What it did stays in the audit record.
    #[command(after_help = "Example:\n  countersign user delete ann@example.org --yes")]
    Delete {
        /// The e-mail address, or the id.
        user: String,
        /// Do not ask whether this is meant.
        #[arg(long)]
        yes: bool,
    },
}

/// Look after second factors.
///
/// Works through the running host, or on the store itself when none runs. What is done is in the audit record, and
/// the account is told by mail.
#[derive(Subcommand)]
pub(super) enum Mfa {
    /// Show what an account proves itself with, and what is locked.
    #[command(after_help = "Example:\n  countersign mfa status ann@example.org")]
    Status {
        /// The e-mail address, or the id.
        user: String,
    },
    /// Remove an account's second factor, and end all its sessions.
    ///
    /// It signs in with its password then, and sets up a new factor.
    #[command(after_help = "Example:\n  countersign mfa reset ann@example.org")]
    Reset {
        /// The e-mail address, or the id.
        user: String,
    },
    /// Let an account try again that is locked after wrong codes or passwords.
    #[command(after_help = "Example:\n  countersign mfa unlock ann@example.org")]
    Unlock {
        /// The e-mail address, or the id.
        user: String,
    },
    /// Take factors over from another system.
    ///
    /// A line of the file is an otpauth URI whose label names the account by its e-mail address, or the address, a
    /// space and the URI. Empty lines and lines that start with # are left out. A line that cannot be imported is
    /// told with its number and the reason, and the others are imported all the same.
    #[command(after_help = "\
Examples:
  countersign mfa import factors.txt
  export-from-elsewhere | countersign mfa import - --json")]
    Import {
        /// The file; `-` is stdin.
        file: PathBuf,
        /// Tell the accounts nothing, which have been told otherwise: for more than the outbox holds.
        #[arg(long)]
        quiet: bool,
    },
}

/// Look at what happened.
#[derive(Subcommand)]
pub(super) enum Audit {
    Tail(Tail),
}

/// Print the last events, oldest first.
///
/// With --json each is an object on a line of its own.
#[derive(Args)]
#[command(after_help = "\
Examples:
  countersign audit tail --follow
  countersign audit tail --since 2h --account ann@example.org --json
  countersign audit tail --event mail.failed")]
pub(super) struct Tail {
    /// Go on as events happen; needs a host that runs.
    #[arg(long, short)]
    pub(super) follow: bool,
    /// How many. [default: 20, or all with --since]
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(super) lines: Option<usize>,
    /// Those that concern this account or that it caused: its e-mail address or its id.
    #[arg(long, visible_alias = "user", value_name = "USER")]
    pub(super) account: Option<String>,
    /// Those of this name, or of names that begin with it and a dot: `mfa` and `mfa.totp.refused`.
    #[arg(long, value_name = "NAME")]
    pub(super) event: Option<String>,
    /// From when on: how long ago, such as `90m` or `7d`, or a time such as `2026-11-21T09:30:00Z`.
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
}

/// Look after mails that wait to be sent.
///
/// Works through the running host, or on the store itself when none runs. What was refused for good is not kept:
/// `countersign audit tail --event mail` tells of it.
#[derive(Subcommand)]
pub(super) enum Outbox {
    /// List the mails that wait: whose they are and how they stand, never what they say.
    #[command(after_help = "Example:\n  countersign outbox list --json")]
    List,
    /// Try a mail now that would be tried later, or all of them.
    ///
    /// Without a host that runs they are tried as soon as one does. None is sent after its life, and none twice.
    #[command(after_help = "\
Examples:
  countersign outbox retry --all
  countersign outbox retry 00000002d1f0a3b40000000065a1b2c3")]
    Retry {
        /// The mail's id, from `outbox list`.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All that wait.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}
