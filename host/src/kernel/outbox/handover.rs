//! One call of the delivery: off every request's path, and given up when it does not come back.
use super::{Row, Watchful};
use crate::metrics::DELIVERY_SECONDS;
use countersign_plugin_api::{Delivery, Message, Secret, Time, Undelivered};
use std::time::Duration;

/// A delivery may take 30 seconds. What takes longer than this hangs: the message counts as one that may have been
/// taken, its place is free for the next, and the plugin is blamed.
const PATIENCE: Duration = Duration::from_secs(45);

/// A delivery may take 15 seconds to say whether it could send.
const PROBE: Duration = Duration::from_secs(20);

pub(super) async fn hand_over(delivery: Watchful, id: String, row: Row) -> Result<(), Undelivered> {
    let send = move |delivery: &dyn Delivery| {
        let message = Message {
            id: &id,
            to: &row.to,
            subject: &row.subject,
            text: Secret::new(row.text.as_str()),
            html: row.html.as_deref().map(Secret::new),
            expires_at: Time::from_secs(row.expires_at),
        };
        DELIVERY_SECONDS.time("", || delivery.send(&message))
    };
    in_time(delivery, PATIENCE, send).await.unwrap_or_else(|why| Err(Undelivered::Unknown(why)))
}

/// Asks whether it could send.
pub(super) async fn probe(delivery: Watchful) -> Result<(), Undelivered> {
    let asked = in_time(delivery, PROBE, Delivery::probe);
    asked.await.unwrap_or_else(|why| Err(Undelivered::Later(why)))
}

/// What the call answers; the error says why it answers nothing.
async fn in_time<T: Send + 'static>(
    delivery: Watchful,
    patience: Duration,
    call: impl FnOnce(&dyn Delivery) -> T + Send + 'static,
) -> Result<T, String> {
    let quarantine = delivery.quarantine().clone();
    let mut call = tokio::task::spawn_blocking(move || call(&*delivery));
    if let Ok(answer) = tokio::time::timeout(patience, &mut call).await {
        return answer.map_err(|_| "the delivery panicked".into());
    }
    quarantine.hangs();
    tokio::spawn(async move {
        // Too late to count, but its thread is free again.
        let _ = call.await;
        quarantine.came_back();
    });
    Err(format!("the delivery did not come back in {} seconds", patience.as_secs()))
}
