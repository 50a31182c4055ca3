//! The promises of the kernel, over a store in the test itself.
mod audit;
mod outbox;
mod reload;
mod reseal;

use super::*;
use countersign_plugin_api::{
    Batch, Change, Completion, Context, Decision, Draft, Expect, Found, Keys, Name, Page, Record, Refusal,
    Subject,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

static NOWHERE: LazyLock<Origin> = LazyLock::new(Origin::default);

type Rows = BTreeMap<Vec<u8>, (Vec<u8>, u64, Time)>;

/// A plain store that can be told what to answer next.
#[derive(Default)]
pub(super) struct Plain {
    rows: Mutex<(u64, Rows)>,
    gets: AtomicUsize,
    applies: AtomicUsize,
    /// Answered instead of applying, and then forgotten.
    next: Mutex<Vec<Result<(), StoreError>>>,
    forget: Mutex<bool>,
    /// Applies the next batch, and says that it does not know.
    unsure: Mutex<bool>,
    /// Scans that fail, before one succeeds.
    unreadable: AtomicUsize,
    /// Run once, before the next batch is applied: what somebody else does between a read and the write.
    meanwhile: Mutex<Option<Meanwhile>>,
}

type Meanwhile = Box<dyn FnOnce(&Plain) + Send>;

impl Plain {
    fn apply_now(&self, batch: &Batch) -> Result<(), StoreError> {
        let (version, rows) = &mut *self.rows.lock();
        let record = |rows: &Rows, key: &[u8]| {
            rows.get(key).map(|row| Record { value: &[], version: row.1, expires_at: row.2 })
        };
        if !batch.ops().all(|op| op.expect.holds(record(rows, op.key), batch.now())) {
            return Err(StoreError::Conflict);
        }
        *version += 1;
        for op in batch.ops() {
            match op.change {
                Change::Keep => {}
                Change::Delete => drop(rows.remove(op.key)),
                Change::Put { value, expires_at } => {
                    rows.insert(op.key.into(), (value.into(), *version, expires_at));
                }
            }
        }
        Ok(())
    }
}

impl Store for Plain {
    fn latency(&self) -> Latency {
        Latency::Quick
    }
    fn get(&self, keys: &Keys<'_>, found: &mut Found) -> Result<(), StoreError> {
        self.gets.fetch_add(1, SeqCst);
        let rows = self.rows.lock();
        for key in keys.iter() {
            let row = rows.1.get(key);
            found.push(row.map(|row| Record { value: &row.0, version: row.1, expires_at: row.2 }));
        }
        Ok(())
    }
    fn apply(&self, batch: Batch, done: Completion) {
        self.applies.fetch_add(1, SeqCst);
        if *self.forget.lock() {
            return std::mem::forget(done);
        }
        let meanwhile = self.meanwhile.lock().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile(self));
        let told = self.next.lock().pop();
        let made = told.unwrap_or_else(|| self.apply_now(&batch));
        done.finish(if std::mem::take(&mut *self.unsure.lock()) { Err(StoreError::Unknown) } else { made });
    }
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        if self.unreadable.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(StoreError::Unavailable);
        }
        let rows = self.rows.lock();
        let hits = rows
            .1
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after));
        hits.take(limit).for_each(|(key, row)| {
            page.push(key, Record { value: &row.0, version: row.1, expires_at: row.2 });
        });
        Ok(())
    }
    fn usage(&self) -> Result<Usage, StoreError> {
        Ok(Usage::default())
    }
}

/// There are no accounts in these tests.
struct Nobody;

