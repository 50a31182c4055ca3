//! Messages: written with their change, sent once, tried again inside their life.
use super::*;
use countersign_plugin_api::{Message, Undelivered};
use std::sync::atomic::AtomicBool;

/// A delivery that answers as it is told, then with success, and remembers.
#[derive(Default)]
struct Post {
    answers: Mutex<Vec<Result<(), Undelivered>>>,
    taken: Mutex<Vec<(String, String)>>,
    hangs: AtomicBool,
}

impl Delivery for Post {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        self.taken.lock().push((message.id.into(), message.subject.into()));
        while self.hangs.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut answers = self.answers.lock();
        if answers.is_empty() { Ok(()) } else { answers.remove(0) }
    }
}

impl Post {
    fn subjects(&self) -> Vec<String> {
        self.taken.lock().iter().map(|(_, subject)| subject.clone()).collect()
    }
}

struct Office {
    kernel: Arc<Kernel>,
    store: Arc<Plain>,
    post: Arc<Post>,
    ring: Arc<Ring>,
}

fn office(answers: Vec<Result<(), Undelivered>>) -> Office {
    let post = Arc::new(Post { answers: Mutex::new(answers), ..Post::default() });
    let ring = Arc::new(Ring::generate(Time::EPOCH));
    let (kernel, store) = over(Arc::new(Plain::default()), ring.clone(), Some(post.clone()));
    Office { kernel: Arc::new(kernel), store, post, ring }
}

impl Office {
    async fn write(&self, draft: &Draft<'_>) -> Result<(), Refusal> {
        let decide = |call: &Call<'_>| {
            counted(call)?;
            let mut decision = Decision::empty();
            decision = decision.message(draft);
            absorb(call, "p", &decision).map(|_| ())
        };
        self.kernel.run(&NOWHERE, decide).await
    }
    fn open(&self) {
        self.kernel.deliver();
    }
    /// What waits to be sent.
    async fn waiting(&self) -> usize {
        let group = self.kernel.places.of(":outbox");
        let rows = self.kernel.run(&NOWHERE, |call| call.scan(HOST, group, b"row", None, 100)).await;
        rows.expect("it reads").len()
    }
    /// Lets the worker work until nothing waits, or for so many seconds of a clock that only timers move.
    async fn settles_within(&self, secs: u64) -> bool {
        for _ in 0..secs * 10 {
            if self.waiting().await == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }
}

fn later() -> Result<(), Undelivered> {
    Err(Undelivered::Later("451 come back".into()))
}

fn draft(kernel: &Kernel, life: u64) -> Draft<'static> {
    Draft::new("code", "u", kernel.now() + Duration::from_secs(life))
}

