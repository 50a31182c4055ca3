//! The host's own accounts and sessions, as the kernel asks for them.
use crate::{
    accounts::{self, Email},
    auth,
    config::Config,
    kernel::{Call, Granted, Kernel, Letter, People, StartError, Strictness},
    mail::Mails,
    sessions,
};
use countersign_plugin_api::{Draft, Refusal, Subject};

/// Accounts and sessions as records of the host's view, and mails.
struct Own {
    mails: Mails,
}

/// A kernel over the host's own accounts and sessions.
pub(crate) async fn kernel(config: &Config, strict: Strictness) -> Result<Kernel, StartError> {
    let mails = Mails::new(config.public_url.origin()).map_err(|why| StartError(vec![why]))?;
    Kernel::start(config, strict, Box::new(Own { mails })).await
}

impl People for Own {
    fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok(accounts::by_id(call, id)?.map(|account| account.subject()))
    }
    fn subject_of(&self, call: &Call<'_>, address: &str) -> Result<Option<Subject>, Refusal> {
        Ok(accounts::by_email(call, &Email::parse(address)?)?.map(|account| account.subject()))
    }
    fn letter(&self, call: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Letter>, Refusal> {
        let email = match auth::registering(call, draft.to)? {
            Some(email) => Some(email),
            None => accounts::by_id(call, draft.to)?.map(|account| account.email),
        };
        email.map(|email| self.mails.render(draft, &email)).transpose()
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
