//! Time: what has expired may go, and nothing else does.
use super::{Broken, trial::Trial};
use crate::{Expect, Store, StoreError::Conflict, Time};
use std::sync::Arc;

/// However much is written and however far time goes, only what has expired may be gone; and what has
/// expired is either gone or still what it was.
pub fn only_the_expired_vanishes(store: &Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("only_the_expired_vanishes", store);
    let name = |secs: u64, n: u64| t.key_at(n, format!("{secs}"));
    let lives = [1u64, 50, 100, 101, 200, 100_000];
    for n in 0..50 {
        let mut batch = t.batch();
        lives.iter().for_each(|secs| batch.put(&name(*secs, n), Expect::Absent, b"x", t.after(*secs)));
        batch.put(&name(0, n), Expect::Absent, b"x", Time::NEVER);
        t.accepts("a batch of puts", batch)?;
    }
    // Time goes to 100, and a batch with an older instant does not bring it back.
    for now in [30, 100, 70] {
        for round in 0..200u64 {
            let mut batch = t.batch_after(now);
            (0..20).for_each(|n| batch.put(&name(9, n), Expect::Any, &round.to_be_bytes(), Time::NEVER));
            t.accepts("a batch of puts", batch)?;
        }
    }
    for secs in lives.into_iter().chain([0]) {
        for n in 0..50 {
            let seen = t.read(&name(secs, n))?.map(|held| (held.value, held.expires_at));
            let expires_at = if secs == 0 { Time::NEVER } else { t.after(secs) };
            let expected = Some((b"x".to_vec(), expires_at));
            if expires_at > t.after(100) || seen.is_some() {
                t.same("the record as it was put", expected, seen)?;
            }
        }
    }
    // To a batch of an instant at which it has expired, it is absent, whether it is still there or not.
    let mut batch = t.batch_after(100);
    (0..20).for_each(|n| batch.put(&name(100, n), Expect::Absent, b"y", Time::NEVER));
    t.accepts("Absent for what has expired", batch)?;
    let mut batch = t.batch_after(100);
    batch.put(&name(101, 0), Expect::Absent, b"y", Time::NEVER);
    t.refuses("Absent for what expires a second later", Conflict, batch)
}

/// What was acknowledged is there when the store is opened again, and its versions go on. Not for volatile
/// stores. `open` opens the same store each time; the one before has been dropped.
pub fn acknowledged_writes_survive_reopening(open: &dyn Fn() -> Arc<dyn Store>) -> Result<(), Broken> {
    let t = Trial::new("acknowledged_writes_survive_reopening", &open());
    let keys: Vec<_> = (0..40).map(|n| t.key_at(n, "d")).collect();
    for (n, key) in keys.iter().enumerate() {
        t.put(key, &n.to_be_bytes(), Time::NEVER)?;
    }
    let gone = t.key("gone");
    let last = t.put(&gone, b"x", Time::NEVER)?;
    let mut batch = t.batch();
    batch.delete(&gone, Expect::Any);
    t.accepts("a deletion", batch)?;
    let before = t.read_all(&keys)?;

    let t = t.reopened(open);
    t.same("every record as it was", before, t.read_all(&keys)?)?;
    t.same("the deleted record gone", None, t.read(&gone)?)?;
    let version = t.put(&gone, b"y", Time::NEVER)?;
    t.holds("versions to go on", version > last, format_args!("{version} after {last}"))
}
