//! Values as the store sees them: AES-256-GCM, bound to their key.
//!
//! `1 ‖ kid (4) ‖ start (16) ‖ counter (8) ‖ ciphertext ‖ tag (16)`. Each process start has a key of its own,
//! derived from the ring's sealing key and a random salt, and counts its nonces: random 96-bit nonces would
//! run out at our rates.
use super::keys::{Ring, Role};
use hkdf::Hkdf;
use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use zeroize::Zeroize;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 16 + 8;
const TAG: usize = 16;
/// Keys of earlier process starts that are kept at hand.
const CACHED: usize = 1024;

type Start = [u8; 20];

pub(super) struct Seal {
    ring: Arc<Ring>,
    start: Start,
    key: LessSafeKey,
    counter: AtomicU64,
    earlier: RwLock<HashMap<Start, Arc<LessSafeKey>>>,
}

impl Seal {
    pub(super) fn new(ring: Arc<Ring>, salt: [u8; 16]) -> Result<Self, String> {
        let kid = ring.active(Role::Seal).ok_or("the key file has no active key with role `seal`")?.kid();
        let mut start = [0; 20];
        start[..4].copy_from_slice(&kid);
        start[4..].copy_from_slice(&salt);
        let key = derive(&ring, &start).ok_or("the sealing key cannot be derived")?;
        Ok(Self { ring, start, key, counter: AtomicU64::new(0), earlier: RwLock::default() })
    }

    /// The length of a value of `plain` bytes once it is sealed.
    pub(super) const fn len(plain: usize) -> usize {
        plain + HEADER + TAG
    }

    /// Seals into `out`, which has the length that `len` told.
    pub(super) fn seal(&self, key: &[u8], plain: &[u8], out: &mut [u8]) {
        let counter = self.counter.fetch_add(1, Relaxed).to_be_bytes();
        out[0] = VERSION;
        out[1..21].copy_from_slice(&self.start);
        out[21..HEADER].copy_from_slice(&counter);
        let (body, tag) = out[HEADER..].split_at_mut(plain.len());
        body.copy_from_slice(plain);
        let made = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(key), body)
            .expect("AES-GCM takes 64 GiB, and a value has 64 KiB at most");
        tag.copy_from_slice(made.as_ref());
    }

    /// Opens in place, and answers where the plain text lies; `None` when this is not what was sealed under
    /// that key.
    pub(super) fn open(&self, key: &[u8], sealed: &mut [u8]) -> Option<Range<usize>> {
        let (header, body) = sealed.split_at_mut_checked(HEADER)?;
        if header[0] != VERSION {
            return None;
        }
        let start: Start = header[1..21].try_into().ok()?;
        let counter: [u8; 8] = header[21..].try_into().ok()?;
        let open = |with: &LessSafeKey, body: &mut [u8]| {
            Some(with.open_in_place(nonce(counter), Aad::from(key), body).ok()?.len())
        };
        let plain =
            if start == self.start { open(&self.key, body)? } else { open(&*self.earlier(start)?, body)? };
        Some(HEADER..HEADER + plain)
    }

    fn earlier(&self, start: Start) -> Option<Arc<LessSafeKey>> {
        if let Some(key) = self.earlier.read().get(&start) {
            return Some(key.clone());
        }
        let key = Arc::new(derive(&self.ring, &start)?);
        let mut earlier = self.earlier.write();
        if earlier.len() >= CACHED {
            earlier.clear();
        }
        earlier.insert(start, key.clone());
        Some(key)
    }
}

fn nonce(counter: [u8; 8]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(nonce)
}

fn derive(ring: &Ring, start: &Start) -> Option<LessSafeKey> {
    let (kid, salt) = start.split_at(4);
    let secret = ring.by_kid(kid.try_into().ok()?).filter(|key| key.role() == Role::Seal)?;
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), secret.expose()).expand(b"countersign seal v1", &mut key).ok()?;
    let unbound = UnboundKey::new(&AES_256_GCM, &key).ok();
    key.zeroize();
    unbound.map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &Seal, key: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; Seal::len(plain.len())];
        seal.seal(key, plain, &mut out);
        out
    }
    fn opened(seal: &Seal, key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut copy = sealed.to_vec();
        let range = seal.open(key, &mut copy)?;
        Some(copy[range].to_vec())
    }

    #[test]
    fn what_is_sealed_opens_under_its_own_key_only_also_after_a_restart() {
        let ring = Arc::new(Ring::generate(countersign_plugin_api::Time::EPOCH));
        let (first, second) = (Seal::new(ring.clone(), [1; 16]).unwrap(), Seal::new(ring, [2; 16]).unwrap());
        let a = sealed(&first, b"alice", b"secret");
        assert_eq!(opened(&first, b"alice", &a).as_deref(), Some(&b"secret"[..]));
        assert_eq!(opened(&second, b"alice", &a).as_deref(), Some(&b"secret"[..]));
        assert_eq!(opened(&first, b"mallory", &a), None, "rows cannot be swapped");
        assert_ne!(sealed(&first, b"alice", b"secret"), a, "no nonce twice");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let ring = Arc::new(Ring::generate(countersign_plugin_api::Time::EPOCH));
        let seal = Seal::new(ring, [1; 16]).unwrap();
        let good = sealed(&seal, b"key", b"value");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&seal, b"key", &bad), None, "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(opened(&seal, b"key", &good[..len]), None, "cut to {len}");
        }
    }
}
