//! `user`: accounts.
use super::{
    Failure, Report, User, check,
    host::Reach,
    password,
    report::{plain, table},
};
use crate::{config::Config, control::Operation};
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn run(file: &Path, command: User) -> Result<Report, Failure> {
    let config = check::settings(file)?;
    match command {
        User::Add { email, role, password_stdin } => {
            let password = if password_stdin {
                password::from_stdin(std::io::stdin().lock())
            } else {
                password::from_terminal()
            }?;
            let made = Reach::new(&config).perform(Operation::UserAdd { email, role, password })?;
            let text = format!(
                "{} has the id {} and the role {}",
                text(&made, "email"),
                text(&made, "id"),
                text(&made, "role")
            );
            Ok(Report::new(text, made))
        }
        User::List => list(&config),
        User::Show { user } => {
            let shown = Reach::new(&config).perform(Operation::UserShow { user })?;
            Ok(Report::new(card(&shown), shown))
        }
    }
}

fn list(config: &Config) -> Result<Report, Failure> {
    let mut users: Vec<Value> = Vec::new();
    let mut after = None;
    let mut reach = Reach::new(config);
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

fn card(user: &Value) -> String {
    let verified = if user["email_verified"] == true { "proven" } else { "not proven" };
    let mut lines = vec![
        format!("id       {}", text(user, "id")),
        format!("email    {} ({verified})", text(user, "email")),
        format!("role     {}", text(user, "role")),
        format!("created  {}", text(user, "created_at")),
    ];
    let sessions = user["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.push(format!("sessions {}", sessions.len()));
    if !sessions.is_empty() {
        let keys = ["type", "created_at", "seen_at", "peer", "agent"];
        let rows: Vec<[String; 5]> =
            sessions.iter().map(|session| keys.map(|key| text(session, key))).collect();
        lines.push(String::new());
        lines.push(table(["TYPE", "CREATED", "SEEN", "FROM", "BROWSER"], &rows));
    }
    lines.join("\n")
}

fn text(object: &Value, key: &str) -> String {
    plain(object[key].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_names_itself_cannot_steer_the_terminal() {
        let session = json!({ "type": "standard", "agent": "\u{1b}[2J\r\nforged line" });
        let card = card(&json!({ "id": "x", "email": "a@b.example", "sessions": [session] }));
        assert!(card.contains("email    a@b.example (not proven)\n"), "{card}");
        assert!(!card.contains('\u{1b}') && card.lines().count() == 8, "{card}");
    }
}
