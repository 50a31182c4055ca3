//! The kernel: loads plugins, keeps their table, and carries out what they decide.
//!
//! The life of a plugin: read without running → pin and ABI verified → opened → registered into a table of its
//! own → linked → serving, when the table is frozen and reads take no lock. Libraries are never unloaded.
mod act;
pub(crate) mod audit;
mod call;
mod clock;
mod elf;
mod execute;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod hashing;
mod health;
mod inventory;
mod kept;
mod keys;
mod loader;
mod operation;
mod outbox;
mod path;
mod people;
mod place;
mod placement;
#[cfg(any(primitives, test))]
#[doc(hidden)]
pub mod primitives;
mod quarantine;
mod registry;
mod reload;
mod remembered;
mod reseal;
mod seal;
mod state;
mod token;
mod view;
mod watchdog;

#[cfg(test)]
mod tests;

pub use audit::{Origin, Record as AuditRecord};
pub use keys::{Key, KeyError, Ring, Role, State};
pub use loader::{Candidate, hex};
pub use registry::{PluginInfo, StartError, Strictness};

pub(crate) use act::{Answer, Granted, PluginCookie, SignIn, absorb};
pub(crate) use call::Call;
pub(crate) use hashing::{Cost, strangers as strangers_hashed_for};
pub(crate) use inventory::{Inventory, sealed_with, unreadable_with};
pub(crate) use keys::fill;
pub(crate) use outbox::GROUP as OUTBOX;
pub(crate) use path::matches;
pub(crate) use people::{Letter, People};
pub(crate) use place::{HOST, Place};
pub(crate) use registry::{Mounted, in_use, is_reserved};
pub(crate) use reload::Changes;
pub(crate) use state::PluginState;
pub(crate) use view::View;
pub(crate) use watchdog::answered;

use crate::{config::Config, pages::Offered};
use clock::Clock;
use countersign_plugin_api::{
    Caller, Delivery, Latency, Problem, Refusal, Standing, Store, StoreError, Subject, Time, Usage, Verdict,
};
use health::Health;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use place::Places;
use quarantine::Watched;
use registry::Registry;
use seal::Seal;
use sha2::Sha256;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// What of the configuration the kernel needs at run time.
pub(crate) struct Settings {
    /// Who tokens are for: `public_url`.
    pub(crate) audience: String,
    pub(crate) audit_retention: Duration,
    /// Whether the store forgets everything at a restart.
    pub(crate) volatile: bool,
    /// How long a session lasts without activity.
    pub(crate) idle_ttl: Duration,
    /// How long a session lasts at the most.
    pub(crate) absolute_ttl: Duration,
    /// What a hash of a new password costs.
    pub(crate) password_cost: Cost,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self {
            audience: config.public_url.origin().to_owned(),
            audit_retention: config.audit_retention,
            volatile: config.store_is_volatile(),
            idle_ttl: config.session.idle_ttl,
            absolute_ttl: config.session.absolute_ttl,
            password_cost: Cost {
                memory: config.password.memory_kib,
                iterations: config.password.iterations,
                parallelism: config.password.parallelism,
            },
        }
    }
}

/// Loaded plugins over a store, ready to decide.
pub struct Kernel {
    pub(crate) settings: Settings,
    store: Arc<dyn Store>,
    latency: Latency,
    delivery: Option<Arc<Watched<dyn Delivery>>>,
    /// The table of plugins, frozen.
    registry: Registry,
    people: Box<dyn People>,
    // What is shared with the kernel that takes this one's place: see `reload`.
    ring: Arc<RwLock<Arc<Ring>>>,
    seal: Arc<Seal>,
    places: Places,
    pepper: Hmac<Sha256>,
    outbox: Arc<outbox::Outbox>,
    book: Arc<audit::Book>,
    pool: Arc<hashing::Pool>,
    clock: Arc<Clock>,
    health: Arc<Health>,
    /// One place in the queue for each of many homes, for contenders after a conflict.
    turns: Arc<[tokio::sync::Mutex<()>]>,
    start: [u8; 4],
    rows: AtomicU32,
}

impl Kernel {
    /// Everything that a start would refuse about keys and plugins, without registering any.
    pub fn check(config: &Config, strict: Strictness) -> Result<(), StartError> {
        let keys = Ring::of(config).err().map(|error| error.to_string());
        let plugins = registry::check(config, strict).err().unwrap_or_default();
        let problems: Vec<String> = keys.into_iter().chain(plugins.0).collect();
        if problems.is_empty() { Ok(()) } else { Err(StartError(problems)) }
    }

    /// Opens a plugin that is about to be installed, and asks it about its table if it is in use. Nothing is
    /// registered. The error names `file`.
    pub fn try_out(config: &Config, file: &str, candidate: Candidate) -> Result<(), String> {
        registry::try_out_file(config, file, candidate)
    }