#[tokio::test]
async fn a_message_goes_out_with_its_change_and_not_without_it() {
    let office = office(Vec::new());
    office.open();
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    let refused = office.kernel.run(&NOWHERE, |call| {
        absorb(call, "p", &Decision::empty().message(&draft(&office.kernel, 300)))?;
        Err::<(), _>(Problem::Forbidden.into())
    });
    assert!(refused.await.is_err());
    office.store.next.lock().push(Err(StoreError::Unavailable));
    assert!(office.write(&draft(&office.kernel, 300)).await.is_err());
    assert!(office.settles_within(5).await);
    assert_eq!(office.post.subjects(), ["code"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_now_is_tried_again_under_the_same_id() {
    let office = office(vec![later(), later()]);
    office.open();
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    assert!(office.settles_within(120).await);
    let taken = office.post.taken.lock();
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|(id, _)| *id == taken[0].0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_after_its_life_or_when_it_never_will_be_taken() {
    // The first wait is 15 seconds, longer than this message lives.
    let short = office(vec![later(), later()]);
    short.open();
    short.write(&draft(&short.kernel, 10)).await.unwrap();
    let never = office(vec![Err(Undelivered::Never("550 no".into())), Ok(())]);
    never.open();
    never.write(&draft(&never.kernel, 300)).await.unwrap();
    for office in [short, never] {
        assert!(office.settles_within(60).await);
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!(office.post.subjects().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_taken_is_not_sent_twice_and_is_recorded() {
    let office = office(vec![Err(Undelivered::Unknown("it hung up".into()))]);
    office.open();
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    assert!(office.settles_within(60).await);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(office.post.subjects().len(), 1);
    let events =
        office.kernel.run(&NOWHERE, |call| super::super::audit::page(call, None, 10)).await.unwrap().records;
    let (_, event) = events.last().expect("an event");
    assert_eq!((event.event.as_str(), event.success), ("mail.uncertain", false));
    assert_eq!(event.fields["why"], "it hung up");
}

/// Lets time pass for timers, a second at a time, until it is so. A clock that is paused stands while a call of the
/// delivery is under way.
async fn in_time(mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(std::time::Instant::now() < give_up, "it does not come to it");
        std::thread::sleep(Duration::from_millis(1));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_hangs_is_given_up_and_left_alone_until_it_comes_back() {
    let office = office(Vec::new());
    office.post.hangs.store(true, SeqCst);
    for _ in 0..10 {
        office.write(&draft(&office.kernel, 3000)).await.unwrap();
    }
    office.open();
    // All places are taken by calls that hang, and each message of them is settled all the same.
    in_time(async || office.waiting().await == 2).await;
    assert_eq!(office.post.subjects().len(), 8);
    let refusal = office.kernel.readiness().expect_err("health is red");
    assert_eq!(refusal.problem(), Problem::PluginFault);
    // The others have a place, and are not handed to a plugin that is in quarantine.
    in_time(async || {
        let all = office.kernel.waiting_messages().await.unwrap();
        let why = |message: &serde_json::Value| message["last_error"].to_string().contains("quarantine");
        all.as_array().unwrap().iter().all(why)
    })
    .await;
    assert_eq!(office.post.subjects().len(), 8);

    office.post.hangs.store(false, SeqCst);
    in_time(async || office.waiting().await == 0).await;
    assert_eq!(office.post.subjects().len(), 10, "each of them once");
    office.kernel.readiness().expect("it is well again");
    let page = office.kernel.run(&NOWHERE, |call| super::super::audit::page(call, None, 100)).await.unwrap();
    let uncertain = page.records.iter().filter(|(_, row)| row.event == "mail.uncertain");
    assert!(uncertain.clone().all(|(_, row)| row.fields["why"].contains("did not come back")));
    assert_eq!((uncertain.count(), page.records.len()), (8, 10));
}

#[tokio::test(start_paused = true)]
async fn of_changes_that_nobody_knows_of_those_that_were_kept_have_their_message_sent() {
    let office = office(Vec::new());
    office.open();
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    assert!(office.settles_within(5).await, "the worker has looked what was left");
    *office.store.unsure.lock() = true;
    assert!(office.write(&draft(&office.kernel, 300)).await.is_err());
    office.store.next.lock().push(Err(StoreError::Unknown));
    assert!(office.write(&draft(&office.kernel, 300)).await.is_err());
    assert_eq!(office.waiting().await, 1);
    assert!(office.settles_within(60).await);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(office.post.subjects().len(), 2);
}

/// A batch that the store took and did not confirm in time may be written a while later.
#[tokio::test(start_paused = true)]
async fn a_message_that_may_yet_be_written_is_looked_for_for_a_minute() {
    let office = office(Vec::new());
    office.open();
    office.store.next.lock().push(Err(StoreError::Unknown));
    assert!(office.write(&draft(&office.kernel, 300)).await.is_err());
    for (after, looked_for) in [(1, 1), (20, 1), (30, 1), (40, 0)] {
        tokio::time::sleep(Duration::from_secs(after)).await;
        assert_eq!(office.kernel.outbox.level().0, looked_for, "{after} s later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_is_made_once_also_when_nobody_knows_whether_it_was_written_down() {
    for written in [true, false] {
        let office = office(Vec::new());
        office.open();
        office.write(&draft(&office.kernel, 300)).await.unwrap();
        // Before its turn comes.
        if written {
            *office.store.unsure.lock() = true;
        } else {
            office.store.next.lock().push(Err(StoreError::Unknown));
        }
        assert!(office.settles_within(60).await, "{written}");
        assert_eq!(office.post.subjects().len(), 1, "{written}");
        let page =
            office.kernel.run(&NOWHERE, |call| super::super::audit::page(call, None, 10)).await.unwrap();
        let events: Vec<_> = page.records.iter().map(|(_, row)| row.event.as_str()).collect();
        assert_eq!(events, ["mail.sent"], "{written}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_what_waits_and_brings_it_forward_once() {
    let office = office(vec![later(), later()]);
    office.open();
    let waits_with = async |tries: u64| {
        for _ in 0..100 {
            let all = office.kernel.waiting_messages().await.unwrap();
            let first = all.as_array().and_then(|all| all.first()).cloned();
            if let Some(message) = first.filter(|first| first["tries"] == tries && first["sending"] == false)
            {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not wait with {tries} tries");
    };
    office.write(&draft(&office.kernel, 3000).with("code", "918273")).await.unwrap();
    let message = waits_with(1).await;
    assert_eq!((&message["mail"], &message["to"]), (&"code".into(), &"u@test".into()));
    assert_eq!(message["last_error"], "451 come back");
    assert!(!message.to_string().contains("918273"), "{message}");
    let id = message["id"].as_str().unwrap();
    assert_eq!(office.post.taken.lock()[0].0, id, "the delivery knows it by the same id");
    assert_eq!(office.kernel.retry_messages(Some("nobody")).await.unwrap_err().problem(), Problem::NotFound);

    // Long before its time, and the turn that was planned does not come beside it.
    assert_eq!(office.kernel.retry_messages(Some(id)).await.unwrap(), [id]);
    waits_with(2).await;
    assert_eq!(office.kernel.retry_messages(None).await.unwrap(), [id]);
    assert!(office.settles_within(5).await);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(office.post.subjects().len(), 3, "two that failed, and one that did not");
    assert_eq!(office.kernel.retry_messages(None).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_was_not_sent_in_its_life_is_put_on_record() {
    let office = office(Vec::new());
    office.write(&draft(&office.kernel, 0)).await.unwrap();
    assert_eq!(office.kernel.waiting_messages().await.unwrap(), serde_json::json!([]));
    office.open();
    assert!(office.settles_within(5).await);
    assert!(office.post.subjects().is_empty(), "never after its life");
    let events = office.kernel.run(&NOWHERE, |call| super::super::audit::page(call, None, 10)).await;
    let events = events.unwrap().records;
    assert_eq!(events[0].1.event, "mail.failed");
}

#[tokio::test]
async fn what_an_earlier_process_left_is_sent_unless_it_may_have_been() {
    let before = office(Vec::new());
    before.write(&draft(&before.kernel, 300)).await.unwrap();
    before.write(&draft(&before.kernel, 300)).await.unwrap();
    // It ends in the middle of a try of one of the two.
    let group = before.kernel.places.of(":outbox");
    let rows = before.kernel.run(&NOWHERE, |call| call.scan(HOST, group, b"row", None, 100)).await.unwrap();
    let ours = AtomicBool::new(false);
    before.kernel.claim(&group.key(HOST, &rows[0].0), &ours).await.unwrap().expect("it waits");

    let post = Arc::new(Post::default());
    let (kernel, _) = over(before.store.clone(), before.ring.clone(), Some(post.clone()));
    let after = Office { kernel: Arc::new(kernel), post, ..before };
    after.open();
    assert!(after.settles_within(5).await);
    assert_eq!(after.post.subjects().len(), 1, "never twice");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_waits_for_the_store_and_for_nothing_that_is_damaged() {
    let before = office(Vec::new());
    before.write(&draft(&before.kernel, 3000)).await.unwrap();
    before.write(&draft(&before.kernel, 3000)).await.unwrap();
    let group = before.kernel.places.of(":outbox").key(HOST, b"row");
    let damage = |rows: &mut Rows| {
        let (_, row) = rows.iter_mut().find(|(key, _)| key.starts_with(&group)).expect("a message");
        *row.0.last_mut().unwrap() ^= 1;
    };
    damage(&mut before.store.rows.lock().1);
    before.store.unreadable.store(3, SeqCst);

    let post = Arc::new(Post::default());
    let (kernel, _) = over(before.store.clone(), before.ring.clone(), Some(post.clone()));
    let kernel = Arc::new(kernel);
    kernel.deliver();
    in_time(async || post.subjects().len() == 1).await;
    assert_eq!(before.store.unreadable.load(SeqCst), 0, "it was asked again");
}

/// A reload: the next kernel has another delivery, none, or one again, and there is one worker all the time.
#[tokio::test(start_paused = true)]
async fn the_newest_kernel_sends_and_what_waits_waits_for_one_that_can() {
    let mut office = office(vec![later()]);
    office.open();
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    while office.post.subjects().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let next = |kernel: &Kernel, delivery: Option<Arc<Post>>| {
        let store = kernel.store.clone();
        let registry = match delivery {
            Some(post) => registry_with(store, post),
            None => registry(store),
        };
        let pool = kernel.pool.clone();
        Arc::new(kernel.succeeded_by(registry, Box::new(Nobody), settings(), pool))
    };
    office.kernel = next(&office.kernel, None);
    office.open();
    assert!(!office.settles_within(60).await, "nobody sends");
    let post = Arc::new(Post::default());
    office.kernel = next(&office.kernel, Some(post.clone()));
    office.open();
    assert!(office.settles_within(5).await);
    assert_eq!((office.post.subjects().len(), post.subjects().len()), (1, 1), "each of them had it once");
}

#[tokio::test]
async fn of_what_guesses_cause_an_account_is_told_once_an_hour_and_of_all_else_each_time() {
    let office = office(Vec::new());
    office.open();
    let until = office.kernel.now() + Duration::from_mins(5);
    let notices =
        [("locked", "u"), ("locked", "u"), ("locked", "v"), ("guesses", "u"), ("added", "u"), ("added", "u")];
    for (kind, to) in notices {
        office.write(&Draft::notice(kind, to, until)).await.unwrap();
    }
    assert!(office.settles_within(5).await);
    let mut subjects = office.post.subjects();
    subjects.sort_unstable();
    assert_eq!(subjects, ["added", "added", "guesses", "locked", "locked"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_message_is_answered_as_late_for_anybody() {
    let office = office(Vec::new());
    let until = office.kernel.now() + Duration::from_mins(5);
    for (draft, after) in [
        (Draft::new("code", "u", until), 20),
        (Draft::new("code", Draft::NOBODY, until), 20),
        (Draft::notice("added", "u", until), 0),
    ] {
        let asked = tokio::time::Instant::now();
        office.write(&draft).await.unwrap();
        assert_eq!(asked.elapsed().as_millis(), after, "{}", draft.to);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_and_a_missing_delivery_refuse_what_was_asked_for_and_keep_the_change_unwritten() {
    let office = office(Vec::new());
    for n in 0..899 {
        assert_eq!(office.kernel.has_room_for_strangers().is_ok(), n < 500, "{n}");
        office.write(&draft(&office.kernel, 300)).await.unwrap();
    }
    // A message has its place before its change is kept, and gives it back with a change that is not.
    let two = draft(&office.kernel, 300);
    let both = |call: &Call<'_>| call.message(&two).and_then(|()| call.message(&two));
    assert_eq!(office.kernel.run(&NOWHERE, both).await.unwrap_err().problem(), Problem::DeliveryUnavailable);
    office.write(&draft(&office.kernel, 300)).await.unwrap();
    let refusal = office.write(&draft(&office.kernel, 300)).await.unwrap_err();
    assert_eq!(refusal.problem(), Problem::DeliveryUnavailable);
    assert_eq!(office.kernel.outbox.level().0, 900);
    assert_eq!(office.kernel.run(&NOWHERE, counted).await.unwrap(), 901, "the last change was not kept");

    // Notices have the rest. One too many is put on record, and its change is kept.
    let until = office.kernel.now() + Duration::from_mins(5);
    let lost = async || {
        let page =
            office.kernel.run(&NOWHERE, |call| super::super::audit::page(call, None, 10)).await.unwrap();
        page.records.iter().filter(|(_, row)| row.event == "mail.failed").count()
    };
    for n in 0..102 {
        assert_eq!(lost().await, usize::from(n > 100), "{n}");
        office.write(&Draft::notice("added", "u", until)).await.unwrap();
    }
    assert_eq!(lost().await, 2);

    let (kernel, _) = kernel();
    let message = |draft| {
        let kernel = &kernel;
        async move {
            kernel
                .run(&NOWHERE, |call| absorb(call, "p", &Decision::empty().message(&draft)).map(|_| ()))
                .await
        }
    };
    assert!(message(draft(&kernel, 300)).await.is_err());
    let notice = Draft::notice("added", "u", Time::NEVER);
    assert!(message(notice).await.is_ok(), "a notice is not worth refusing a change for");
}
