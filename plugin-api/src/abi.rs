//! The stable ABI: the only module that names abi_stable, and one of two addresses of unsafe code.
#![allow(unsafe_code, reason = "address 1: what crosses a library boundary")]
#![allow(non_local_definitions, reason = "sabi_trait's expansion")]
#![allow(
    clippy::used_underscore_binding,
    clippy::elidable_lifetime_names,
    clippy::expl_impl_clone_on_copy,
    reason = "the expansions of sabi_trait and StableAbi"
)]
pub(crate) mod completion;
mod export;
pub(crate) mod flat;
#[cfg(test)]
mod golden;
pub(crate) mod module;
pub(crate) mod objects;

use crate::log::Level;
use abi_stable::{StableAbi, std_types::RStr};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

/// Runs code of this side for the other; a panic becomes `None`.
pub(crate) fn guard<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f))
        .map_err(|payload| {
            // Dropping a payload may panic once more.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
        })
        .ok()
}

/// Where a library's log lines go: a function of the host.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogSink {
    target: *const (),
    call: extern "C" fn(*const (), level: u32, plugin: RStr<'_>, message: RStr<'_>),
}

// SAFETY: `target` is a plain function pointer.
unsafe impl Send for LogSink {}
// SAFETY: as above.
unsafe impl Sync for LogSink {}

impl LogSink {
    /// A sink that hands each line to `target`, with the name of the plugin that wrote it.
    pub fn new(target: fn(Level, &str, &str)) -> Self {
        extern "C" fn call(target: *const (), level: u32, plugin: RStr<'_>, message: RStr<'_>) {
            // SAFETY: `target` was made of exactly this type in `new`.
            let target = unsafe { std::mem::transmute::<*const (), fn(Level, &str, &str)>(target) };
            guard(|| target(Level::from_code(level), plugin.as_str(), message.as_str()));
        }
        Self { target: target as *const (), call }
    }
}

/// Set when a kernel loads this library: its own name, and the kernel's log.
static HOME: OnceLock<(&'static str, LogSink)> = OnceLock::new();

pub(crate) fn log(level: Level, message: &str) {
    if let Some((plugin, sink)) = HOME.get() {
        (sink.call)(sink.target, level as u32, RStr::from(*plugin), RStr::from(message));
    }
}

/// Called as a library is registered: from then on its log lines and panics reach the host.
pub(crate) fn settle(name: &'static str, log: LogSink) {
    if HOME.set((name, log)).is_err() {
        return;
    }
    // std's hook writes to stderr and, with RUST_BACKTRACE set, takes 70 ms and more. A message that was
    // formatted may hold a secret; a literal cannot.
    std::panic::set_hook(Box::new(|info| {
        let literal = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        crate::log::error(format_args!("panic at {place}: {literal}"));
    }));
}
