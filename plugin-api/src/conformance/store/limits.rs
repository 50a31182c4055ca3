//! Bounds, and what a store answers at its own capacity.
use super::{Broken, trial::Trial};
use crate::{
    Batch, Expect, MAX_KEY, MAX_OPS, MAX_VALUE, Store,
    StoreError::{Full, Unavailable},
    Time, Usage,
};
use std::sync::Arc;

/// Keys of 1 and of 512 bytes, values of 0 and of 64 KiB, and 32 operations are allowed.
pub fn bounds_are_allowed(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("bounds_are_allowed", store);
    let longest = longest_key(&t, MAX_KEY);
    for (key, value) in [(&[7][..], vec![]), (&longest, vec![0xA5; MAX_VALUE])] {
        t.put(key, &value, Time::NEVER)?;
        let seen = t.read(key)?.map(|held| held.value);
        let len = seen.as_ref().map(Vec::len);
        t.holds("the value as it was put", seen.as_ref() == Some(&value), format_args!("{len:?} bytes"))?;
        let listed = t.scanned_keys(key, None, 1)?;
        t.same("the key as it was put", vec![key.to_vec()], listed)?;
        let mut batch = t.batch();
        batch.delete(key, Expect::Any);
        t.accepts("a deletion", batch)?;
    }
    let keys: Vec<_> = (0..MAX_OPS as u64).map(|n| t.key_at(n, "op")).collect();
    let mut batch = t.batch();
    keys.iter().for_each(|key| batch.put(key, Expect::Absent, b"x", Time::NEVER));
    t.accepts("a batch of 32 operations", batch)?;
    t.same("all 32 written", vec![Some(b"x".to_vec()); MAX_OPS], t.values(&keys)?)
}

/// Beyond them the answer is `Unavailable`, and nothing was written.
pub fn out_of_bounds_is_refused_unwritten(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("out_of_bounds_is_refused_unwritten", store);
    let good = t.key("good");
    let refuse = |what: &str, add: &dyn Fn(&mut Batch)| {
        let mut batch = t.batch();
        batch.put(&good, Expect::Any, b"x", Time::NEVER);
        add(&mut batch);
        t.refuses(what, Unavailable, batch)?;
        t.same("nothing of the batch written", None, t.read(&good)?)
    };
    refuse("an empty key", &|batch| batch.put(&[], Expect::Any, b"x", Time::NEVER))?;
    let long = longest_key(&t, MAX_KEY + 1);
    refuse("a key of 513 bytes", &|batch| batch.put(&long, Expect::Any, b"x", Time::NEVER))?;
    refuse("a requirement on a key of 513 bytes", &|batch| batch.require(&long, Expect::Absent))?;
    let key = t.key("big");
    let value = vec![0; MAX_VALUE + 1];
    refuse("a value of 64 KiB and a byte", &|batch| batch.put(&key, Expect::Any, &value, Time::NEVER))?;
    refuse("33 operations", &|batch| {
        (0..MAX_OPS).for_each(|n| batch.put(&t.key(n.to_string()), Expect::Any, b"x", Time::NEVER));
    })?;
    refuse("one key twice", &|batch| batch.put(&good, Expect::Any, b"y", Time::NEVER))?;
    refuse("one key twice, once only required", &|batch| batch.require(&good, Expect::Absent))?;
    t.same("nothing of any batch written", Vec::new(), t.scan(&t.key(""), None, 10)?)
}

fn longest_key(t: &Trial, len: usize) -> Vec<u8> {
    let mut key = t.key("long");
    key.resize(len, b'k');
    key
}

