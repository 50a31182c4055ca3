//! Administration: what an administrator asks over HTTP and an operator on the command line.
//!
//! ```text
//! /api/auth/admin ─→ http (who may) ──┐
//! command line ────→ control ─────────┴─→ acts · show · audit ─→ one call of the kernel
//! ```
//!
//! Whoever asks, the same function does it: the event names who did it and whose account it was, and the account
//! is told by mail. Secrets are neither shown nor chosen here: a reset removes factors, and nothing else.
mod acts;
mod audit;
pub(crate) mod http;
mod show;

pub(crate) use acts::{add, delete, import, mfa_reset, set_password, set_role, sweep, unlock};
pub(crate) use audit::{Wanted, page as audit_page};
pub(crate) use show::{account as show_account, accounts as show_accounts, user as show_user};

use crate::{
    accounts::{self, Account, Email},
    kernel::Call,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Problem, Refusal};

/// The role that administrates.
pub(crate) const ADMIN: &str = "admin";

/// The account of an address or of an id.
pub(crate) fn find(call: &Call<'_>, named: &str) -> Result<Account, Refusal> {
    let account = if named.contains('@') {
        accounts::by_email(call, &Email::parse(named)?)?
    } else {
        accounts::by_id(call, named)?
    };
    account
        .ok_or_else(|| Refusal::new(Problem::NotFound).saying(format_args!("there is no account `{named}`")))
}

/// Where a page starts, as clients carry it: opaque to them.
fn cursor(name: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// A cursor that a page has given, as far as `is_ours` can tell.
fn place(cursor: Option<&str>, is_ours: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(cursor) = cursor else { return Ok(None) };
    let name = URL_SAFE_NO_PAD.decode(cursor).ok().filter(|name| is_ours(name));
    name.map(Some).ok_or_else(|| Refusal::malformed("`after` is not the `next` of another page"))
}
