//! What a batch expects, and that it is applied wholly or not at all.
use super::{Broken, trial::Trial};
use crate::{Expect, Store, StoreError::Conflict, Time};
use std::sync::Arc;

/// `Any` holds with and without a record, for a put and for a deletion.
pub fn any_expects_nothing(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("any_expects_nothing", store);
    let key = t.key("a");
    for value in ["first", "second"] {
        let mut batch = t.batch();
        batch.put(&key, Expect::Any, value.as_bytes(), Time::NEVER);
        t.accepts("a put that expects nothing", batch)?;
        t.same("the value put", Some(value.into()), t.read(&key)?.map(|held| held.value))?;
    }
    for _ in 0..2 {
        let mut batch = t.batch();
        batch.delete(&key, Expect::Any);
        t.accepts("a deletion that expects nothing", batch)?;
        t.same("nothing after a deletion", None, t.read(&key)?)?;
    }
    Ok(())
}

/// `Absent` holds when there is no record, or one whose `expires_at` is not after the batch's instant.
pub fn absent_expects_no_live_record(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("absent_expects_no_live_record", store);
    let key = t.key("a");
    let put_after = |secs, value: &[u8], expires_at| {
        let mut batch = t.batch_after(secs);
        batch.put(&key, Expect::Absent, value, expires_at);
        batch
    };
    t.accepts("Absent where nothing is", put_after(0, b"one", t.after(100)))?;
    t.refuses("Absent where a record lives", Conflict, put_after(0, b"two", t.after(100)))?;
    t.refuses("Absent one second before the expiry", Conflict, put_after(99, b"two", t.after(100)))?;
    t.same("the record of before", Some(b"one".to_vec()), t.read(&key)?.map(|held| held.value))?;
    t.accepts("Absent at the very instant of the expiry", put_after(100, b"two", Time::NEVER))?;
    t.same("the new record", Some(b"two".to_vec()), t.read(&key)?.map(|held| held.value))?;

    let mut batch = t.batch();
    batch.require(&key, Expect::Absent);
    t.refuses("requiring Absent where a record lives", Conflict, batch)?;
    let mut batch = t.batch();
    batch.require(&t.key("b"), Expect::Absent);
    t.accepts("requiring Absent where nothing is", batch)
}

/// `Version` holds for a record of exactly that version.
pub fn version_expects_exactly_that_record(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("version_expects_exactly_that_record", store);
    let (key, nothing) = (t.key("a"), t.key("b"));
    let old = t.put(&key, b"one", Time::NEVER)?;
    let put = |key: &[u8], version| {
        let mut batch = t.batch();
        batch.put(key, Expect::Version(version), b"two", Time::NEVER);
        batch
    };
    t.accepts("the version that was read", put(&key, old))?;
    let new = t.read(&key)?.map_or(0, |held| held.version);
    t.holds("a put to change the version", new != old, format_args!("{old} and {new}"))?;
    for (what, version) in [("an older version", old), ("a newer one", new + 1), ("0", 0), ("none", u64::MAX)]
    {
        t.refuses(what, Conflict, put(&key, version))?;
        t.refuses("any version where nothing is", Conflict, put(&nothing, version))?;
    }
    t.same("the version of before", Some(new), t.read(&key)?.map(|held| held.version))?;
    t.same("nothing where nothing was", None, t.read(&nothing)?)
}

/// A deletion removes the record, and its expectation is that of a put.
pub fn deletion_removes_the_record(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("deletion_removes_the_record", store);
    let key = t.key("a");
    let version = t.put(&key, b"one", Time::NEVER)?;
    let delete = |expect| {
        let mut batch = t.batch();
        batch.delete(&key, expect);
        batch
    };
    t.refuses("deleting another version", Conflict, delete(Expect::Version(version + 1)))?;
    t.refuses("deleting what should be absent", Conflict, delete(Expect::Absent))?;
    t.holds("the record still there", t.read(&key)?.is_some(), "none")?;
    t.accepts("deleting the version that was read", delete(Expect::Version(version)))?;
    t.same("no record", None, t.read(&key)?)?;
    t.same("no record in a scan", Vec::new(), t.scan(&key, None, 10)?)?;
    t.refuses("deleting it once more", Conflict, delete(Expect::Version(version)))?;
    t.accepts("deleting what is absent and should be", delete(Expect::Absent))
}

/// An operation that only requires changes nothing, not even the version; a batch may be of nothing else.
pub fn requirements_write_nothing(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("requirements_write_nothing", store);
    let (key, other) = (t.key("a"), t.key_at(1, "b"));
    let version = t.put(&key, b"one", Time::NEVER)?;
    let before = t.read(&key)?;
    t.accepts("an empty batch", t.batch())?;
    let mut batch = t.batch();
    batch.require(&key, Expect::Version(version));
    batch.require(&other, Expect::Absent);
    t.accepts("requirements that hold", batch)?;
    let mut batch = t.batch();
    batch.require(&key, Expect::Version(version));
    batch.put(&other, Expect::Absent, b"two", Time::NEVER);
    t.accepts("a put beside a requirement that holds", batch)?;
    t.same("the required record untouched", before.clone(), t.read(&key)?)?;
    let mut batch = t.batch();
    batch.put(&other, Expect::Any, b"three", Time::NEVER);
    batch.require(&key, Expect::Version(version + 1));
    t.refuses("a put beside a requirement that fails", Conflict, batch)?;
    t.same("the put undone", Some(b"two".to_vec()), t.read(&other)?.map(|held| held.value))?;
    t.same("the required record untouched", before, t.read(&key)?)
}

/// One failing expectation, wherever it stands in the batch, leaves every record as it was.
pub fn batches_apply_wholly_or_not_at_all(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("batches_apply_wholly_or_not_at_all", store);
    let held: Vec<_> = (0..6).map(|n| t.key_at(n, "held")).collect();
    for key in &held {
        t.put(key, b"before", Time::NEVER)?;
    }
    let fresh: Vec<_> = (0..6).map(|n| t.key_at(n, "fresh")).collect();
    let before = t.read_all(&held)?;
    // Five operations of each kind and, at each place among them, one that must fail.
    for at in 0..=5 {
        let mut batch = t.batch();
        for n in 0..6 {
            match (n == at, n % 3) {
                (true, _) => batch.put(&held[n], Expect::Absent, b"after", Time::NEVER),
                (_, 0) => batch.put(&held[n], Expect::Any, b"after", Time::NEVER),
                (_, 1) => batch.delete(&held[n], Expect::Any),
                _ => batch.put(&fresh[n], Expect::Absent, b"after", Time::NEVER),
            }
        }
        t.refuses("one expectation of six fails", Conflict, batch)?;
        t.same("every record as before", before.clone(), t.read_all(&held)?)?;
        t.same("no record made", vec![None; 6], t.values(&fresh)?)?;
    }
    let mut batch = t.batch();
    for (n, key) in held.iter().enumerate() {
        if n % 2 == 0 {
            batch.delete(key, Expect::Any);
        } else {
            batch.require(key, Expect::Any);
        }
        batch.put(&fresh[n], Expect::Absent, b"after", Time::NEVER);
    }
    t.accepts("a batch of twelve that holds", batch)?;
    let kept = |n: usize| (n % 2 == 1).then(|| b"before".to_vec());
    t.same("every operation applied", (0..6).map(kept).collect(), t.values(&held)?)?;
    t.same("every operation applied", vec![Some(b"after".to_vec()); 6], t.values(&fresh)?)
}
