//! What the command line can ask of a host, and how it is done.
use super::{diagnosis, store};
use crate::{
    accounts::Account,
    admin::{self, Wanted},
    kernel::{Call, HOST, Kernel, Origin},
};
use countersign_plugin_api::{Event, Problem, Refusal, Secret, Time};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

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
    /// Give an account another role.
    UserSetRole {
        /// Its address, or its id.
        user: String,
        /// The role.
        role: String,
    },
    /// Give an account another password.
    UserSetPassword {
        /// Its address, or its id.
        user: String,
        /// The password.
        #[serde(serialize_with = "exposed")]
        password: Secret<String>,
    },
    /// Remove an account with all that belongs to it.
    UserDelete {
        /// Its address, or its id.
        user: String,
    },
    /// Remove the second factor of an account.
    MfaReset {
        /// Its address, or its id.
        user: String,
    },
    /// Forget the wrong guesses at an account.
    MfaUnlock {
        /// Its address, or its id.
        user: String,
    },
    /// Take over a factor from another system.
    MfaImport {
        /// Its address, or its id.
        user: String,
        /// An `otpauth` URI.
        #[serde(serialize_with = "exposed")]
        uri: Secret<String>,
        /// Without telling the account.
        quiet: bool,
    },
    /// A page of what happened.
    Audit {
        /// An event's `id`, or `next` of the page before.
        after: Option<String>,
        /// From when on, in seconds since the Unix epoch.
        since: Option<u64>,
        /// The address or the id of the account that it concerns.
        account: Option<String>,
    },
    /// How the host is.
    Diagnose,
    /// How much the store holds.
    StoreUsage,
    /// A page of records as they are stored.
    StorePage {
        /// `next` of the page before.
        after: Option<String>,
    },
    /// Seal records anew, a page of them.
    StoreReseal {
        /// `next` of the page before.
        after: Option<String>,
    },
    /// Take over configuration, keys and plugins.
    Reload,
    /// The messages that wait to be sent.
    Outbox,
    /// Try one of them now, or all.
    OutboxRetry {
        /// Its id.
        id: Option<String>,
    },
    /// Take over the key file.
    ReloadKeys,
    /// Put an act on record that the command line carries out itself.
    Note {
        /// Which.
        act: Act,
    },
    /// The plugin by which the store remembers that logins are gated.
    Gate,
    /// Forget that.
    Disarm,
}

/// What the command line does to a store as a whole.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Act {
    /// Everything goes to the store of that configuration.
    Copy {
        /// The file.
        to: String,
    },
    /// Everything was sealed anew.
    Reseal {
        /// The key.
        kid: String,
        /// So many records.
        records: u64,
    },
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

impl Refused {
    /// The `problem` of what the configuration, a key file or a plugin is at fault for.
    pub(crate) const CONFIGURATION: &'static str = "configuration";
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
pub(crate) async fn perform(kernel: &Kernel, operation: Operation) -> Result<Value, Refused> {
    use Operation as Op;
    let done = match operation {
        Op::UserAdd { email, role, password } => {
            one(kernel, |call| admin::add(call, &email, &role, &password).map(shown)).await
        }
        Op::UserList { after } => one(kernel, |call| admin::show_accounts(call, "", after.as_deref())).await,
        Op::UserShow { user } => {
            one(kernel, |call| admin::show_account(call, &admin::find(call, &user)?)).await
        }
        Op::UserSetRole { user, role } => {
            one(kernel, |call| admin::set_role(call, admin::find(call, &user)?, &role).map(shown)).await
        }
        Op::UserSetPassword { user, password } => {
            let set = |call: &Call<'_>| admin::set_password(call, admin::find(call, &user)?, &password);
            one(kernel, |call| set(call).map(shown)).await
        }
        Op::UserDelete { user } => delete(kernel, &user).await,
        Op::MfaReset { user } => one(kernel, |call| on(call, &user, admin::mfa_reset)).await,
        Op::MfaUnlock { user } => one(kernel, |call| on(call, &user, admin::unlock)).await,
        Op::MfaImport { user, uri, quiet } => {
            one(kernel, |call| {
                let account = admin::find(call, &user)?;
                let added = admin::import(call, &account, &uri, quiet)?;
                Ok(json!({ "user": admin::show_user(&account), "added": added }))
            })
            .await
        }
        Op::Audit { after, since, account } => {
            let (since, account) = (since.map(Time::from_secs), account.as_deref());
            let wanted = Wanted { after: after.as_deref(), since, account };
            one(kernel, |call| admin::audit_page(call, &wanted)).await
        }
        Op::Reload | Op::ReloadKeys => {
            Err(Refusal::new(Problem::Conflict).saying("only a host that runs takes over what has changed"))
        }
        Op::Diagnose => Ok(json!(diagnosis::of(kernel).await)),
        Op::Outbox => kernel.waiting_messages().await.map(|messages| json!({ "messages": messages })),
        Op::OutboxRetry { id } => {
            kernel.retry_messages(id.as_deref()).await.map(|retried| json!({ "retried": retried }))
        }
        Op::StoreUsage => store::usage(kernel).await,
        Op::StorePage { after } => store::page(kernel, after.as_deref()).await,
        Op::StoreReseal { after } => store::reseal(kernel, after.as_deref()).await,
        Op::Note { act } => {
            let noted = |call: &Call<'_>| {
                note(call, &act);
                Ok(json!({}))
            };
            one(kernel, noted).await
        }
        Op::Gate => kernel.gated_by().await.map(|plugin| json!({ "gate": plugin })),
        Op::Disarm => kernel.disarm().await.map(|()| json!({})),
    };
    done.map_err(Refused::from)
}

/// What is one call of the kernel.
pub(super) async fn one<T>(
    kernel: &Kernel,
    decide: impl Fn(&Call<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    kernel.run(&Origin { actor: "cli".into(), ..Origin::default() }, decide).await
}

fn note(call: &Call<'_>, act: &Act) {
    let records;
    let event = match act {
        Act::Copy { to } => Event::success("store.copied", "").with("to", to),
        Act::Reseal { kid, records: count } => {
            records = count.to_string();
            Event::success("store.resealed", "").with("kid", kid).with("records", &records)
        }
    };
    call.audit_row(HOST, &event, None);
}

/// Does something to an account, and answers whose it is.
fn on(
    call: &Call<'_>,
    user: &str,
    act: impl Fn(&Call<'_>, &Account) -> Result<(), Refusal>,
) -> Result<Value, Refusal> {
    let account = admin::find(call, user)?;
    act(call, &account)?;
    Ok(admin::show_user(&account))
}

fn shown(account: Account) -> Value {
    admin::show_user(&account)
}

/// The account is gone in one write; what lies around it is of no use then, and goes in as many as it takes.
async fn delete(kernel: &Kernel, user: &str) -> Result<Value, Refusal> {
    let account = one(kernel, |call| {
        let account = admin::find(call, user)?;
        admin::delete(call, &account)?;
        Ok(account)
    })
    .await?;
    while one(kernel, |call| admin::sweep(call, &account.id)).await? {}
    Ok(admin::show_user(&account))
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
    fn a_refusal_tells_an_operator_everything() {
        let refusal =
            Refusal::new(Problem::PasswordPolicy).violations(vec!["too-short".into(), "common".into()]);
        let message = "The password does not meet the policy: it is too-short, common".to_owned();
        assert_eq!(Refused::from(refusal), Refused { problem: "password-policy".into(), message });
        let refusal = Refusal::new(Problem::StoreUnavailable).because("the disk is full");
        assert_eq!(Refused::from(refusal).message, "The store is not available: the disk is full");
    }
}
