//! One thread against a model, with time and expiry.
use super::apply;
use anyhow::Result;
use countersign_plugin_api::{Batch, Expect, Found, Keys, MAX_SCAN, Page, Store, StoreError, Time};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A record as the model has it; its version is learned from the store.
#[derive(Debug, Clone)]
struct Held {
    value: Vec<u8>,
    version: Option<u64>,
    until: Time,
}

/// A key, and what it becomes.
type Change = (Vec<u8>, Option<Held>);

struct Model {
    random: StdRng,
    space: [u8; 8],
    now: u64,
    held: BTreeMap<Vec<u8>, Held>,
    /// The last version that each key has had: none is used twice.
    versions: HashMap<Vec<u8>, u64>,
}

/// The first step at which the store and the model differ.
pub(super) fn differs(store: &Arc<dyn Store>, steps: usize, seed: u64) -> Result<Option<String>> {
    let mut random = StdRng::seed_from_u64(seed);
    let space = random.next_u64().to_be_bytes();
    // Later than what the histories have shown to the store.
    let mut model = Model { random, space, now: 10, held: BTreeMap::new(), versions: HashMap::new() };
    for step in 0..steps {
        model.now += u64::from(model.random.random_ratio(1, 50));
        let found = match model.change(store)? {
            None if step % 20 == 0 => model.scan(store)?,
            found => found,
        };
        if let Some(found) = found {
            return Ok(Some(format!("step {step}: {found}")));
        }
    }
    Ok(None)
}

impl Model {
    fn now(&self) -> Time {
        Time::from_secs(self.now)
    }
    fn live(&self, key: &[u8]) -> Option<&Held> {
        self.held.get(key).filter(|held| held.until > self.now())
    }

    /// A batch of up to three keys; what differs afterwards.
    fn change(&mut self, store: &Arc<dyn Store>) -> Result<Option<String>> {
        let mut batch = Batch::new(self.now());
        let (mut holds, mut changes) = (true, Vec::new());
        for n in 0..self.random.random_range(1..4) {
            let key = [&self.space[..], format!("/{}", self.random.random_range(0..10) * 4 + n).as_bytes()]
                .concat();
            let expect = self.expectation(&key);
            holds &= match (expect, self.live(&key)) {
                (Expect::Any, _) | (Expect::Absent, None) => true,
                (Expect::Version(version), Some(held)) => held.version == Some(version),
                _ => false,
            };
            let to = self.random.random_ratio(4, 5).then(|| self.record());
            match &to {
                Some(held) => batch.put(&key, expect, &held.value, held.until),
                None => batch.delete(&key, expect),
            }
            changes.push((key, to));
        }
        let told = apply(store, batch);
        if told != if holds { Ok(()) } else { Err(StoreError::Conflict) } {
            return Ok(Some(format!("{told:?}, and the expectations hold: {holds}")));
        }
        self.compare(store, changes, holds)
    }

    fn expectation(&mut self, key: &[u8]) -> Expect {
        let version = self.live(key).and_then(|held| held.version);
        match (self.random.random_range(0..4), version) {
            (0, _) => Expect::Any,
            (1, _) => Expect::Absent,
            (2, Some(version)) => Expect::Version(version),
            _ => Expect::Version(self.random.random_range(0..1_000_000)),
        }
    }

    fn record(&mut self) -> Held {
        let lasts = self.random.random_range(1..5);
        let until =
            if self.random.random_bool(0.5) { Time::NEVER } else { Time::from_secs(self.now + lasts) };
        let length = self.random.random_range(0..300);
        Held { value: vec![self.random.random::<u8>(); length], version: None, until }
    }

    fn compare(
        &mut self,
        store: &Arc<dyn Store>,
        changes: Vec<Change>,
        applied: bool,
    ) -> Result<Option<String>> {
        let (mut asked, mut found) = (Keys::new(), Found::new());
        changes.iter().for_each(|(key, _)| asked.push(key));
        store.get(&asked, &mut found)?;
        for (at, (key, to)) in changes.into_iter().enumerate() {
            match to.filter(|_| applied) {
                Some(held) => drop(self.held.insert(key.clone(), held)),
                None if applied => drop(self.held.remove(&key)),
                None => {}
            }
            let seen = found.at(at).filter(|record| record.expires_at > self.now());
            let expected = self.live(&key).cloned();
            let (Some(seen), Some(expected)) = (&seen, &expected) else {
                if seen.is_none() && expected.is_none() {
                    continue;
                }
                return Ok(Some(format!(
                    "a record is there: {}; it should be: {}",
                    seen.is_some(),
                    expected.is_some()
                )));
            };
            let version = expected.version.unwrap_or(seen.version);
            if seen.value != expected.value || seen.expires_at != expected.until || seen.version != version {
                return Ok(Some(format!("version {} of a record instead of {expected:?}", seen.version)));
            }
            let last = self.versions.insert(key.clone(), seen.version).unwrap_or(0);
            if expected.version.is_none() && seen.version <= last {
                return Ok(Some(format!("version {} after {last}", seen.version)));
            }
            if let Some(held) = self.held.get_mut(&key) {
                held.version = Some(seen.version);
            }
        }
        Ok(None)
    }

    fn scan(&self, store: &Arc<dyn Store>) -> Result<Option<String>> {
        let mut page = Page::new();
        store.scan(&self.space, None, MAX_SCAN, &mut page)?;
        let all = (0..page.len()).filter_map(|at| page.at(at));
        let seen: Vec<_> = all
            .filter(|(_, record)| record.expires_at > self.now())
            .map(|(key, record)| (key.to_vec(), record.value.to_vec()))
            .collect();
        let live = self.held.iter().filter(|(_, held)| held.until > self.now());
        let expected: Vec<_> = live.map(|(key, held)| (key.clone(), held.value.clone())).collect();
        let differs = seen != expected;
        Ok(differs.then(|| format!("a scan sees {} records instead of {}", seen.len(), expected.len())))
    }
}
