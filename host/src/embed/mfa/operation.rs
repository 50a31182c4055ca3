//! One operation that is about to be made: awaited, or waited for.
use crate::kernel::answered;
use countersign_plugin_api::{Problem, Refusal};
use std::{future::Future, pin::Pin};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

type Later<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// An operation: `.await` it, or [`wait`](Self::wait) for it where nothing is async. Nothing happens before.
#[must_use = "nothing is done before it is awaited"]
pub struct Operation<T> {
    future: Later<T>,
    runtime: Handle,
}

impl<T: Send + 'static> Operation<T> {
    pub(super) fn new(
        runtime: &Handle,
        future: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Self {
        // A plugin that hangs is answered for.
        let future = async move { answered(future).await? };
        Self { future: Box::pin(future), runtime: runtime.clone() }
    }

    /// Blocks the thread until it is done. On a thread of an event loop that has no other, it is refused: the loop
    /// could not go on.
    pub fn wait(self) -> Result<T, Refusal> {
        let Self { future, runtime } = self;
        match Handle::try_current() {
            Err(_) => runtime.block_on(future),
            Ok(here) if here.runtime_flavor() == RuntimeFlavor::MultiThread => {
                block_in_place(|| runtime.block_on(future))
            }
            Ok(_) => Err(Refusal::new(Problem::PluginFault)
                .because("`wait` was called on the one thread of an event loop: `.await` it")),
        }
    }
}

impl<T> IntoFuture for Operation<T> {
    type Output = Result<T, Refusal>;
    type IntoFuture = Later<T>;

    fn into_future(self) -> Later<T> {
        self.future
    }
}
