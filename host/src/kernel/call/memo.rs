//! What lasts over the attempts of one call.
use crate::kernel::{
    hashing::{Cost, Job},
    keys,
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::OnceLock};
use zeroize::Zeroizing;

/// The seed of a call's random bytes, and the hashes it asked for.
pub(in crate::kernel) struct Memo {
    /// Drawn when the first byte is asked for, which no session check does.
    seed: OnceLock<Zeroizing<[u8; 32]>>,
    hashes: Mutex<HashMap<[u8; 32], [u8; 32]>>,
}

impl Memo {
    pub(in crate::kernel) fn new() -> Self {
        Self { seed: OnceLock::new(), hashes: Mutex::default() }
    }
    pub(super) fn seed(&self) -> [u8; 32] {
        let draw = || {
            let mut seed = Zeroizing::new([0; 32]);
            keys::fill(&mut *seed);
            seed
        };
        **self.seed.get_or_init(draw)
    }
    pub(in crate::kernel) fn remember(&self, job: &Job, hashes: Vec<[u8; 32]>) {
        let mut known = self.hashes.lock();
        for (secret, hash) in job.secrets.iter().zip(hashes) {
            known.insert(fingerprint(secret.expose(), &job.salt, job.cost), hash);
        }
    }
    pub(super) fn hash_of(&self, secret: &[u8], salt: &[u8], cost: Cost) -> Option<[u8; 32]> {
        self.hashes.lock().get(&fingerprint(secret, salt, cost)).copied()
    }
}

/// Which hash this is; not stored, and gone with the call.
fn fingerprint(secret: &[u8], salt: &[u8], cost: Cost) -> [u8; 32] {
    let numbers =
        [cost.memory, cost.iterations, cost.parallelism, u32::try_from(salt.len()).unwrap_or(u32::MAX)];
    let mut digest = Sha256::new();
    numbers.iter().for_each(|n| digest.update(n.to_be_bytes()));
    digest.update(salt);
    digest.update(secret);
    digest.finalize().into()
}
