//! What the command line can ask of a host, and how it is done.
use crate::{
    accounts::{self, Account, Email},
    auth,
    config::Config,
    kernel::{Call, HOST, Kernel, Origin, Ring},
    sessions,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Event, Problem, Refusal, Secret, SessionKind, Time};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// How many accounts one answer lists.
const PAGE: usize = 200;

/// A request.
#[derive(Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Operation {
    /// Make an account.
    UserAdd {
        /// Its address.
        email: String,
        /// Its role.
        role: String,
        /// Its password.
        #[serde(serialize_with = "exposed")]
        password: Secret<String>,
    },
    /// A page of accounts.
    UserList {
        /// `next` of the page before.
        after: Option<String>,
    },
    /// One account.
    UserShow {
        /// Its address, or its id.
        user: String,
    },
    /// Take over the key file.
    ReloadKeys,
    /// The plugin by which the store remembers that logins are gated.
    Gate,
    /// Forget that.
    Disarm,
}

/// It leaves for the socket of a process that has the key file anyway.
fn exposed<S: Serializer>(secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Why an operation was refused: whoever asks is an operator, so what the log is told is told here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The slug of the problem.
    pub(crate) problem: String,
    /// A sentence.
    pub(crate) message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let mut message = refusal.detail().to_owned();
        if !refusal.broken_rules().is_empty() {
            message = format!("{message}: it is {}", refusal.broken_rules().join(", "));
        }
        if !refusal.log().is_empty() {
            message = format!("{message}: {}", refusal.log());
        }
        Self { problem: refusal.problem().slug().into(), message }
    }
}

/// Does it. What changes something is audited with the actor `cli`.
pub(crate) async fn perform(
    kernel: &Kernel,
    config: &Config,
    operation: Operation,
) -> Result<Value, Refused> {
    let origin = Origin { actor: "cli".into(), ..Origin::default() };
    let done = match operation {
        Operation::UserAdd { email, role, password } => {
            kernel.run(&origin, |call| add(call, &email, &role, &password)).await
        }
        Operation::UserList { after } => kernel.run(&origin, |call| list(call, after.as_deref())).await,
        Operation::UserShow { user } => kernel.run(&origin, |call| show(call, &user)).await,
        Operation::ReloadKeys => reload_keys(kernel, config),
        Operation::Gate => kernel.gated_by().await.map(|plugin| json!({ "gate": plugin })),
        Operation::Disarm => kernel.disarm().await.map(|()| json!({})),
    };
    done.map_err(Refused::from)
}

/// Takes over the key file, or says why the old keys stay.
pub(crate) fn reload_keys(kernel: &Kernel, config: &Config) -> Result<Value, Refusal> {
    let ring = Ring::load(&config.keys_file);
    let count = ring.as_ref().map_or(0, |ring| ring.keys().len());
    match ring.and_then(|ring| kernel.replace_ring(ring)) {
        Ok(()) => {
            tracing::info!(target: "countersign", keys = count, "the keys were reloaded");
            Ok(json!({ "keys": count }))
        }
        Err(error) => {
            tracing::error!(target: "countersign", %error, "the keys were not reloaded: the old ones stay in use");
            Err(Refusal::new(Problem::Conflict).saying(error))
        }
    }
}

fn add(call: &Call<'_>, email: &str, role: &str, password: &Secret<String>) -> Result<Value, Refusal> {
    let email = Email::parse(email)
        .map_err(|_| Refusal::malformed(format_args!("`{email}` is not an e-mail address")))?;
    if !is_role(role) {
        let why = format_args!(
            "`{role}` is not a role: lower-case letters, digits, - and _, at most 32, a letter first"
        );
        return Err(Refusal::malformed(why));
    }
    let account = auth::sign_up(call, &email, role, password)?;
    call.audit(HOST, &Event::success("account.created", &account.id).with("role", role));
    Ok(user(&account))
}

fn is_role(role: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    role.len() <= 32 && role.starts_with(|c: char| c.is_ascii_lowercase()) && role.bytes().all(plain)
}

fn list(call: &Call<'_>, after: Option<&str>) -> Result<Value, Refusal> {
    let after = after.map(|text| URL_SAFE_NO_PAD.decode(text)).transpose();
    let after = after.map_err(|_| Refusal::malformed("`after` is not the `next` of another page"))?;
    let (accounts, next) = accounts::list(call, after.as_deref(), PAGE)?;
    let users: Vec<Value> = accounts.iter().map(user).collect();
    Ok(json!({ "users": users, "next": next.map(|next| URL_SAFE_NO_PAD.encode(next)) }))
}

fn show(call: &Call<'_>, named: &str) -> Result<Value, Refusal> {
    let account = if named.contains('@') {
        accounts::by_email(call, &Email::parse(named)?)?
    } else {
        accounts::by_id(call, named)?
    };
    let account = account.ok_or_else(|| {
        Refusal::new(Problem::NotFound).saying(format_args!("there is no account `{named}`"))
    })?;
    let sessions = sessions::list(call, &account)?;
    let session = |listed: &sessions::Listed| {
        json!({
            "id": listed.session.id,
            "type": if listed.session.kind == SessionKind::Standard { "standard" } else { "mfa_pending" },
            "amr": listed.session.amr,
            "created_at": listed.created_at.to_string(),
            "seen_at": listed.seen_at.to_string(),
            "expires_at": listed.session.expires_at.to_string(),
            "peer": listed.peer,
            "agent": listed.agent,
        })
    };
    let mut shown = user(&account);
    shown["sessions"] = sessions.iter().map(session).collect();
    Ok(shown)
}

fn user(account: &Account) -> Value {
    json!({
        "id": account.id,
        "email": account.email,
        "email_verified": account.email_verified,
        "role": account.role,
        "created_at": Time::from_secs(account.created_at).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_as_they_were_sent() {
        let password = Secret::new("correct horse battery staple".to_owned());
        let sent = Operation::UserAdd { email: "a@b.example".into(), role: "admin".into(), password };
        let text = serde_json::to_string(&sent).expect("plain data");
        let Ok(Operation::UserAdd { password, role, .. }) = serde_json::from_str(&text) else {
            panic!("{text}")
        };
        assert_eq!((password.expose().as_str(), role.as_str()), ("correct horse battery staple", "admin"));
        for wrong in [r#"{"operation":"user-delete"}"#, r#"{"operation":"user-list","x":1}"#, "{}", "[]", ""]
        {
            assert!(serde_json::from_str::<Operation>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roles_are_plain_words() {
        assert!(["user", "admin", "on-call_2"].into_iter().all(is_role));
        assert!(!["", "Admin", "1st", "-a", "a b", "a\n", &"a".repeat(33)].into_iter().any(is_role));
    }

    #[test]
    fn a_refusal_tells_an_operator_everything() {
        let refusal =
            Refusal::new(Problem::PasswordPolicy).violations(vec!["too-short".into(), "common".into()]);
        let message = "The password does not meet the policy: it is too-short, common".to_owned();
        assert_eq!(Refused::from(refusal), Refused { problem: "password-policy".into(), message });
        let refusal = Refusal::new(Problem::StoreUnavailable).because("the disk is full");
        assert_eq!(Refused::from(refusal).message, "The store is not available: the disk is full");
    }
}
