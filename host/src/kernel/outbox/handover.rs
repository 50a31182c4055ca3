//! One call of the delivery: off every request's path, and given up when it does not come back.
use super::{Row, Watchful};
use crate::metrics::DELIVERY_SECONDS;
use countersign_plugin_api::{Delivery, Message, Secret, Time, Undelivered};
use std::time::Duration;

/// A delivery may take 30 seconds. What takes longer than this hangs: the message counts as one that may have been
/// taken, its place is free for the next, and the plugin is blamed.
const PATIENCE: Duration = Duration::from_secs(45);

pub(super) async fn hand_over(delivery: Watchful, id: String, row: Row) -> Result<(), Undelivered> {
    let quarantine = delivery.quarantine().clone();
    let mut call = tokio::task::spawn_blocking(move || {
        let message = Message {
            id: &id,
            to: &row.to,
            subject: &row.subject,
            text: Secret::new(row.text.as_str()),
            html: row.html.as_deref().map(Secret::new),
            expires_at: Time::from_secs(row.expires_at),
        };
        DELIVERY_SECONDS.time("", || delivery.send(&message))
    });
    let uncertain = |why: String| Err(Undelivered::Unknown(why));
    if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut call).await {
        return answer.unwrap_or_else(|_| uncertain("the delivery panicked".into()));
    }
    quarantine.hangs();
    tokio::spawn(async move {
        // Too late to count, but its thread is free again.
        let _ = call.await;
        quarantine.came_back();
    });
    uncertain(format!("the delivery did not come back in {} seconds", PATIENCE.as_secs()))
}