    /// Loads, registers and links all that is configured. Refuses, with every reason there is.
    pub(crate) async fn start(
        config: &Config,
        strict: Strictness,
        people: Box<dyn People>,
    ) -> Result<Self, StartError> {
        let ring = Ring::of(config).map_err(|error| StartError::one(error.to_string()));
        let registry = registry::assemble(config, strict, &kept::Kept::default());
        let (ring, registry) = match (ring, registry) {
            (Ok(ring), Ok(registry)) => (Arc::new(ring), registry),
            (ring, registry) => {
                let both = [ring.err(), registry.err()].into_iter().flatten().flat_map(|error| error.0);
                return Err(StartError(both.collect()));
            }
        };
        let workers = config.password.max_concurrent_hashes;
        let kernel = Self::over(registry, ring, people, Settings::of(config), workers)?;
        kernel.recall(strict.ungated).await?;
        Ok(kernel)
    }

    /// A kernel over a table and a ring, before it has asked the store anything.
    fn over(
        registry: Registry,
        ring: Arc<Ring>,
        people: Box<dyn People>,
        settings: Settings,
        workers: usize,
    ) -> Result<Self, StartError> {
        watchdog::start().map_err(|error| {
            StartError::one(format!("no thread that watches calls into plugins can be started: {error}"))
        })?;
        let mut salt = [0; 16];
        keys::fill(&mut salt);
        let mut start = [0; 4];
        keys::fill(&mut start);
        let pepper = ring.active(Role::Pepper).map(|key| key.derive("hash"));
        let pepper = pepper.and_then(|key| Hmac::new_from_slice(key.expose()).ok());
        Ok(Self {
            book: Arc::new(audit::Book::new(settings.volatile)),
            settings,
            latency: latency(&*people, &*registry.store),
            people,
            store: registry.store.clone(),
            delivery: registry.delivery.clone(),
            registry,
            seal: Arc::new(Seal::new(ring.clone(), salt).map_err(StartError::one)?),
            places: Places::new(&ring).map_err(StartError::one)?,
            pepper: pepper
                .ok_or_else(|| StartError::one("the key file has no active key with role `pepper`"))?,
            ring: Arc::new(RwLock::new(ring)),
            pool: Arc::new(pool(workers)?),
            outbox: Arc::new(outbox::Outbox::new()),
            clock: Arc::new(Clock::new()),
            health: Arc::default(),
            turns: (0..256).map(|_| tokio::sync::Mutex::default()).collect(),
            start,
            rows: AtomicU32::new(0),
        })
    }

    /// The plugins that were read, in the order of the configuration.
    pub fn plugins(&self) -> &[PluginInfo] {
        &self.registry.plugins
    }

    /// The pages that plugins bring, and what these say.
    pub(crate) fn pages(&self) -> &[Offered] {
        &self.registry.pages
    }

    /// Whether there is a delivery, so that mails can be sent.
    pub fn sends_mail(&self) -> bool {
        self.delivery.is_some()
    }

    /// The store of a configuration and nothing else of it: for what fills a store before a host starts on it.
    pub(crate) fn open_store(config: &Config, strict: Strictness) -> Result<Arc<dyn Store>, StartError> {
        registry::open_store(config, strict)
    }