impl People for Nobody {
    fn subject(&self, _: &Call<'_>, _: &str) -> Result<Option<Subject>, Refusal> {
        Ok(None)
    }
    fn subject_of(&self, _: &Call<'_>, _: &str) -> Result<Option<Subject>, Refusal> {
        Ok(None)
    }
    fn letter(&self, _: &Call<'_>, draft: &Draft<'_>) -> Result<Option<Letter>, Refusal> {
        let (to, subject) = (format!("{}@test", draft.to), draft.template.to_owned());
        let text = format!("{:?}", draft.fields);
        Ok(Some(Letter { to, subject, text, html: None }))
    }
    fn end_all(&self, _: &Call<'_>, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
    fn elevate(&self, _: &Call<'_>, _: &str, _: &str, _: &str) -> Result<Granted, Refusal> {
        Err(Problem::ChallengeInvalid.into())
    }
    fn step_up(&self, _: &Call<'_>, _: &str) -> Result<Granted, Refusal> {
        Err(Problem::SessionRequired.into())
    }
    fn end_others(&self, _: &Call<'_>) -> Result<(), Refusal> {
        Err(Problem::SessionRequired.into())
    }
    fn end(&self, _: &Call<'_>, _: &str, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
}

fn kernel() -> (Kernel, Arc<Plain>) {
    over(Arc::new(Plain::default()), Arc::new(Ring::generate(Time::EPOCH)), None)
}

fn registry(store: Arc<dyn Store>) -> Registry {
    Registry {
        store,
        delivery: None,
        routes: std::collections::HashMap::default(),
        operations: std::collections::HashMap::default(),
        gate: None,
        pages: Vec::new(),
        plugins: Vec::new(),
        kept: kept::Kept::default(),
    }
}

fn settings() -> Settings {
    Settings {
        volatile: false,
        audience: "http://test".into(),
        audit_retention: Duration::from_secs(1000),
        idle_ttl: Duration::from_secs(100),
        absolute_ttl: Duration::from_secs(1000),
        password_cost: Cost { memory: 64, iterations: 1, parallelism: 1 },
    }
}

/// The same with a delivery, whose plugin can come into quarantine.
fn registry_with(store: Arc<dyn Store>, delivery: Arc<dyn Delivery>) -> Registry {
    let mut registry = registry(store);
    let quarantine = quarantine::Quarantine::new("delivery-post");
    registry.delivery = Some(Watched::new(delivery, &quarantine));
    let identity = kept::Identity::of([1; 32], "{}", std::path::Path::new("/"));
    let collected = countersign_plugin_api::kernel::Collected::default();
    registry.kept.keep("delivery-post", kept::Registered { identity, collected, quarantine }, "s");
    registry
}

fn over(store: Arc<Plain>, ring: Arc<Ring>, delivery: Option<Arc<dyn Delivery>>) -> (Kernel, Arc<Plain>) {
    let registry = match delivery {
        Some(delivery) => registry_with(store.clone(), delivery),
        None => registry(store.clone()),
    };
    let kernel = Kernel::over(registry, ring, Box::new(Nobody), settings(), 1).unwrap();
    // The mark is written with whatever is written first; the tests count rows.
    kernel.clock.mark_is_due(kernel.now());
    (kernel, store)
}

const COUNT: Name<'static> = Name::of("u", "count");

fn view<'c, 'k>(call: &'c Call<'k>) -> View<'c, 'k> {
    View { call, plugin: "p" }
}

fn counted(call: &Call<'_>) -> Result<u64, Refusal> {
    let view = view(call);
    let before = view.read(COUNT)?.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let decision = Decision::empty().put(COUNT, &(before + 1).to_be_bytes(), Time::NEVER);
    absorb(call, "p", &decision)?;
    Ok(before + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contenders_for_one_record_are_all_served_and_none_is_lost() {
    let (kernel, _) = kernel();
    let kernel = Arc::new(kernel);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let kernel = kernel.clone();
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
async fn what_was_read_and_not_written_must_not_have_changed() {
    let (kernel, store) = kernel();
    let other = Name::of("u", "other");
    let runs = AtomicUsize::new(0);
    let decided = kernel.run(&NOWHERE, |call| {
        let context = view(call);
        context.read(other)?;
        if runs.fetch_add(1, SeqCst) == 0 {
            // Somebody else writes what this call has read and will not write.
            let mut batch = Batch::new(call.now());
            let sealed = |plain: &[u8], key: &[u8]| {
                let mut out = vec![0; Seal::len(plain.len())];
                kernel.seal.seal(key, plain, &mut out);
                out
            };
            let key = context.key(other)?;
            batch.put(&key, Expect::Absent, &sealed(b"x", &key), Time::NEVER);
            store.apply_now(&batch)?;
        }
        counted(call)
    });
    assert_eq!(decided.await.unwrap(), 1);
    assert_eq!(runs.load(SeqCst), 2, "the first attempt was not carried out");
}

#[tokio::test]
async fn a_call_that_writes_nothing_applies_nothing() {
    let (kernel, store) = kernel();
    kernel.run(&NOWHERE, |call| view(call).read(COUNT)).await.unwrap();
    assert_eq!(store.applies.load(SeqCst), 0);
    let refused = kernel.run(&NOWHERE, |call| counted(call).and(Err::<(), _>(Problem::Forbidden.into())));
    assert_eq!(refused.await.unwrap_err().problem(), Problem::Forbidden);
    assert_eq!(store.applies.load(SeqCst), 0, "a refusal writes nothing");
}

#[tokio::test]
async fn every_store_error_refuses_and_none_but_a_conflict_is_tried_again() {
    for error in [StoreError::Unavailable, StoreError::Unknown, StoreError::Full, StoreError::Corrupt] {
        let (kernel, store) = kernel();
        store.next.lock().push(Err(error));
        let refusal = kernel.run(&NOWHERE, counted).await.unwrap_err();
        assert_eq!(refusal.problem(), Problem::StoreUnavailable, "{error:?}");
        assert_eq!(store.applies.load(SeqCst), 1, "{error:?}");
    }
    let (kernel, store) = kernel();
    store.next.lock().extend([Err(StoreError::Conflict); 1000]);
    let refusal = kernel.run(&NOWHERE, counted).await.unwrap_err();
    assert_eq!(refusal.problem(), Problem::Busy);
    assert!(store.applies.load(SeqCst) < 100, "the tries are bounded");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_sits_on_a_batch_is_answered_for() {
    let (kernel, store) = kernel();
    *store.forget.lock() = true;
    let refusal = kernel.run(&NOWHERE, counted).await.unwrap_err();
    assert_eq!(refusal.problem(), Problem::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_confirms_nothing_is_left_alone_and_tried_now_and_then() {
    let (kernel, store) = kernel();
    *store.forget.lock() = true;
    for _ in 0..10 {
        let refusal = kernel.run(&NOWHERE, counted).await.unwrap_err();
        assert_eq!(refusal.problem(), Problem::StoreUnavailable);
    }
    // The first three waited in vain. Ten took no second in which another would have been due, or hardly one.
    assert!((3..=5).contains(&store.applies.load(SeqCst)), "{:?}", store.applies);
    *store.forget.lock() = false;
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    while kernel.run(&NOWHERE, counted).await.is_err() {
        assert!(std::time::Instant::now() < give_up, "it is never tried again");
        std::thread::sleep(Duration::from_millis(20));
    }
    kernel.run(&NOWHERE, counted).await.expect("it is trusted again");
}

#[tokio::test]
async fn random_bytes_are_the_same_at_each_attempt_and_others_in_each_call() {
    let (kernel, store) = kernel();
    store.next.lock().push(Err(StoreError::Conflict));
    let seen = Mutex::new(Vec::new());
    let draw = |call: &Call<'_>| {
        let mut bytes = [0; 16];
        view(call).random(&mut bytes)?;
        seen.lock().push(bytes);
        counted(call)
    };
    kernel.run(&NOWHERE, draw).await.unwrap();
    kernel.run(&NOWHERE, draw).await.unwrap();
    let seen = seen.into_inner();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[1], seen[2]);
}

#[tokio::test]
async fn a_hash_is_asked_for_once_and_a_decision_without_it_is_none() {
    let (kernel, store) = kernel();
    let runs = AtomicUsize::new(0);
    let hashed = kernel.run(&NOWHERE, |call| {
        runs.fetch_add(1, SeqCst);
        let hash = view(call).hash(&[b"secret"], &[7; 16]);
        counted(call)?;
        // Even a handler that ignores the refusal does not get to decide without the hash.
        Ok(hash.ok())
    });
    let hash = hashed.await.unwrap().expect("the second attempt has it");
    assert_eq!((hash.len(), runs.load(SeqCst), store.applies.load(SeqCst)), (1, 2, 1));
    let (another, _) = self::kernel();
    let elsewhere = another.run(&NOWHERE, |call| view(call).hash(&[b"secret"], &[7; 16])).await.unwrap();
    assert_ne!(hash, elsewhere, "another pepper, another hash");
}

#[tokio::test]
async fn a_plugin_sees_its_own_records_only_and_must_read_what_it_writes() {
    let (kernel, _) = kernel();
    kernel.run(&NOWHERE, counted).await.unwrap();
    let other = kernel.run(&NOWHERE, |call| View { call, plugin: "q" }.read(COUNT)).await.unwrap();
    assert_eq!(other, None);
    let blind = kernel.run(&NOWHERE, |call| {
        absorb(call, "p", &Decision::empty().put(COUNT, b"x", Time::NEVER))?;
        Ok(())
    });
    assert_eq!(blind.await.unwrap_err().problem(), Problem::PluginFault);
}

#[tokio::test]
async fn a_row_that_was_swapped_or_damaged_is_an_error_and_never_absent() {
    let (kernel, store) = kernel();
    kernel.run(&NOWHERE, counted).await.unwrap();
    {
        let rows = &mut store.rows.lock().1;
        let victim = rows.values_mut().next().unwrap();
        victim.0[40] ^= 1;
    }
    for _ in 0..2 {
        let refusal = kernel.run(&NOWHERE, |call| view(call).read(COUNT)).await.unwrap_err();
        assert_eq!(refusal.problem(), Problem::StoreUnavailable);
    }
    kernel.write_counts().await;
    let page = kernel.run(&NOWHERE, |call| super::audit::page(call, None, 10)).await.unwrap();
    let events: Vec<_> =
        page.records.iter().map(|(_, row)| (row.event.as_str(), row.fields["count"].as_str())).collect();
    assert_eq!(events, [("record.unreadable", "2")]);
}

#[tokio::test]
async fn expired_records_are_absent_and_can_be_written_again() {
    let (kernel, _) = kernel();
    let put = |expires_at| {
        kernel.run(&NOWHERE, move |call| {
            view(call).read(COUNT)?;
            absorb(call, "p", &Decision::empty().put(COUNT, &7u64.to_be_bytes(), expires_at))?;
            Ok(())
        })
    };
    put(kernel.now()).await.unwrap();
    assert_eq!(kernel.run(&NOWHERE, |call| view(call).read(COUNT)).await.unwrap(), None);
    assert_eq!(kernel.run(&NOWHERE, counted).await.unwrap(), 1);
}
