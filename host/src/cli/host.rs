//! Has operations done: by the host that runs, or by a kernel of our own under the lock of its data.
use super::{Failure, check};
use crate::{
    config::Config,
    control::{DataDir, Operation, Refused, ask, perform},
    kernel::{Kernel, StartError, Strictness},
    people,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// A way to the store of a configuration.
pub(super) struct Reach<'c> {
    config: &'c Config,
    own: Option<Own>,
}

/// A kernel of this process. Fields are dropped in this order: the lock goes last.
pub(super) struct Own {
    kernel: Kernel,
    runtime: Runtime,
    _data_dir: DataDir,
}

impl<'c> Reach<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self { config, own: None }
    }

    /// Whether what was done was done by a host that runs.
    pub(super) fn host_runs(&self) -> bool {
        self.own.is_none()
    }

    /// Has it done, whether a host runs or not.
    pub(super) fn perform(&mut self, operation: Operation) -> Result<Value, Failure> {
        Ok(self.ask(operation)??)
    }

    /// The same, where a refusal is one answer of many.
    pub(super) fn ask(&mut self, operation: Operation) -> Result<Result<Value, Refused>, Failure> {
        if self.own.is_none() {
            if let Some(outcome) = running(self.config, &operation)? {
                return Ok(outcome);
            }
            lasting(self.config)?;
            self.own = Some(Own::start(self.config, check::strictness(false))?);
        }
        match &self.own {
            Some(own) => Ok(own.ask(operation)),
            None => Err(Failure::new("the store is not open")),
        }
    }
}

impl Own {
    /// Takes the data directory and opens the store in it.
    pub(super) fn start(config: &Config, strict: Strictness) -> Result<Self, Failure> {
        let data_dir = DataDir::claim(&config.data_dir).map_err(Failure::new)?;
        let runtime = runtime(1)?;
        let kernel = runtime.block_on(people::kernel(config, strict))?;
        Ok(Self { kernel, runtime, _data_dir: data_dir })
    }

    pub(super) fn perform(&self, operation: Operation) -> Result<Value, Failure> {
        Ok(self.ask(operation)?)
    }

    fn ask(&self, operation: Operation) -> Result<Value, Refused> {
        self.runtime.block_on(perform(&self.kernel, operation))
    }
}

/// Refuses a store that would forget what is done as soon as this process ends.
fn lasting(config: &Config) -> Result<(), Failure> {
    let store = &config.store;
    if config.store_is_volatile() {
        let why = format!(
            "no host runs on {}, and the store `{store}` is empty without one: start it first",
            config.data_dir.display()
        );
        return Err(Failure::new(why));
    }
    Ok(())
}

/// Asks the host that runs, if one does.
pub(super) fn running(
    config: &Config,
    operation: &Operation,
) -> Result<Option<Result<Value, Refused>>, Failure> {
    ask(&config.data_dir, operation).map_err(Failure::new)
}

/// An event loop of several threads: a store that waits on a network takes one away while it waits.
pub(super) fn runtime(threads: usize) -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format_args!("no event loop can be started: {error}")))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        // A problem of the configuration names its place itself.
        if refused.problem == Refused::CONFIGURATION {
            return StartError(vec![refused.message]).into();
        }
        Self::new(refused.message)
    }
}
