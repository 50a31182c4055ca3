//! The password of an application's account: looked at within a budget, once it has been counted.
use super::{
    Authentication, Embedded, Entry, FirstFactor,
    authentication::{self, add_method, issue},
    people::standard,
};
use crate::{
    accounts::{Email, MAX_PASSWORD},
    auth::Budget,
    kernel::{Call, HOST, Origin},
    sessions::PASSWORD,
};
use axum::http::request::Parts;
use countersign_plugin_api::{Event, Problem, Refusal, Secret, Subject};
use std::time::Duration;
use tokio::{sync::Semaphore, time::timeout};

/// How long a password may wait to be checked (as the host's own do).
const PATIENCE: Duration = Duration::from_secs(2);
/// So many may wait.
const QUEUE: usize = 128;

/// Each check may take the memory of a hash, so they are bounded like those.
pub(super) struct Checks {
    running: Semaphore,
    waiting: Semaphore,
}

impl Checks {
    pub(super) fn new(at_once: usize) -> Self {
        Self { running: Semaphore::new(at_once), waiting: Semaphore::new(QUEUE) }
    }
}

fn wrong<'a>(own: Option<&Authentication>, id: &'a str) -> Event<'a> {
    match own {
        None => Event::failure("login.failed", id),
        Some(_) => Event::failure("password.wrong", id),
    }
}

fn refused<'a>(own: Option<&Authentication>, id: &'a str) -> Event<'a> {
    match own {
        None => Event::failure("login.refused", id),
        Some(_) => Event::failure("password.refused", id),
    }
}

impl Embedded {
    pub(super) async fn sign_in(
        &self,
        request: &Parts,
        address: &str,
        password: &Secret<String>,
    ) -> Result<Entry, Refusal> {
        let (origin, email) = (self.origin(request), Email::parse(address)?);
        let subject = self.prove(&origin, &email, None, password).await?;
        let forgive = |call: &Call<'_>| {
            // What was right may have been replaced since: the event that said so has ended it.
            if authentication::epoch(call, &subject.id)? != subject.epoch {
                return Err(Problem::InvalidCredentials.into());
            }
            Budget::of(call, &email, Some((&subject).into()))?.reset(call)
        };
        self.enter(request, &origin, &FirstFactor::password(&subject.id), forgive).await
    }

    pub(super) async fn prove_again(
        &self,
        request: &Parts,
        password: &Secret<String>,
    ) -> Result<Authentication, Refusal> {
        let origin = self.origin(request);
        let own = self.signed_in(request, |_| Ok(())).await?;
        let email = Email::parse(&own.account().email)?;
        let subject = self.prove(&origin, &email, Some(&own), password).await?;
        self.renew(request, &origin, |call| {
            Budget::of(call, &email, Some((&subject).into()))?.reset(call)?;
            let mut caller = standard(call)?.clone();
            caller.session.authenticated_at = call.now();
            add_method(&mut caller.session, PASSWORD);
            call.audit(HOST, &Event::success("reauthenticated", &subject.id));
            issue(call, caller)
        })
        .await
    }

    /// Whose password it is: of whoever has the address, or of `own`, who is signed in. A try is counted before it is
    /// looked at, so that tries at once are counted too.
    async fn prove(
        &self,
        origin: &Origin,
        email: &Email,
        own: Option<&Authentication>,
        password: &Secret<String>,
    ) -> Result<Subject, Refusal> {
        let by = |call: &Call<'_>| own.into_iter().for_each(|own| call.set_caller(own.caller().clone()));
        let counted = self.act(origin, |call| {
            by(call);
            let subject = match own {
                Some(own) => Some(own.account().clone()),
                None => call.kernel.subject_of(call, email.folded())?,
            };
            let budget = Budget::of(call, email, subject.as_ref().map(Into::into))?;
            let id = subject.as_ref().map(|subject| subject.id.as_str()).unwrap_or_default();
            if let Some(refusal) = budget.refused(call, email, &refused(own, id))? {
                return Ok(Err(refusal));
            }
            budget.count(call)?;
            Ok(Ok(subject))
        });
        let subject = counted.await??;
        let id = subject.as_ref().map(|subject| subject.id.as_str());
        if self.is_right(id, password).await? {
            return subject.ok_or_else(|| Problem::InvalidCredentials.into());
        }
        self.act(origin, |call| {
            by(call);
            // Something is written for an address that nobody has, too: the time of an answer must not tell.
            Budget::of(call, email, subject.as_ref().map(Into::into))?.save(call)?;
            call.audit(HOST, &wrong(own, id.unwrap_or_default()));
            Ok(())
        })
        .await?;
        Err(Problem::InvalidCredentials.into())
    }

    async fn is_right(&self, id: Option<&str>, password: &Secret<String>) -> Result<bool, Refusal> {
        let busy = || Refusal::new(Problem::Busy).retry_after(Duration::from_secs(1)).because("passwords");
        let Checks { running, waiting } = self.checks();
        let _place = waiting.try_acquire().map_err(|_| busy())?;
        let turn = timeout(PATIENCE, running.acquire()).await;
        let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let (accounts, id, password) = (self.accounts(), id.map(str::to_owned), password.clone());
        self.blocking(move || {
            let account = id.map(|id| accounts.by_id(&id)).transpose()?.flatten();
            let too_long = password.expose().len() > MAX_PASSWORD;
            let nothing = Secret::new(String::new());
            let typed = if too_long { &nothing } else { &password };
            let right = accounts.check_password(account.as_ref(), typed)?;
            Ok(right && !too_long && account.is_some())
        })
        .await
    }
}
