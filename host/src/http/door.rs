//! How many requests are begun at once. A connection is 2 KiB, a request that is under way 25 KiB, most of it the HTTP
//! library's buffers: of a crowd the rest waits in front of the door, until one of those inside is answered.
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// After that it is begun all the same: those inside may all wait for something that does not come.
const PATIENCE: Duration = Duration::from_millis(100);

/// What connections pass to begin a request, in the order in which they came.
#[derive(Clone)]
pub(super) struct Door(Arc<Semaphore>);

/// A place inside, given back when dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Door {
    pub(super) fn new(room: usize) -> Self {
        Self(Arc::new(Semaphore::new(room)))
    }

    /// A place, or none after a while.
    pub(super) async fn enter(&self) -> Option<Place> {
        match self.0.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => timeout(PATIENCE, self.0.clone().acquire_owned()).await.ok()?.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_crowd_waits_outside_and_not_for_ever() {
        let (door, begun) = (Door::new(3), Instant::now());
        let mut inside = Vec::new();
        for _ in 0..3 {
            inside.push(door.enter().await.expect("room"));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let next = tokio::spawn({
            let door = door.clone();
            async move { door.enter().await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(door.enter().await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(!next.await.unwrap(), "nobody came out");

        let next = tokio::spawn({
            let door = door.clone();
            async move { door.enter().await.is_some() }
        });
        tokio::task::yield_now().await;
        inside.pop();
        assert!(next.await.unwrap());
        assert_eq!(begun.elapsed(), PATIENCE, "at once");
    }
}
