//! A secret as a type: it cannot be printed or serialised by accident, and is wiped when dropped.
use serde::{Deserialize, Deserializer};
use zeroize::optimization_barrier;

/// A value that must not be seen: no `Debug`, no `Display`, no `Serialize`; [`expose`](Secret::expose) to
/// read it. An owned value is wiped when dropped.
///
/// ```compile_fail
/// let code = countersign_plugin_api::Secret::new(String::from("123456"));
/// println!("{code:?}");
/// ```
#[derive(Clone)]
pub struct Secret<T: Wipe>(T);

impl<T: Wipe> Secret<T> {
    /// Takes a value into keeping.
    pub fn new(value: T) -> Self {
        Self(value)
    }
    /// The value. Every call of this is a place to look at in a review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<'de, T: Wipe + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// What can be a secret.
pub trait Wipe {
    /// Overwrites the value. What is only borrowed is wiped by its owner.
    fn wipe(&mut self);
}

impl Wipe for [u8] {
    /// A `memset` that is not optimised away: `zeroize` writes byte by byte, a kilobyte in a thousand stores.
    fn wipe(&mut self) {
        self.fill(0);
        optimization_barrier(self);
    }
}
impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().wipe();
    }
}
impl Wipe for Vec<u8> {
    /// The room that is not in use, too: something longer may have been there.
    fn wipe(&mut self) {
        self.clear();
        self.resize(self.capacity(), 0);
        optimization_barrier(self.as_slice());
        self.clear();
    }
}
impl Wipe for String {
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}
impl Wipe for &str {
    fn wipe(&mut self) {}
}
impl Wipe for &[u8] {
    fn wipe(&mut self) {}
}
