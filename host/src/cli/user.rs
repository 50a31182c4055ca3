//! `user`: accounts.
use super::{
    Failure, Report,
    administration::User,
    check,
    host::Reach,
    mfa, password,
    report::{plain, table},
};
use crate::control::Operation;
use countersign_plugin_api::Secret;
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

pub(super) fn run(file: &Path, command: User) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    let mut reach = Reach::new(&config);
    let done = match command {
        User::List => return list(&mut reach),
        User::Show { user } => {
            let shown = reach.perform(Operation::UserShow { user })?;
            return Ok(Report::new(card(&shown), shown));
        }
        User::Add { email, role, password_stdin } => {
            let password = password(password_stdin)?;
            let made = reach.perform(Operation::UserAdd { email, role, password })?;
            let (id, role) = (text(&made, "id"), text(&made, "role"));
            (format!("has the id {id} and the role {role}"), made)
        }
        User::SetRole { user, role } => {
            let changed = reach.perform(Operation::UserSetRole { user, role })?;
            (format!("has the role {}", text(&changed, "role")), changed)
        }
        User::SetPassword { user, password_stdin } => {
            let password = password(password_stdin)?;
            let changed = reach.perform(Operation::UserSetPassword { user, password })?;
            ("has a new password, and is signed out everywhere".into(), changed)
        }
        User::Delete { user, yes } => {
            if !yes {
                let shown = reach.perform(Operation::UserShow { user: user.clone() })?;
                confirm(&text(&shown["user"], "email"))?;
            }
            ("is deleted".into(), reach.perform(Operation::UserDelete { user })?)
        }
    };
    Ok(Report::new(format!("{} {}", text(&done.1, "email"), done.0), done.1))
}

fn password(stdin: bool) -> Result<Secret<String>, Failure> {
    if stdin { password::from_stdin(io::stdin().lock()) } else { password::from_terminal() }
}

/// Asks whether an account is to be deleted.
fn confirm(email: &str) -> Result<(), Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("stdin is no terminal to ask on whether this is meant: say --yes"));
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "Delete {email} with all that belongs to it? Type `yes`: ");
    let answered = asked.and_then(|()| stdin.read_line(&mut line));
    answered.map_err(|error| Failure::new(format_args!("the terminal: {error}")))?;
    if line.trim() == "yes" { Ok(()) } else { Err(Failure::new("nothing is deleted")) }
}

fn list(reach: &mut Reach<'_>) -> Result<Report, Failure> {
    let mut users: Vec<Value> = Vec::new();
    let mut after = None;
    loop {
        let mut page = reach.perform(Operation::UserList { after })?;
        if let Value::Array(more) = page["users"].take() {
            users.extend(more);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let keys = ["id", "email", "role", "created_at"];
    let rows: Vec<[String; 4]> = users.iter().map(|user| keys.map(|key| text(user, key))).collect();
    Ok(Report::new(table(["ID", "EMAIL", "ROLE", "CREATED"], &rows), json!({ "users": users })))
}

fn card(shown: &Value) -> String {
    let user = &shown["user"];
    let verified = if user["email_verified"] == true { "proven" } else { "not proven" };
    let mut lines = vec![
        format!("id       {}", text(user, "id")),
        format!("email    {} ({verified})", text(user, "email")),
        format!("role     {}", text(user, "role")),
        format!("created  {}", text(user, "created_at")),
        mfa::lines(shown),
    ];
    let sessions = shown["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.push(format!("sessions {}", sessions.len()));
    if !sessions.is_empty() {
        let keys = ["type", "created_at", "last_seen_at", "address", "user_agent"];
        let rows: Vec<[String; 5]> =
            sessions.iter().map(|session| keys.map(|key| text(session, key))).collect();
        lines.push(String::new());
        lines.push(table(["TYPE", "CREATED", "SEEN", "FROM", "BROWSER"], &rows));
    }
    lines.join("\n")
}

/// A text of an answer, fit for a terminal.
pub(super) fn text(object: &Value, key: &str) -> String {
    plain(object[key].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_names_itself_cannot_steer_the_terminal() {
        let session = json!({ "type": "standard", "user_agent": "\u{1b}[2J\r\nforged line" });
        let user = json!({ "id": "x", "email": "a@b.example" });
        let card = card(&json!({ "user": user, "sessions": [session] }));
        assert!(card.contains("email    a@b.example (not proven)\n"), "{card}");
        assert!(!card.contains('\u{1b}') && card.lines().count() == 9, "{card}");
    }
}
