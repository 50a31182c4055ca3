//! How an operation is asked: the route of the plugin for whoever acts, or an operation that it has registered.
use super::{Acting, Mfa, Operation};
use crate::{
    auth::Reply,
    embed::{
        Authentication, Entry, Issued,
        authentication::resolve_caller,
        entry::{self, Entered},
        routes::{Outcome, ask},
    },
    kernel::{Call, PluginCookie},
};
use countersign_plugin_api::{Problem, Refusal, Request, Secret};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A route and what is sent to it.
pub(super) struct Asked {
    method: &'static str,
    path: &'static str,
    body: Value,
}

impl Asked {
    pub(super) fn get(path: &'static str) -> Self {
        Self { method: "GET", path, body: Value::Null }
    }
    pub(super) fn post(path: &'static str, body: Value) -> Self {
        Self { method: "POST", path, body }
    }
}

/// What a route has answered.
pub(super) struct Answered {
    pub(super) body: Value,
    pub(super) entry: Option<Entry>,
    keep: Option<Authentication>,
}

impl Answered {
    /// Who the session is of from now on.
    pub(super) fn kept(&self) -> Result<Authentication, Refusal> {
        let nobody = || Refusal::new(Problem::PluginFault).because("the route has signed nobody in");
        self.keep.clone().ok_or_else(nobody)
    }
}

/// An answer as its type.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Refusal> {
    // The error's text could repeat a value.
    serde_json::from_value(answer)
        .map_err(|_| Refusal::new(Problem::PluginFault).because("the plugin answers in another form"))
}

impl Mfa {
    /// Asks a route, as HTTP does.
    pub(super) fn route<T: Send + 'static>(
        &self,
        asked: Asked,
        who: Option<Acting>,
        read: impl FnOnce(Answered) -> Result<T, Refusal> + Send + 'static,
    ) -> Operation<T> {
        let (this, runtime) = (self.clone(), self.kernel.runtime().clone());
        Operation::new(&runtime, async move { read(this.ask(asked, who).await?) })
    }

    pub(super) async fn ask(&self, asked: Asked, who: Option<Acting>) -> Result<Answered, Refusal> {
        let Asked { method, path, body } = asked;
        let (ticket, body) = who.map_or((None, body.clone()), |who| who.split(body));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let body = Secret::new(body);
        let mut request = Request::new(method, path, body.expose()).with_peer(&self.origin.peer);
        if let Some(agent) = &self.agent {
            request = request.with_header("user-agent", agent);
        }
        let routes = self.kernel.inner().routes(&format!("/{}{path}", self.plugin));
        let mounted = routes.iter().find(|mounted| mounted.route.method == method).ok_or_else(|| {
            Refusal::new(Problem::PluginFault).because(format_args!("{} has no {path}", self.plugin))
        })?;
        let outcome = self
            .kernel
            .act(&self.origin, |call| {
                acting(call, ticket.as_ref())?;
                ask(call, mounted, &request)
            })
            .await?;
        let Outcome { reply, mut entry, keep, proven } = outcome;
        let Reply { refusal, body, cookies, .. } = reply;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if let Some(account) = proven {
            self.kernel.tell_proven(&account).await?;
        }
        if let Some(entry) = &mut entry {
            self.carry(entry, cookies)?;
        }
        Ok(Answered { body: body.map_or(Value::Null, Value::Object), entry, keep })
    }

    /// Asks an operation of the plugin's, which may concern whoever acts.
    pub(super) fn operation<T: Send + 'static>(
        &self,
        name: &'static str,
        own: Option<Secret<String>>,
        input: Value,
        read: impl FnOnce(Value) -> Result<T, Refusal> + Send + 'static,
    ) -> Operation<T> {
        let (this, runtime) = (self.clone(), self.kernel.runtime().clone());
        Operation::new(&runtime, async move {
            let operation = format!("{}.{name}", this.plugin);
            let answered = this.kernel.act(&this.origin, |call| {
                acting(call, own.as_ref())?;
                call.kernel.operate(call, &operation, &input)
            });
            read(answered.await??)
        })
    }

    /// A login whose first factor is proven.
    pub(super) fn entry(
        &self,
        enter: impl Fn(&Call<'_>) -> Result<Entered, Refusal> + Send + Sync + 'static,
    ) -> Operation<Entry> {
        let (this, runtime) = (self.clone(), self.kernel.runtime().clone());
        Operation::new(&runtime, async move {
            let Entered { mut entry, cookies, proven } = this.kernel.act(&this.origin, enter).await?;
            if proven {
                this.kernel.tell_proven(&entry.authentication().account().id).await?;
            }
            this.carry(&mut entry, cookies)?;
            Ok(entry)
        })
    }

    /// The cookies of a login whose ticket the application keeps itself.
    fn carry(&self, entry: &mut Entry, cookies: Vec<PluginCookie>) -> Result<(), Refusal> {
        let mut cookies = entry::lines(self.kernel.cookie(), cookies).map_err(|failure| failure.0)?;
        cookies.extend(self.kernel.device_cookie(entry.authentication()));
        entry.carry(Issued { token: None, cookies });
        Ok(())
    }
}

/// Makes whoever holds the ticket the caller; one that is over is nobody's, and then nothing is done.
fn acting(call: &Call<'_>, ticket: Option<&Secret<String>>) -> Result<(), Refusal> {
    match ticket {
        Some(ticket) if !resolve_caller(call, ticket.expose())? => Err(Problem::SessionRequired.into()),
        _ => Ok(()),
    }
}
