//! The host's own accounts and sessions, as the kernel asks for them.
use crate::{
    accounts::{self, Email},
    auth::{self, Device},
    config::{Config, Problems},
    kernel::{Call, Granted, Kernel, Letter, People, StartError, Strictness},
    mail::{self, Mails},
    pages::Pages,
    sessions,
};
use countersign_plugin_api::{Draft, Refusal, Subject};

/// Accounts and sessions as records of the host's view, and mails.
struct Own {
    mails: Mails,
}

/// Everything that a start would refuse about keys, plugins, mails and pages, without starting any.
pub(crate) fn check(config: &Config, strict: Strictness) -> Result<(), StartError> {
    let kernel = Kernel::check(config, strict).err().map(|StartError(problems)| problems);
    let mails = Mails::load(config).err().map(texts);
    let pages = Pages::check(&config.pages);
    let all: Vec<String> = [kernel, mails, Some(pages)].into_iter().flatten().flatten().collect();
    if all.is_empty() { Ok(()) } else { Err(StartError(all)) }
}

fn texts(problems: Problems) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

/// A kernel over the host's own accounts and sessions.
pub(crate) async fn kernel(config: &Config, strict: Strictness) -> Result<Kernel, StartError> {
    Kernel::start(config, strict, own(config, strict)?).await
}

/// Another in its place.
pub(crate) async fn reloaded(
    kernel: &Kernel,
    config: &Config,
    strict: Strictness,
) -> Result<Kernel, StartError> {
    kernel.reload(config, strict, own(config, strict)?).await
}

fn own(config: &Config, strict: Strictness) -> Result<Box<dyn People>, StartError> {
    // Whatever else is wrong is told with it.
    let mails = Mails::load(config).map_err(|problems| match Kernel::check(config, strict) {
        Ok(()) => StartError(texts(problems)),
        Err(StartError(more)) => StartError(more.into_iter().chain(texts(problems)).collect()),
    })?;
    Ok(Box::new(Own { mails }))
}

impl People for Own {
    fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok(accounts::by_id(call, id)?.map(|account| account.subject()))
    }
    fn subject_of(&self, call: &Call<'_>, address: &str) -> Result<Option<Subject>, Refusal> {
        Ok(accounts::by_email(call, &Email::parse(address)?)?.map(|account| account.subject()))
    }
    fn knows_browser(&self, call: &Call<'_>, subject: &str) -> Result<bool, Refusal> {
        let Some(account) = accounts::by_id(call, subject)? else { return Ok(false) };
        Ok(Device::of(call, (&account).into())?.is_some())
    }
    fn letter(&self, call: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Letter>, Refusal> {
        if let Some(email) = auth::registering(call, draft.to)? {
            return self.mails.render(draft, &email, &call.origin.language).map(Some);
        }
        if draft.to == Draft::NOBODY {
            return self.mails.render(draft, mail::NOBODY, &call.origin.language).map(Some);
        }
        let Some(account) = accounts::by_id(call, draft.to)? else { return Ok(None) };
        // Somebody else's act, such as an administrator's, says nothing about the languages of the owner.
        let own = call.caller().is_none_or(|caller| caller.subject.id == account.id);
        let language = match account.language.as_str() {
            "" if own => &call.origin.language,
            language => language,
        };
        self.mails.render(draft, &account.email, language).map(Some)
    }
    fn end_all(&self, call: &Call<'_>, subject: &str) -> Result<(), Refusal> {
        let Some(mut account) = accounts::by_id(call, subject)? else { return Ok(()) };
        account.epoch += 1;
        accounts::save(call, &account)
    }
    fn elevate(&self, call: &Call<'_>, subject: &str, id: &str, amr: &str) -> Result<Granted, Refusal> {
        sessions::elevate(call, subject, id, amr)
    }
    fn step_up(&self, call: &Call<'_>, amr: &str) -> Result<Granted, Refusal> {
        sessions::step_up(call, amr)
    }
    fn end_others(&self, call: &Call<'_>) -> Result<(), Refusal> {
        sessions::end_others(call)
    }
    fn end(&self, call: &Call<'_>, subject: &str, id: &str) -> Result<(), Refusal> {
        sessions::end(call, subject, id)
    }
}