/// `usage` follows what is put and deleted, and stays inside its own bounds.
pub fn usage_counts_what_is_held(store: &Arc<dyn Store>) -> Result<(), Broken> {
    const RECORDS: u64 = 96;
    const BYTES: usize = 1000;
    let t = Trial::new("usage_counts_what_is_held", store);
    let keys: Vec<_> = (0..RECORDS).map(|n| t.key_at(n, "u")).collect();
    for some in keys.chunks(MAX_OPS) {
        let mut batch = t.batch();
        some.iter().for_each(|key| batch.put(key, Expect::Absent, &[1; BYTES], Time::NEVER));
        t.accepts("a batch of puts", batch)?;
    }
    let held = usage(&t)?;
    let enough = held.records >= RECORDS && held.bytes >= RECORDS * BYTES as u64;
    t.holds("at least what was just put", enough, format_args!("{held:?}"))?;
    let inside = |held: u64, most: u64| most == 0 || held <= most;
    let inside = inside(held.records, held.max_records) && inside(held.bytes, held.max_bytes);
    t.holds("usage inside its bounds", inside, format_args!("{held:?}"))?;
    for some in keys.chunks(MAX_OPS) {
        let mut batch = t.batch();
        some.iter().for_each(|key| batch.delete(key, Expect::Any));
        t.accepts("a batch of deletions", batch)?;
    }
    let left = usage(&t)?;
    let seen = format_args!("{held:?}, then {left:?}");
    t.holds("deleted records not to count", left.records + RECORDS <= held.records, seen)
}

fn usage(t: &Trial) -> Result<Usage, Broken> {
    t.store().usage().map_err(|error| t.broken("usage: Ok", format_args!("{error:?}")))
}

/// At its capacity a store answers `Full` to a batch that grows it and to no other, and loses nothing that
/// has not expired. `store` is an empty one that is full after at most `most` records of 1 KiB.
pub fn full_only_when_it_grows(store: &Arc<dyn Store>, most: u64) -> Result<(), Broken> {
    let t = Trial::new("full_only_when_it_grows", store);
    let put = |n: u64, value: &[u8]| {
        let mut batch = t.batch();
        batch.put(&t.key_at(n, "full"), Expect::Any, value, Time::NEVER);
        batch
    };
    let mut held = 0;
    loop {
        match t.submit(put(held, &[1; 1024]))? {
            Ok(()) => held += 1,
            Err(Full) => break,
            Err(other) => return Err(t.broken("Full at the capacity", format_args!("{other:?}"))),
        }
        t.holds("Full at the capacity", held <= most, format_args!("{held} records of 1 KiB"))?;
    }
    t.holds("room for at least four records", held >= 4, held)?;
    let keys: Vec<_> = (0..held).map(|n| t.key_at(n, "full")).collect();
    let lost = |value: &[u8], keys: &[Vec<u8>]| -> Result<(), Broken> {
        for some in keys.chunks(100) {
            let intact = t.values(some)?.iter().all(|seen| seen.as_deref() == Some(value));
            t.holds("every record that has not expired", intact, "one that is gone or changed")?;
        }
        Ok(())
    };
    lost(&[1; 1024], &keys)?;

    let mut batch = put(held, &[2; 1024]);
    batch.put(&keys[0], Expect::Any, &[2; 1024], Time::NEVER);
    t.refuses("one record more", Full, batch)?;
    t.same("the refused record not there", None, t.read(&t.key_at(held, "full"))?)?;
    lost(&[1; 1024], &keys)?;

    for n in 0..held {
        t.accepts("a record replaced by one of its size", put(n, &[3; 1024]))?;
    }
    lost(&[3; 1024], &keys)?;
    let mut batch = t.batch();
    batch.require(&keys[0], Expect::Any);
    t.accepts("a requirement", batch)?;
    let mut batch = put(held, &[3; 1024]);
    batch.delete(&keys[0], Expect::Any);
    t.accepts("one record in place of another", batch)?;
    t.accepts("a smaller record", put(1, &[4; 16]))?;
    for key in &keys[2..] {
        let mut batch = t.batch();
        batch.delete(key, Expect::Any);
        t.accepts("a deletion", batch)?;
    }
    t.accepts("a new record where there is room again", put(2, &[5; 1024]))
}
