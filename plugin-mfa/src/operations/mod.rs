//! What administrators, the command line and embedders have done, called in process as `mfa.<name>` with a JSON
//! object. Whoever calls has been proven to be allowed to; no operation shows a secret.
mod account;
mod embedder;
mod import;

use crate::routes::Handle;
use countersign_plugin_api::{Context, Problem, Refusal, Subject};
use serde::Deserialize;

/// All of them, by name.
pub(crate) static OPERATIONS: [(&str, Handle); 10] = [
    ("status", account::status),
    ("reset", account::reset),
    ("unlock", account::unlock),
    ("forget", account::forget),
    ("password.reset-by-mail", account::reset_by_mail),
    ("import", import::import),
    ("config", embedder::config),
    ("totp.validate-at", embedder::validate_totp_at),
    ("link.issue", embedder::link),
    ("challenge.verify", embedder::challenge),
];

/// The account that is meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    subject: String,
}

fn existing(context: &dyn Context, subject: &str) -> Result<Subject, Refusal> {
    context
        .subject(subject)?
        .ok_or_else(|| Refusal::new(Problem::NotFound).saying("There is no such account"))
}
