//! Another sealing key while a store is in use.
use super::*;
use countersign_plugin_api::MAX_OPS;
use std::{
    pin::pin,
    task::{Poll, Waker},
};

/// A kernel with that many records, a seventh of which expire, and the keys with a new one that seals.
async fn filled(records: usize) -> (Kernel, Arc<Plain>, Ring) {
    let (kernel, store) = kernel();
    for at in 0..records {
        let subject = format!("u{at}");
        let expires_at = if at % 7 == 0 { kernel.now() + Duration::from_secs(500) } else { Time::NEVER };
        let put = |call: &Call<'_>| {
            let name = Name::of(&subject, "count");
            view(call).read(name)?;
            absorb(call, "p", &Decision::empty().put(name, b"value", expires_at)).map(drop)
        };
        kernel.run(&NOWHERE, put).await.unwrap();
    }
    let mut ring = kernel.ring().copy();
    ring.reseal(Time::EPOCH);
    (kernel, store, ring)
}

async fn pass(kernel: &Kernel) -> (u64, u64, u64) {
    let (mut all, mut after) = ((0, 0, 0), None);
    loop {
        let done = kernel.reseal(after.as_deref()).await.unwrap();
        all = (all.0 + done.written, all.1 + done.passed, all.2 + done.unreadable);
        after = done.next;
        if after.is_none() {
            return all;
        }
    }
}

fn expiries(store: &Plain) -> Vec<(Vec<u8>, Time)> {
    store.rows.lock().1.iter().map(|(key, row)| (key.clone(), row.2)).collect()
}

fn kids(store: &Plain) -> std::collections::BTreeSet<Option<String>> {
    store.rows.lock().1.values().map(|row| sealed_with(&row.0)).collect()
}

#[tokio::test]
async fn every_record_comes_under_the_new_key_once_and_expires_when_it_did() {
    let (kernel, store, ring) = filled(10 * MAX_OPS).await;
    assert_eq!(pass(&kernel).await, (0, 0, 0), "without another key there is nothing to do");
    let before = expiries(&store);
    kernel.replace_ring(ring).unwrap();
    let (written, passed, unreadable) = pass(&kernel).await;
    assert_eq!((written, passed, unreadable), (before.len() as u64, 0, 0));
    assert_eq!(expiries(&store), before);
    assert_eq!(kids(&store), [Some(kernel.sealing_kid())].into());
    assert_eq!(pass(&kernel).await, (0, 0, 0));
    let name = Name::of("u3", "count");
    let read = kernel.run(&NOWHERE, |call| view(call).read(name)).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn what_others_write_meanwhile_stays_theirs() {
    let (kernel, store, ring) = filled(3).await;
    kernel.replace_ring(ring).unwrap();
    // All are tried together, then each by itself; one of those meets somebody else's write.
    store.next.lock().extend([Err(StoreError::Conflict); 2]);
    assert_eq!(pass(&kernel).await, (2, 1, 0));
    assert_eq!(pass(&kernel).await, (1, 0, 0), "the next pass finds it");
    // The store says no: nothing is claimed.
    let (kernel, store, ring) = filled(3).await;
    kernel.replace_ring(ring).unwrap();
    store.next.lock().push(Err(StoreError::Unavailable));
    assert!(kernel.reseal(None).await.is_err());
    assert_eq!(pass(&kernel).await, (3, 0, 0));
}

/// The write is conditional: between the read of a record and its write under the new key, somebody changes it, and
/// that change is what stays.
#[tokio::test]
async fn what_somebody_writes_between_read_and_write_is_never_undone() {
    let (kernel, store, ring) = filled(3).await;
    kernel.replace_ring(ring).unwrap();
    // One record goes, and another is written by somebody with the old key.
    let theirs = (b"as they wrote it".to_vec(), 77, Time::NEVER);
    let (changed, removed) = {
        let rows = store.rows.lock();
        let mut keys = rows.1.keys().cloned();
        (keys.next().unwrap(), keys.next().unwrap())
    };
    let meanwhile = (changed.clone(), removed.clone(), theirs.clone());
    *store.meanwhile.lock() = Some(Box::new(move |store| {
        let (changed, removed, theirs) = meanwhile;
        let rows = &mut store.rows.lock().1;
        rows.insert(changed, theirs);
        rows.remove(&removed);
    }));
    assert_eq!(pass(&kernel).await, (1, 2, 0));
    let rows = &store.rows.lock().1;
    assert_eq!(rows.get(&changed), Some(&theirs));
    assert!(!rows.contains_key(&removed), "it came back");
}

#[tokio::test]
async fn damage_is_counted_and_left_as_it_is() {
    let (kernel, store, ring) = filled(3).await;
    let damaged = {
        let mut rows = store.rows.lock();
        let row = rows.1.values_mut().next().unwrap();
        *row.0.last_mut().unwrap() ^= 1;
        row.0.clone()
    };
    kernel.replace_ring(ring).unwrap();
    assert_eq!(pass(&kernel).await, (2, 0, 1));
    assert_eq!(store.rows.lock().1.values().next().unwrap().0, damaged);
}

#[tokio::test]
async fn a_ring_without_what_has_sealed_so_far_is_refused() {
    let (kernel, _, mut ring) = filled(1).await;
    let old = kernel.sealing_kid();
    ring.retire(&old, Time::from_secs(9999), Duration::ZERO, 0).unwrap();
    assert!(kernel.replace_ring(ring).is_err());
    assert_eq!(kernel.sealing_kid(), old);
}

/// What waits for nothing, from where nothing can be awaited.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let polled = pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop()));
    if let Poll::Ready(done) = polled { done } else { panic!("it waits") }
}

/// Before each of the calls' batches the keys change, and everything is sealed anew: the first attempt meets a
/// conflict, and the second counts.
#[tokio::test]
async fn no_write_is_lost_while_keys_change() {
    let (kernel, store) = kernel();
    let kernel = Arc::new(kernel);
    let mut ring = kernel.ring().copy();
    for count in 1..=20 {
        ring.reseal(Time::EPOCH);
        let (changing, new) = (kernel.clone(), ring.copy());
        *store.meanwhile.lock() = Some(Box::new(move |_| {
            changing.replace_ring(new).unwrap();
            at_once(changing.reseal(None)).unwrap();
        }));
        assert_eq!(kernel.run(&NOWHERE, counted).await.unwrap(), count);
    }
    pass(&kernel).await;
    assert_eq!(kids(&store), [Some(kernel.sealing_kid())].into());
    assert_eq!(kernel.run(&NOWHERE, counted).await.unwrap(), 21);
}
