//! The record: what names an account has a row, what names none is counted, and what repeats is seldom written.
use super::{
    super::audit::{self, seldom},
    *,
};
use countersign_plugin_api::Event;

/// The names, results and counts of all rows.
async fn rows(kernel: &Kernel) -> Vec<(String, bool, String)> {
    let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = kernel.run(&NOWHERE, |call| audit::page(call, after.as_deref(), 1000)).await.unwrap();
        all.extend(
            page.records.into_iter().map(|(_, row)| {
                (row.event, row.success, row.fields.get("count").cloned().unwrap_or_default())
            }),
        );
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn happen(kernel: &Kernel, event: &Event<'_>) {
    kernel
        .run(&NOWHERE, |call| {
            call.audit(HOST, event);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn events_without_an_account_are_counted_and_cost_no_write() {
    let (kernel, store) = kernel();
    for _ in 0..1000 {
        happen(&kernel, &Event::failure("login.failed", "")).await;
    }
    happen(&kernel, &Event::success("password.reset-asked", "")).await;
    let refused = kernel.run(&NOWHERE, |call| {
        call.audit(HOST, &Event::failure("login.failed", ""));
        Err::<(), _>(Problem::Forbidden.into())
    });
    assert!(refused.await.is_err(), "what was refused has not happened");
    assert_eq!(store.applies.load(SeqCst), 0);
    kernel.write_counts().await;
    let counts = [("login.failed", false, "1000"), ("password.reset-asked", true, "1")]
        .map(|(name, success, count)| (name.to_owned(), success, count.to_owned()));
    assert_eq!(rows(&kernel).await, counts);
    kernel.write_counts().await;
    assert_eq!(rows(&kernel).await.len(), 2, "nothing happened since");
}

#[tokio::test]
async fn rows_are_kept_for_as_long_as_the_configuration_says() {
    let (kernel, store) = kernel();
    happen(&kernel, &Event::success("login.succeeded", "u")).await;
    let expiries: Vec<Time> = store.rows.lock().1.values().map(|row| row.2).collect();
    let [expires_at] = expiries[..] else { panic!("{expiries:?}") };
    assert!(expires_at <= kernel.now() + kernel.settings.audit_retention);
    assert!(expires_at + Duration::from_mins(1) > kernel.now() + kernel.settings.audit_retention);
    // Then it is gone for whoever reads, whether or not the store has discarded it.
    store.rows.lock().1.values_mut().for_each(|row| row.2 = kernel.now());
    assert_eq!(rows(&kernel).await, []);
}

#[tokio::test]
async fn a_count_that_could_not_be_written_is_written_with_the_next() {
    let (kernel, store) = kernel();
    for error in [StoreError::Unavailable, StoreError::Full] {
        happen(&kernel, &Event::failure("login.failed", "")).await;
        store.next.lock().push(Err(error));
        kernel.write_counts().await;
        assert_eq!(rows(&kernel).await, []);
    }
    happen(&kernel, &Event::failure("login.failed", "")).await;
    kernel.write_counts().await;
    kernel.write_counts().await;
    assert_eq!(rows(&kernel).await, [("login.failed".to_owned(), false, "3".to_owned())]);
}

#[tokio::test]
async fn kinds_without_end_are_counted_as_one() {
    let (kernel, _) = kernel();
    for kind in 0..1000 {
        happen(&kernel, &Event::success(&format!("made-up.{kind}"), "")).await;
    }
    kernel.write_counts().await;
    let rows = rows(&kernel).await;
    assert_eq!(rows.len(), 257);
    assert!(rows.contains(&("other".into(), true, "744".into())));
}

#[tokio::test]
async fn what_somebody_repeats_is_recorded_once_a_minute_and_account() {
    let (kernel, store) = kernel();
    let ask = async |subject: &str| {
        kernel.run(&NOWHERE, |call| seldom(call, &Event::failure("admin.refused", subject))).await.unwrap();
    };
    for _ in 0..10 {
        ask("u").await;
        ask("v").await;
        ask("").await;
    }
    assert_eq!(rows(&kernel).await.len(), 2);
    // The first that names nobody remembers that, like any other.
    assert_eq!(store.applies.load(SeqCst), 3);
    kernel.write_counts().await;
    assert_eq!(rows(&kernel).await[2], ("admin.refused".into(), false, "10".into()));
}

#[tokio::test]
async fn a_volatile_store_keeps_the_newest_rows() {
    let (mut kernel, _) = kernel();
    kernel.book = Arc::new(audit::Book::new(true));
    let most = 10_000;
    for number in 0..most + 200 {
        let name = number.to_string();
        happen(&kernel, &Event::success(&name, "u")).await;
    }
    let rows = rows(&kernel).await;
    // Those that are too many go in batches.
    assert!((most..most + 32).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows.last().unwrap().0, (most + 199).to_string());
    assert_eq!(rows[0].0, (most + 200 - rows.len()).to_string(), "the oldest went first");
}
