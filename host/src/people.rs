//! The host's own accounts and sessions, as the kernel asks for them.
use crate::{
    accounts,
    config::Config,
    kernel::{Call, Granted, Kernel, People, StartError, Strictness},
    sessions,
};
use countersign_plugin_api::{Refusal, Subject};

/// Accounts and sessions as records of the host's view.
struct Own;

/// A kernel over the host's own accounts and sessions.
pub(crate) async fn kernel(config: &Config, strict: Strictness) -> Result<Kernel, StartError> {
    Kernel::start(config, strict, Box::new(Own)).await
}

impl People for Own {
    fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal> {
        Ok(accounts::by_id(call, id)?.map(|account| account.subject()))
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
