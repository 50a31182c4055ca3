//! Adapters: a plain trait on each side, an FFI-safe object between them.
//!
//! Five objects cross, and each method of theirs takes flat data and answers a code, so that a new question
//! or a new item never changes a layout.
#![expect(
    clippy::cast_ptr_alignment,
    clippy::no_effect_underscore_binding,
    reason = "abi_stable makes such code of a method that has a body"
)]

use super::{completion::Completion, flat::Flat, guard};
use crate::delivery::UNKNOWN;
use abi_stable::{
    sabi_trait,
    sabi_trait::TD_Opaque,
    sabi_types::{RMut, RRef},
    std_types::RArc,
};
use std::mem::ManuallyDrop;

/// The code of a method whose other side panicked or is not understood.
pub(crate) const FAULT: u32 = u32::MAX;
/// The code of success.
pub(crate) const DONE: u32 = 0;

#[sabi_trait]
pub(crate) trait StoreAbi: Send + Sync {
    fn latency(&self) -> u32;
    fn get(&self, keys: &Flat, found: &mut Flat) -> u32;
    fn apply(&self, batch: Flat, done: Completion);
    fn scan(&self, range: &Flat, page: &mut Flat) -> u32;
    #[sabi(last_prefix_field)]
    fn usage(&self, usage: &mut Flat) -> u32;
}
pub(crate) type StoreObject = StoreAbi_TO<'static, RArc<()>>;

/// What the kernel does for a handler during one call.
#[sabi_trait]
pub(crate) trait ContextAbi {
    #[sabi(last_prefix_field)]
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32;
}
pub(crate) type ContextObject<'a> = ContextAbi_TO<'a, RRef<'a, ()>>;

/// Handlers, gates and whatever else decides.
#[sabi_trait]
pub(crate) trait DeciderAbi: Send + Sync {
    #[sabi(last_prefix_field)]
    fn decide(&self, question: u32, input: &Flat, context: ContextObject<'_>, output: &mut Flat) -> u32;
}
pub(crate) type DeciderObject = DeciderAbi_TO<'static, RArc<()>>;

#[sabi_trait]
pub(crate) trait DeliveryAbi: Send + Sync {
    #[sabi(last_prefix_field)]
    fn send(&self, message: &Flat, reason: &mut Flat) -> u32;
    fn probe(&self, _reason: &mut Flat) -> u32 {
        UNKNOWN
    }
}
pub(crate) type DeliveryObject = DeliveryAbi_TO<'static, RArc<()>>;

/// The kernel's table, open only during `register`.
#[sabi_trait]
pub(crate) trait RegistrarAbi {
    fn add_store(&mut self, entry: &Flat, store: StoreObject, reason: &mut Flat) -> u32;
    fn add_delivery(&mut self, entry: &Flat, delivery: DeliveryObject, reason: &mut Flat) -> u32;
    fn add_decider(&mut self, entry: &Flat, decider: DeciderObject, reason: &mut Flat) -> u32;
    /// What is data alone.
    #[sabi(last_prefix_field)]
    fn add_data(&mut self, entry: &Flat, reason: &mut Flat) -> u32;
}
pub(crate) type RegistrarObject<'a> = RegistrarAbi_TO<'a, RMut<'a, ()>>;

/// A value of this library inside an object that another library drops: a panic in its Drop stays here.
pub(crate) struct Guarded<T>(ManuallyDrop<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: dropped exactly once, here.
        guard(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// One direction of a seam: what a plain trait looks like as flat data. Implemented beside each trait.
pub(crate) trait StoreFace: Send + Sync + 'static {
    fn latency(&self) -> u32;
    fn get(&self, keys: &Flat, found: &mut Flat) -> u32;
    fn apply(&self, batch: Flat, done: Completion);
    fn scan(&self, range: &Flat, page: &mut Flat) -> u32;
    fn usage(&self, usage: &mut Flat) -> u32;
}

impl<T: StoreFace> StoreAbi for Guarded<T> {
    fn latency(&self) -> u32 {
        guard(|| self.0.latency()).unwrap_or(FAULT)
    }
    fn get(&self, keys: &Flat, found: &mut Flat) -> u32 {
        guard(|| self.0.get(keys, found)).unwrap_or(FAULT)
    }
    fn apply(&self, batch: Flat, done: Completion) {
        // A panic drops `done` while unwinding, which reports Unknown.
        guard(|| self.0.apply(batch, done));
    }
    fn scan(&self, range: &Flat, page: &mut Flat) -> u32 {
        guard(|| self.0.scan(range, page)).unwrap_or(FAULT)
    }
    fn usage(&self, usage: &mut Flat) -> u32 {
        guard(|| self.0.usage(usage)).unwrap_or(FAULT)
    }
}

/// What answers a question with flat data: a handler, a gate, a context.
pub(crate) trait Asked {
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32;
}

impl<T: Asked> ContextAbi for Guarded<T> {
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32 {
        guard(|| self.0.ask(question, input, output)).unwrap_or(FAULT)
    }
}

impl Asked for ContextObject<'_> {
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32 {
        let code = ContextAbi_TO::ask(self, question, input, output);
        if output.is_sound() { code } else { FAULT }
    }
}

pub(crate) trait Decider: Send + Sync + 'static {
    fn decide(&self, question: u32, input: &Flat, context: &dyn Asked, output: &mut Flat) -> u32;
}

impl<T: Decider> DeciderAbi for Guarded<T> {
    fn decide(&self, question: u32, input: &Flat, context: ContextObject<'_>, output: &mut Flat) -> u32 {
        guard(|| self.0.decide(question, input, &context, output)).unwrap_or(FAULT)
    }
}

struct Borrowed<'a>(&'a dyn Asked);

impl Asked for Borrowed<'_> {
    fn ask(&self, question: u32, input: &Flat, output: &mut Flat) -> u32 {
        self.0.ask(question, input, output)
    }
}

impl Decider for DeciderObject {
    fn decide(&self, question: u32, input: &Flat, context: &dyn Asked, output: &mut Flat) -> u32 {
        let lent = Guarded::new(Borrowed(context));
        let context = ContextAbi_TO::from_ptr(RRef::new(&lent), TD_Opaque);
        let code = DeciderAbi_TO::decide(self, question, input, context, output);
        if output.is_sound() { code } else { FAULT }
    }
}

pub(crate) trait DeliveryFace: Send + Sync + 'static {
    fn send(&self, message: &Flat, reason: &mut Flat) -> u32;
    fn probe(&self, reason: &mut Flat) -> u32;
}

impl<T: DeliveryFace> DeliveryAbi for Guarded<T> {
    fn send(&self, message: &Flat, reason: &mut Flat) -> u32 {
        guard(|| self.0.send(message, reason)).unwrap_or(FAULT)
    }
    fn probe(&self, reason: &mut Flat) -> u32 {
        guard(|| self.0.probe(reason)).unwrap_or(FAULT)
    }
}

pub(crate) fn store_object(face: impl StoreFace) -> StoreObject {
    StoreAbi_TO::from_ptr(RArc::new(Guarded::new(face)), TD_Opaque)
}
pub(crate) fn decider_object(decider: impl Decider) -> DeciderObject {
    DeciderAbi_TO::from_ptr(RArc::new(Guarded::new(decider)), TD_Opaque)
}
pub(crate) fn delivery_object(face: impl DeliveryFace) -> DeliveryObject {
    DeliveryAbi_TO::from_ptr(RArc::new(Guarded::new(face)), TD_Opaque)
}
