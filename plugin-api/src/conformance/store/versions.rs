//! Versions: one counter for the whole store, and none ever comes back.
use super::{Broken, trial::Trial};
use crate::{Expect, Store, StoreError::Conflict, Time};
use std::{collections::HashSet, sync::Arc};

/// A key that is deleted and made again never has a version that it had before: whoever read the old record
/// must not pass for having read the new one.
pub fn versions_are_never_reused(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("versions_are_never_reused", store);
    let key = t.key("a");
    let mut seen = HashSet::new();
    for round in 0..20u8 {
        for value in [round, round + 100] {
            let version = t.put(&key, &[value], Time::NEVER)?;
            t.holds("a version from 1 up", version > 0, version)?;
            t.holds("a version this key never had", seen.insert(version), version)?;
        }
        let mut batch = t.batch();
        batch.delete(&key, Expect::Any);
        t.accepts("a deletion", batch)?;
    }
    t.put(&key, b"new", Time::NEVER)?;
    for version in seen {
        let mut batch = t.batch();
        batch.put(&key, Expect::Version(version), b"stale", Time::NEVER);
        t.refuses("a version of before the deletion", Conflict, batch)?;
    }
    Ok(())
}

/// Of two batches, one after the other, the later writes the higher version, whatever the keys.
pub fn versions_come_from_one_counter(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("versions_come_from_one_counter", store);
    let keys: Vec<_> = (0..8).map(|n| t.key_at(n, "k")).collect();
    let mut last = 0;
    for round in 0..3u8 {
        for key in &keys {
            let version = t.put(key, &[round], Time::NEVER)?;
            t.holds("versions to rise across keys", version > last, format_args!("{version} after {last}"))?;
            last = version;
        }
        let mut batch = t.batch();
        keys.iter().for_each(|key| batch.put(key, Expect::Any, b"all", Time::NEVER));
        t.accepts("a batch on all keys", batch)?;
        let versions: Vec<u64> = t.read_all(&keys)?.into_iter().flatten().map(|held| held.version).collect();
        let risen = versions.len() == keys.len() && versions.iter().all(|version| *version > last);
        t.holds("versions to rise across keys", risen, format_args!("{versions:?} after {last}"))?;
        last = versions.into_iter().max().unwrap_or(last);
    }
    Ok(())
}
