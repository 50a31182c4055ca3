//! One kernel in place of another, while requests are served.
//!
//! Until the last request that the old one has begun is answered, both are at work on one store. That is safe because
//! nothing that a decision rests on is held by a kernel: what was read is expected unchanged by the batch that
//! follows, whoever writes in between. What keeps order beyond that is shared: the clock, the turns of
//! contenders, the sealing key with its nonces, the keys of tokens, the queue of messages with its one worker.
use super::{
    Kernel, People, Registry, Ring, Settings, StartError, Strictness, hashing::Pool, kept::Kept, keys,
    latency, pool, registry,
};
use crate::config::Config;
use std::sync::{Arc, atomic::AtomicU32};

/// The plugins that a reload has changed, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New, or with another library or other settings than before.
    pub(crate) changed: Vec<String>,
    /// In use no more.
    pub(crate) removed: Vec<String>,
}

impl Kernel {
    /// A kernel that can take this one's place: plugins and settings as they are configured now, over the same store.
    /// Plugins that are the same as before are taken over. Refuses with every reason there is, and then nothing has
    /// changed. The keys are looked at and left: both kernels have one ring, which is replaced
    /// ([`replace_ring`](Self::replace_ring)) when nothing else can refuse. The event loop must have several threads: plugins are registered on this one.
    pub(crate) async fn reload(
        &self,
        config: &Config,
        strict: Strictness,
        people: Box<dyn People>,
    ) -> Result<Self, StartError> {
        let before: &Kept = &self.registry.kept;
        if let Some(store) = before.store_name().filter(|store| *store != config.store) {
            let wanted = &config.store;
            return Err(StartError::one(format!(
                "[store] use = \"{wanted}\": a running host keeps its store, which is `{store}`; restart it"
            )));
        }
        let ring = Ring::of(config).and_then(|ring| self.accepts(&ring));
        let registry = apart(|| registry::assemble(config, strict, before));
        let registry = match (ring, registry) {
            (Ok(()), Ok(registry)) => registry,
            (ring, registry) => {
                let ring = ring.err().map(|error| error.to_string());
                let others = registry.err().unwrap_or_default();
                return Err(StartError(ring.into_iter().chain(others.0).collect()));
            }
        };
        let workers = config.password.max_concurrent_hashes;
        let pool = if workers == self.pool.workers() { self.pool.clone() } else { Arc::new(pool(workers)?) };
        let kernel = self.succeeded_by(registry, people, Settings::of(config), pool);
        kernel.recall(strict.ungated).await?;
        Ok(kernel)
    }

    /// A kernel over the same store.
    pub(super) fn succeeded_by(
        &self,
        registry: Registry,
        people: Box<dyn People>,
        settings: Settings,
        pool: Arc<Pool>,
    ) -> Self {
        let mut start = [0; 4];
        keys::fill(&mut start);
        Self {
            settings,
            latency: latency(&*people, &*self.store),
            people,
            store: self.store.clone(),
            delivery: registry.delivery.clone(),
            registry,
            ring: self.ring.clone(),
            seal: self.seal.clone(),
            places: self.places.clone(),
            pepper: self.pepper.clone(),
            outbox: self.outbox.clone(),
            book: self.book.clone(),
            pool,
            clock: self.clock.clone(),
            health: self.health.clone(),
            turns: self.turns.clone(),
            start,
            rows: AtomicU32::new(0),
        }
    }

    /// What is other than in the kernel before.
    pub(crate) fn changes_since(&self, before: &Self) -> Changes {
        let (changed, removed) = self.registry.kept.changes_since(&before.registry.kept);
        Changes { changed, removed }
    }
}

/// Does it on a thread of its own. Libraries are large; each thread of the event loop that had held them all once would
/// keep that much memory for good (in glibc every thread has an arena, and one that ends leaves it to the next).
fn apart<T: Send>(assemble: impl FnOnce() -> Result<T, StartError> + Send) -> Result<T, StartError> {
    let panicked = |_| Err(StartError::one("the plugins could not be assembled: see the log"));
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| scope.spawn(assemble).join().unwrap_or_else(panicked))
    })
}
