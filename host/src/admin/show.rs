//! Accounts as administrators see them: never a secret.
use super::{acts, cursor, place};
use crate::{
    accounts::{self, Account},
    auth::{Budget, listed},
    kernel::Call,
    sessions,
};
use countersign_plugin_api::{Refusal, Time};
use serde_json::{Value, json};

/// How many accounts one answer lists.
const PAGE: usize = 100;

/// A page of the accounts whose address contains `query`. One that is short, or empty, has a `next` as long as
/// there are accounts that were not looked at.
pub(crate) fn accounts(call: &Call<'_>, query: &str, after: Option<&str>) -> Result<Value, Refusal> {
    let after = place(after, accounts::is_place)?;
    let (accounts, next) = accounts::search(call, query, after.as_deref(), PAGE)?;
    let users: Vec<Value> = accounts.iter().map(user).collect();
    Ok(json!({ "users": users, "next": next.map(cursor) }))
}

/// All of one account: who it is, what it proves itself with, what is locked, where it is signed in.
pub(crate) fn account(call: &Call<'_>, account: &Account) -> Result<Value, Refusal> {
    let budgets = Budget::all(call, &account.id)?;
    let locked = |known| {
        let locks = budgets.iter().filter(|budget| budget.known == known);
        locks.filter_map(|budget| budget.locked_until(call.now())).max().map(|until| until.to_string())
    };
    let current = call.caller().map_or("", |caller| caller.session.id.as_str());
    let sessions = sessions::list(call, account)?;
    let sessions: Vec<Value> = sessions.iter().map(|session| listed(session, current)).collect();
    Ok(json!({
        "user": user(account),
        "mfa": acts::mfa_status(call, account)?,
        "password_locked_until": locked(false),
        "known_browsers_locked_until": locked(true),
        "sessions": sessions,
    }))
}

/// An account in a list.
pub(crate) fn user(account: &Account) -> Value {
    json!({
        "id": account.id,
        "email": account.email,
        "email_verified": account.email_verified,
        "role": account.role,
        "created_at": Time::from_secs(account.created_at).to_string(),
    })
}
