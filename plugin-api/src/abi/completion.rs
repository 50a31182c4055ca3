//! A one-shot callback as a function and a counted pointer: no allocation of its own.
use super::guard;
use crate::store::StoreError;
use abi_stable::StableAbi;
use std::{mem::ManuallyDrop, sync::Arc};

/// Receives the outcome of a batch: the kernel's waiting request, or a test.
pub trait OnDone: Send + Sync + 'static {
    /// Called exactly once for each [`Completion`], from any thread. Must not block.
    fn done(&self, outcome: Result<(), StoreError>);
}

/// The right, and the duty, to report the outcome of one batch.
///
/// It can be finished once only, because `finish` consumes it:
/// ```compile_fail
/// fn twice(done: countersign_plugin_api::Completion) { done.finish(Ok(())); done.finish(Ok(())); }
/// ```
/// Dropping it reports [`StoreError::Unknown`], so neither a panic nor a lost queue leaves a request hanging.
#[must_use = "dropping a completion reports the outcome as Unknown"]
#[repr(C)]
#[derive(StableAbi)]
pub struct Completion {
    target: *const (),
    call: unsafe extern "C" fn(*const (), u32),
}

// SAFETY: `target` is an Arc<T> with T: Send + Sync (see `new`), and `call` is a plain function.
unsafe impl Send for Completion {}

impl Completion {
    /// A completion that tells `target`.
    pub fn new<T: OnDone>(target: Arc<T>) -> Self {
        unsafe extern "C" fn call<T: OnDone>(target: *const (), code: u32) {
            // SAFETY: `target` came from Arc::into_raw::<T> in `new`, and is given back exactly once.
            let target = unsafe { Arc::from_raw(target.cast::<T>()) };
            guard(move || target.done(StoreError::from_code(code)));
        }
        Self { target: Arc::into_raw(target).cast(), call: call::<T> }
    }

    /// Reports the outcome.
    pub fn finish(self, outcome: Result<(), StoreError>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `self` is consumed and its Drop does not run, so this is the only call.
        unsafe { (this.call)(this.target, StoreError::code(outcome)) }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        // SAFETY: `finish` never lets Drop run, so this is the only call.
        unsafe { (self.call)(self.target, StoreError::code(Err(StoreError::Unknown))) }
    }
}
