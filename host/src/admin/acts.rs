//! What is done to accounts that are not the caller's.
use crate::{
    accounts::{self, Account, Email, Password},
    auth::{self, Budget},
    kernel::{Call, HOST},
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Secret};
use serde_json::{Value, json};
use std::time::Duration;

/// How long it is worth trying to tell somebody.
const NOTICE: Duration = Duration::from_hours(24);
/// The records that one batch sweeps away: each is an operation, and a batch has room for 32.
const SWEPT: usize = 16;

/// Makes an account.
pub(crate) fn add(
    call: &Call<'_>,
    email: &str,
    role: &str,
    password: &Secret<String>,
) -> Result<Account, Refusal> {
    let email = Email::parse(email)
        .map_err(|_| Refusal::malformed(format_args!("`{email}` is not an e-mail address")))?;
    check_role(role)?;
    let mut account = auth::sign_up(call, &email, role, password)?;
    account.vouched = true;
    accounts::save(call, &account)?;
    call.audit(HOST, &Event::success("account.created", &account.id).with("role", role));
    Ok(account)
}

/// Gives an account another role. Its sessions have it from their next request on.
pub(crate) fn set_role(call: &Call<'_>, mut account: Account, role: &str) -> Result<Account, Refusal> {
    check_role(role)?;
    let before = std::mem::replace(&mut account.role, role.into());
    accounts::save(call, &account)?;
    let event = Event::success("account.role-set", &account.id);
    call.audit(HOST, &event.with("role", role).with("before", &before));
    call.message(&notice(call, "role-changed", &account).with("role", role))?;
    Ok(account)
}

fn check_role(role: &str) -> Result<(), Refusal> {
    if is_role(role) {
        return Ok(());
    }
    Err(Refusal::malformed(format_args!(
        "`{role}` is not a role: lower-case letters, digits, - and _, at most 32, a letter first"
    )))
}

fn is_role(role: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    role.len() <= 32 && role.starts_with(|c: char| c.is_ascii_lowercase()) && role.bytes().all(plain)
}

/// Gives an account another password, and ends all that it has open. Wrong tries of the old one are forgotten.
pub(crate) fn set_password(
    call: &Call<'_>,
    mut account: Account,
    password: &Secret<String>,
) -> Result<Account, Refusal> {
    let email = Email::parse(&account.email)?;
    accounts::check_password(call, password.expose(), &[email.folded(), email.local()])?;
    account.password = Some(Password::new(call, password.expose())?);
    account.epoch += 1;
    accounts::save(call, &account)?;
    forget_tries(call, &account)?;
    call.audit(HOST, &Event::success("password.set", &account.id));
    call.message(&notice(call, "password-changed", &account))?;
    Ok(account)
}

fn forget_tries(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    Budget::all(call, &account.id)?.into_iter().try_for_each(|budget| budget.reset(call))
}

/// Ends all sessions of an account, and nothing else of it.
pub(super) fn end_sessions(call: &Call<'_>, mut account: Account) -> Result<(), Refusal> {
    account.generation += 1;
    accounts::save(call, &account)?;
    call.audit(HOST, &Event::success("sessions.ended", &account.id));
    call.message(&notice(call, "sessions-ended", &account))
}

/// Forgets wrong guesses of either factor: nothing is locked any more.
pub(crate) fn unlock(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    forget_tries(call, account)?;
    if let Some(outcome) = call.kernel.gate_operation(call, "unlock", &subject(account))? {
        outcome?;
    }
    call.audit(HOST, &Event::success("account.unlocked", &account.id));
    call.message(&notice(call, "unlocked", account))
}

/// What the gate says of an account's second factor; null when no plugin gates logins.
pub(crate) fn mfa_status(call: &Call<'_>, account: &Account) -> Result<Value, Refusal> {
    let status = call.kernel.gate_operation(call, "status", &subject(account))?;
    status.transpose().map(Option::unwrap_or_default)
}

/// Removes the second factor of an account, and ends all that it has open. The plugin records it, and tells the
/// account.
pub(crate) fn mfa_reset(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    gated(call, "reset", &subject(account)).map(drop)
}

/// Gives an account the factor of an `otpauth` URI from another system; `quiet` tells it nothing. Whether it did not
/// have it already.
pub(crate) fn import(
    call: &Call<'_>,
    account: &Account,
    uri: &Secret<String>,
    quiet: bool,
) -> Result<bool, Refusal> {
    let input = json!({ "subject": account.id, "uri": uri.expose(), "quiet": quiet });
    Ok(gated(call, "import", &input)?["added"] != false)
}

fn gated(call: &Call<'_>, operation: &str, input: &Value) -> Result<Value, Refusal> {
    let none = || Refusal::new(Problem::PluginFault).saying("no plugin keeps second factors");
    call.kernel.gate_operation(call, operation, input)?.ok_or_else(none)?
}

/// Removes an account with its second factor and its place in the directory. What else lies around it, such as
/// its sessions, is over with it, and goes by [`sweep`].
pub(crate) fn delete(call: &Call<'_>, account: &Account) -> Result<(), Refusal> {
    // All of this while there is an account to tell, and to ask about.
    call.message(&notice(call, "account-deleted", account))?;
    call.audit(HOST, &Event::success("account.deleted", &account.id));
    let subject = subject(account);
    let forgotten = call.kernel.gate_operation(call, "forget", &subject)?;
    let forgotten = match forgotten {
        None => call.kernel.gate_operation(call, "reset", &subject)?,
        some => some,
    };
    forgotten.transpose()?;
    accounts::remove(call, account)
}

/// Removes some of what is left of an account that is deleted; whether there was any.
pub(crate) fn sweep(call: &Call<'_>, account: &str) -> Result<bool, Refusal> {
    let left = call.scan(HOST, call.place(account), b"", None, SWEPT)?;
    for (name, _) in &left {
        let key = call.host_key(account, name);
        if call.read(key.clone())?.is_some() {
            call.delete(key)?;
        }
    }
    Ok(!left.is_empty())
}

fn subject(account: &Account) -> Value {
    json!({ "subject": account.id })
}

fn notice<'a>(call: &Call<'_>, template: &'a str, account: &'a Account) -> Draft<'a> {
    Draft::notice(template, &account.id, call.now() + NOTICE)
}

#[cfg(test)]
mod tests {
    use super::is_role;

    #[test]
    fn roles_are_plain_words() {
        assert!(["user", "admin", "on-call_2"].into_iter().all(is_role));
        assert!(!["", "Admin", "1st", "-a", "a b", "a\n", &"a".repeat(33)].into_iter().any(is_role));
    }
}
