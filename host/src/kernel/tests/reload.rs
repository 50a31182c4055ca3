//! Two kernels over one store, as during a reload.
use super::*;

/// What `Kernel::reload` makes, without the plugins.
fn successor(before: &Kernel) -> Kernel {
    before.succeeded_by(registry(before.store.clone()), Box::new(Nobody), settings(), before.pool.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contenders_through_two_kernels_are_all_served_and_none_is_lost() {
    let (old, _) = kernel();
    let new = successor(&old);
    let kernels = [Arc::new(old), Arc::new(new)];
    let tasks: Vec<_> = (0..100)
        .map(|at| {
            let kernel = kernels[at % 2].clone();
            tokio::spawn(async move { kernel.run(&NOWHERE, counted).await })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap().expect("nobody is turned away"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_kernel_goes_with_its_last_request_and_time_and_keys_go_on() {
    let (old, _) = kernel();
    let old = Arc::new(old);
    old.clock.recall(old.now() + Duration::from_secs(1000));
    let new = Arc::new(successor(&old));
    new.deliver();
    assert!(new.now() >= old.now(), "a reload does not set the clock back");
    assert!(new.replace_ring(Ring::generate(Time::EPOCH)).is_err(), "the keys of the store stay");
    new.replace_ring({
        let mut ring = new.ring().copy();
        ring.rotate(Time::EPOCH);
        ring
    })
    .unwrap();
    assert!(Arc::ptr_eq(&old.ring(), &new.ring()), "a key that is rotated is known to both");
    let mut rotated = old.ring().copy();
    rotated.reseal(Time::EPOCH);
    old.replace_ring(rotated.copy()).unwrap();
    assert_eq!(old.sealing_kid(), new.sealing_kid(), "another sealing key is used by both at once");
    let gone = Arc::downgrade(&old);
    let running = old.run(&NOWHERE, counted).await;
    assert_eq!((running.ok(), gone.strong_count()), (Some(1), 1));
    drop(old);
    assert!(gone.upgrade().is_none());
}