    /// What the store holds.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        self.attend(|| self.store.usage()).map_err(|_| StoreError::Unavailable)?
    }

    /// Refuses while the store is nearly full: nothing is evicted there, so those who have an account need the rest.
    pub(crate) fn has_room_for_accounts(&self) -> Result<(), Refusal> {
        let held = self.store.usage()?;
        let full = |held: u64, most: u64| most > 0 && held >= most - most / 10;
        if full(held.records, held.max_records) || full(held.bytes, held.max_bytes) {
            return Err(Refusal::new(Problem::StoreUnavailable)
                .saying("There is no room for another account at present")
                .because("nine tenths of the store's capacity are used, so nobody can register"));
        }
        Ok(())
    }

    /// The time that everything but TOTP goes by.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Replaces the keys that sign and check tokens, and that seal. The other keys that the store needs must be the
    /// same, and the one that has sealed so far must be there to open what it has sealed.
    pub fn replace_ring(&self, ring: Ring) -> Result<(), KeyError> {
        self.accepts(&ring)?;
        let ring = Arc::new(ring);
        let mut salt = [0; 16];
        keys::fill(&mut salt);
        self.seal.replace(ring.clone(), salt).map_err(|_| KeyError::changed())?;
        *self.ring.write() = ring;
        Ok(())
    }

    fn accepts(&self, ring: &Ring) -> Result<(), KeyError> {
        let before = self.ring();
        let same = |role| before.active(role).map(Key::kid) == ring.active(role).map(Key::kid);
        let seals = before.active(Role::Seal).map(Key::kid);
        let opens = ring.keys().iter().any(|key| key.role() == Role::Seal && Some(key.kid()) == seals);
        if opens && [Role::Index, Role::Pepper].into_iter().all(same) {
            Ok(())
        } else {
            Err(KeyError::changed())
        }
    }

    /// All routes of plugins.
    pub(crate) fn mounted(&self) -> impl Iterator<Item = &Mounted> {
        self.registry.routes.values().flatten()
    }

    /// The routes of plugins at a path below `/api/auth`, one for each method.
    pub(crate) fn routes(&self, path: &str) -> &[Mounted] {
        let routes = &self.registry.routes;
        let pattern = || routes.iter().find(|(pattern, _)| matches(pattern, path).is_some());
        routes.get(path).or_else(|| pattern().map(|(_, mounted)| mounted)).map_or(&[], Vec::as_slice)
    }

    /// The record that the gate reads of a subject, to be read along with its session.
    pub(crate) fn gate_key(&self, place: Place) -> Option<Vec<u8>> {
        self.registry.gate.as_ref().map(|gate| place.key(&gate.plugin, gate.record.as_bytes()))
    }

    /// How the caller stands with the gate; without one, nobody is enrolled and nothing more is asked for.
    pub(crate) fn standing(&self, call: &Call<'_>) -> Result<Option<Standing>, Refusal> {
        call.caller().map_or(Ok(None), |caller| self.standing_of(call, caller))
    }

    /// How a session stands with the gate, be it the caller's or one that is being made.
    pub(crate) fn standing_of(&self, call: &Call<'_>, caller: &Caller) -> Result<Option<Standing>, Refusal> {
        let Some(entry) = &self.registry.gate else { return Ok(None) };
        entry.gate.standing(caller, &View { call, plugin: &entry.plugin }).map(Some)
    }

    /// Asks the gate about a login and takes over what belongs to its verdict; answers that, and its cookies.
    pub(crate) fn after_primary(
        &self,
        call: &Call<'_>,
        login: &countersign_plugin_api::Login,
    ) -> Result<(Verdict, Vec<PluginCookie>), Refusal> {
        let Some(entry) = &self.registry.gate else { return Ok((Verdict::Proceed, Vec::new())) };
        let decision = entry.gate.after_primary(login, &View { call, plugin: &entry.plugin })?;
        let answered = act::absorb(call, &entry.plugin, &decision)?;
        match answered.answer {
            act::Answer::Verdict(verdict) => Ok((verdict, answered.cookies)),
            act::Answer::Refusal(refusal) => Err(refusal),
            _ => Err(Refusal::new(Problem::PluginFault).because("the gate gave no verdict")),
        }
    }

    /// The rules that a new password breaks.
    pub(crate) fn password_violations(&self, password: &str, words: &[&str]) -> Result<Vec<String>, Refusal> {
        let secret = countersign_plugin_api::Secret::new(password);
        match &self.registry.gate {
            Some(entry) => entry.gate.password_violations(&secret, words),
            // Without a plugin that has a policy: NIST SP 800-63B-4, 3.1.1.2, for passwords that stand alone.
            None => Ok(if password.chars().count() < 15 { vec!["too-short".into()] } else { Vec::new() }),
        }
    }

    /// The plugin that gates logins.
    pub(crate) fn gate(&self) -> Option<&str> {
        self.registry.gate.as_ref().map(|gate| gate.plugin.as_str())
    }

    /// The account of that id, whoever keeps it.
    pub(crate) fn subject(&self, call: &Call<'_>, id: &str) -> Result<Option<Subject>, Refusal> {
        self.people.subject(call, id)
    }

    /// The account of that address, whoever keeps it.
    pub(crate) fn subject_of(&self, call: &Call<'_>, address: &str) -> Result<Option<Subject>, Refusal> {
        self.people.subject_of(call, address)
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().clone()
    }
    fn pepper(&self, hash: &[u8; 32]) -> [u8; 32] {
        let mut mac = self.pepper.clone();
        mac.update(hash);
        mac.finalize().into_bytes().into()
    }
    /// A keyed hash of a plugin's own; the lengths keep the parts apart.
    fn mac(&self, plugin: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.pepper.clone();
        for part in std::iter::once(&plugin.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
    /// Tells the rows of one second, and of two processes, apart.
    fn next_row(&self) -> [u8; 8] {
        let mut row = [0; 8];
        row[..4].copy_from_slice(&self.rows.fetch_add(1, Relaxed).to_be_bytes());
        row[4..].copy_from_slice(&self.start);
        row
    }
}

fn pool(workers: usize) -> Result<hashing::Pool, StartError> {
    hashing::Pool::new(workers)
        .map_err(|error| StartError::one(format!("no thread for password hashes can be started: {error}")))
}

/// Whether a call may wait on a network, for accounts or for records.
fn latency(people: &dyn People, store: &dyn Store) -> Latency {
    match people.latency() {
        Latency::Waits => Latency::Waits,
        Latency::Quick => store.latency(),
    }
}
