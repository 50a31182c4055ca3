//! Values as the store sees them: AES-256-GCM, bound to their key.
//!
//! `1 ‖ kid (4) ‖ start (16) ‖ counter (8) ‖ ciphertext ‖ tag (16)`. Each process start has a key of its own,
//! derived from the ring's sealing key and a random salt, and counts its nonces: random 96-bit nonces would
//! run out at our rates. `store reseal` brings another sealing key, and with it a start of its own.
use super::keys::{Kid, Ring, Role};
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

/// What seals from one start, or one change of keys, to the next. A start and its counter never part, so that no
/// nonce comes twice.
struct Sealing {
    start: Start,
    key: LessSafeKey,
    counter: AtomicU64,
}

impl Sealing {
    fn new(ring: &Ring, salt: [u8; 16]) -> Result<Self, String> {
        let kid = ring.active(Role::Seal).ok_or("the key file has no active key with role `seal`")?.kid();
        let mut start = [0; 20];
        start[..4].copy_from_slice(&kid);
        start[4..].copy_from_slice(&salt);
        let key = derive(ring, &start).ok_or("the sealing key cannot be derived")?;
        Ok(Self { start, key, counter: AtomicU64::new(0) })
    }
    fn kid(&self) -> Kid {
        kid_of(&self.start)
    }
}

#[derive(Clone)]
struct Current {
    ring: Arc<Ring>,
    sealing: Arc<Sealing>,
}

/// Shared by both kernels of a reload, which so change to another key in one instant.
pub(super) struct Seal {
    current: RwLock<Current>,
    earlier: RwLock<HashMap<Start, Arc<LessSafeKey>>>,
}

impl Seal {
    pub(super) fn new(ring: Arc<Ring>, salt: [u8; 16]) -> Result<Self, String> {
        let sealing = Arc::new(Sealing::new(&ring, salt)?);
        Ok(Self { current: RwLock::new(Current { ring, sealing }), earlier: RwLock::default() })
    }

    /// Opens with these keys from now on, and seals with their active one; `salt` is used when that is another.
    pub(super) fn replace(&self, ring: Arc<Ring>, salt: [u8; 16]) -> Result<(), String> {
        let mut current = self.current.write();
        let is_same = ring.active(Role::Seal).is_some_and(|key| key.kid() == current.sealing.kid());
        if !is_same {
            current.sealing = Arc::new(Sealing::new(&ring, salt)?);
        }
        current.ring = ring;
        // Derived of keys that may be gone.
        self.earlier.write().clear();
        Ok(())
    }

    /// The key that seals.
    pub(super) fn kid(&self) -> Kid {
        self.current.read().sealing.kid()
    }

    /// The key that a value says it was sealed with.
    pub(super) fn kid_in(sealed: &[u8]) -> Option<Kid> {
        let start = sealed.get(1..21).filter(|_| sealed[0] == VERSION)?;
        Some(kid_of(start.try_into().ok()?))
    }

    /// The length of a value of `plain` bytes once it is sealed.
    pub(super) const fn len(plain: usize) -> usize {
        plain + HEADER + TAG
    }

    /// Seals into `out`, which has the length that `len` told.
    pub(super) fn seal(&self, key: &[u8], plain: &[u8], out: &mut [u8]) {
        let sealing = self.current.read().sealing.clone();
        let counter = sealing.counter.fetch_add(1, Relaxed).to_be_bytes();
        out[0] = VERSION;
        out[1..21].copy_from_slice(&sealing.start);
        out[21..HEADER].copy_from_slice(&counter);
        let (body, tag) = out[HEADER..].split_at_mut(plain.len());
        body.copy_from_slice(plain);
        let made = sealing
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
        // Taken after the value was read: whatever sealed it is in this ring or in none.
        let current = self.current.read().clone();
        let plain = if start == current.sealing.start {
            open(&current.sealing.key, body)?
        } else {
            open(&*self.earlier(start, &current.ring)?, body)?
        };
        Some(HEADER..HEADER + plain)
    }

    fn earlier(&self, start: Start, ring: &Ring) -> Option<Arc<LessSafeKey>> {
        ring.by_kid(kid_of(&start))?;
        if let Some(key) = self.earlier.read().get(&start) {
            return Some(key.clone());
        }
        let key = Arc::new(derive(ring, &start)?);
        let mut earlier = self.earlier.write();
        if earlier.len() >= CACHED {
            earlier.clear();
        }
        earlier.insert(start, key.clone());
        Some(key)
    }
}

fn kid_of(start: &Start) -> Kid {
    [start[0], start[1], start[2], start[3]]
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
    fn after_a_change_of_keys_the_new_one_seals_and_the_old_one_opens_while_it_is_there() {
        let at = countersign_plugin_api::Time::EPOCH;
        let mut ring = Ring::generate(at);
        let seal = Seal::new(Arc::new(ring.copy()), [1; 16]).unwrap();
        let (old, before) = (seal.kid(), sealed(&seal, b"k", b"v"));
        seal.replace(Arc::new(ring.copy()), [2; 16]).unwrap();
        let again = sealed(&seal, b"k", b"v");
        assert_eq!(before[..21], again[..21], "the same key goes on");
        assert_eq!((before[28], again[28]), (0, 1), "with the next nonce");

        let new = ring.reseal(at);
        seal.replace(Arc::new(ring.copy()), [3; 16]).unwrap();
        let after = sealed(&seal, b"k", b"v");
        assert_eq!((Seal::kid_in(&before), Seal::kid_in(&after)), (Some(old), Some(seal.kid())));
        assert!(new == crate::kernel::hex(&seal.kid()) && seal.kid() != old);
        for value in [&before, &again, &after] {
            assert_eq!(opened(&seal, b"k", value).as_deref(), Some(&b"v"[..]));
        }
        let grace = std::time::Duration::from_hours(1);
        ring.retire(&crate::kernel::hex(&old), at + grace, grace, 0).unwrap();
        seal.replace(Arc::new(ring), [4; 16]).unwrap();
        assert_eq!(opened(&seal, b"k", &before), None, "its key is gone, and nothing of it is at hand");
        assert_eq!(opened(&seal, b"k", &after).as_deref(), Some(&b"v"[..]));
        for garbled in [&[][..], &[VERSION; 20], &[9; 60]] {
            assert_eq!(Seal::kid_in(garbled), None);
        }
    }

    #[test]
    fn no_nonce_comes_twice_while_keys_change_under_load() {
        let at = countersign_plugin_api::Time::EPOCH;
        let mut ring = Ring::generate(at);
        let seal = Seal::new(Arc::new(ring.copy()), [0; 16]).unwrap();
        let mut seen: Vec<Vec<u8>> = std::thread::scope(|all| {
            let sealers: Vec<_> = (0..4)
                .map(|_| all.spawn(|| (0..500).map(|_| sealed(&seal, b"k", b"v")).collect::<Vec<_>>()))
                .collect();
            for salt in 1..20 {
                ring.reseal(at);
                seal.replace(Arc::new(ring.copy()), [salt; 16]).unwrap();
            }
            sealers.into_iter().flat_map(|sealer| sealer.join().unwrap()).collect()
        });
        seen.iter_mut().for_each(|value| assert!(opened(&seal, b"k", value).is_some()));
        let all = seen.len();
        let nonces: std::collections::HashSet<_> = seen.into_iter().map(|v| v[1..HEADER].to_vec()).collect();
        assert_eq!(nonces.len(), all);
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
