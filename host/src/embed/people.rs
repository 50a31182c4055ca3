//! An application's accounts and sessions, as the kernel asks for them.
use super::{Account, Accounts, Unavailable, authentication};
use crate::{
    auth::{Device, Owner},
    kernel::{Call, Granted, Letter, People},
    language::preferences,
    mail::{self, Mails},
};
use countersign_plugin_api::{Caller, Draft, Latency, Problem, Refusal, SessionKind, Subject};
use std::{sync::Arc, time::Duration};

/// The longest id of an account.
const MAX_ID: usize = 128;

pub(super) struct Theirs {
    pub(super) accounts: Arc<dyn Accounts>,
    pub(super) mails: Mails,
}

/// What the application could not do: 503, and nothing is granted.
pub(super) fn unavailable(why: Unavailable) -> Refusal {
    Refusal::new(Problem::StoreUnavailable)
        .because(format_args!("the application: {why}"))
        .retry_after(Duration::from_secs(1))
}

/// An account as plugins see it.
pub(super) fn subject(call: &Call<'_>, account: Account) -> Result<Subject, Refusal> {
    let Account { id, email, email_verified, role, languages: _, created_at } = account;
    // Groups of the kernel's own records have names with a colon first.
    if id.is_empty() || id.len() > MAX_ID || id.starts_with(':') {
        return Err(unavailable(Unavailable::new(
            "an account's id must have 1 to 128 bytes, and no colon first",
        )));
    }
    let epoch = authentication::epoch(call, &id)?;
    Ok(Subject { id, email, email_verified, role, epoch, created_at })
}

impl Theirs {
    fn account(&self, id: &str) -> Result<Option<Account>, Refusal> {
        let account = self.accounts.by_id(id).map_err(unavailable)?;
        // What is about one account must never be done to another.
        match account {
            Some(account) if account.id != id => {
                Err(unavailable(Unavailable::new("`by_id` has answered an account of another id")))
            }
            account => Ok(account),
        }
    }
}

impl People for Theirs {
    fn latency(&self) -> Latency {
        self.accounts.latency()
    }
    fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal> {
        self.account(id)?.map(|account| subject(call, account)).transpose()
    }
    fn subject_of(&self, call: &Call<'_>, address: &str) -> Result<Option<Subject>, Refusal> {
        let account = self.accounts.by_email(address.trim()).map_err(unavailable)?;
        account.map(|account| subject(call, account)).transpose()
    }
    fn knows_browser(&self, call: &Call<'_>, subject: &str) -> Result<bool, Refusal> {
        let epoch = authentication::epoch(call, subject)?;
        Ok(Device::of(call, Owner { id: subject, epoch })?.is_some())
    }
    fn letter(&self, call: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Letter>, Refusal> {
        if draft.to == Draft::NOBODY {
            return self.mails.render(draft, mail::NOBODY, &call.origin.language).map(Some);
        }
        let Some(account) = self.account(draft.to)? else { return Ok(None) };
        // Somebody else's act, such as an administrator's, says nothing about the languages of the owner.
        let own = call.caller().is_none_or(|caller| caller.subject.id == account.id);
        let languages = match account.languages.as_str() {
            "" if own => call.origin.language.clone(),
            languages => preferences(languages),
        };
        self.mails.render(draft, &account.email, &languages).map(Some)
    }
    fn elevate(&self, call: &Call<'_>, subject: &str, id: &str, amr: &str) -> Result<Granted, Refusal> {
        let subject = self.subject(call, subject)?.ok_or(Problem::ChallengeInvalid)?;
        let caller = authentication::complete(call, subject, id, amr)?;
        Ok(Granted { caller, token: None })
    }
    fn step_up(&self, call: &Call<'_>, amr: &str) -> Result<Granted, Refusal> {
        let mut caller = standard(call)?.clone();
        authentication::prove(&mut caller.session, call.now(), amr);
        Ok(Granted { caller, token: None })
    }
    fn end_others(&self, call: &Call<'_>) -> Result<(), Refusal> {
        authentication::bump(call, &standard(call)?.subject.id)
    }
    fn end_all(&self, call: &Call<'_>, subject: &str) -> Result<(), Refusal> {
        authentication::bump(call, subject)
    }
    fn end(&self, call: &Call<'_>, subject: &str, id: &str) -> Result<(), Refusal> {
        authentication::forget(call, subject, id)
    }
}

/// The caller, who must be signed in.
pub(super) fn standard<'c>(call: &'c Call<'_>) -> Result<&'c Caller, Refusal> {
    let caller = call.caller().ok_or(Problem::SessionRequired)?;
    match caller.session.kind {
        SessionKind::Standard => Ok(caller),
        SessionKind::Pending => Err(Problem::MfaRequired.into()),
    }
}
