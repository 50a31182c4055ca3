//! What is done to an account by somebody else.
use super::{Mfa, Operation, Status, ask::read};
use crate::{
    auth::Budget,
    kernel::{Call, HOST},
};
use countersign_plugin_api::{Draft, Event, Problem, Refusal, Secret};
use serde_json::{Value, json};
use std::time::Duration;

/// An administrator of the application, by [`Mfa::admin`]. Each act is recorded with this actor, and the account is
/// told by mail. Secrets are never shown.
#[derive(Clone)]
pub struct Admin {
    mfa: Mfa,
}

impl Admin {
    pub(super) fn new(mfa: &Mfa, actor: String) -> Self {
        let mut mfa = mfa.clone();
        mfa.origin.actor = actor;
        Self { mfa }
    }

    /// What is set up for an account.
    pub fn status(&self, account: &str) -> Operation<Status> {
        self.mfa.operation("status", None, json!({ "subject": account }), read)
    }

    /// Removes every factor of an account, and ends all that it has open: for the one who has lost everything.
    pub fn reset(&self, account: &str) -> Operation<()> {
        self.mfa.operation("reset", None, json!({ "subject": account }), |_: Value| Ok(()))
    }

    /// Gives an account the factor of an `otpauth` URI from another system.
    pub fn import(&self, account: &str, uri: &Secret<String>) -> Operation<()> {
        let input = json!({ "subject": account, "uri": uri.expose() });
        self.mfa.operation("import", None, input, |_: Value| Ok(()))
    }

    /// Forgets the wrong guesses at an account, at its password and at its second factor.
    pub fn unlock(&self, account: &str) -> Operation<()> {
        let (mfa, account) = (self.mfa.clone(), account.to_owned());
        let runtime = mfa.kernel.runtime().clone();
        Operation::new(&runtime, async move {
            mfa.kernel.act(&mfa.origin, |call| unlock(call, &mfa.plugin, &account)).await
        })
    }
}

fn unlock(call: &Call<'_>, plugin: &str, account: &str) -> Result<(), Refusal> {
    let none = || Refusal::new(Problem::NotFound).saying("There is no such account");
    call.kernel.subject(call, account)?.ok_or_else(none)?;
    Budget::all(call, account)?.into_iter().try_for_each(|budget| budget.reset(call))?;
    call.kernel.operate(call, &format!("{plugin}.unlock"), &json!({ "subject": account }))??;
    call.audit(HOST, &Event::success("account.unlocked", account));
    call.message(&Draft::notice("unlocked", account, call.now() + Duration::from_hours(24)))
}
