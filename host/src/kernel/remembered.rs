//! What a store remembers of the host that works on it: the clock's mark, which plugin gates its logins, and its keys.
use super::{HOST, Kernel, Origin, StartError};
use crate::records::{decode, encode};
use countersign_plugin_api::{Event, Refusal, Time};
use std::collections::BTreeSet;

/// The group of these records.
const KERNEL: &str = ":kernel";
const CLOCK: &[u8] = b"clock";
const GATED: &[u8] = b"gated";
const KEYS: &[u8] = b"keys";

impl Kernel {
    /// Asks the store at a start.
    pub(super) async fn recall(&self, ungated: bool) -> Result<(), StartError> {
        let said = |refusal: Refusal| {
            let why = if refusal.log().is_empty() { refusal.detail() } else { refusal.log() };
            StartError::one(format!("the store does not answer: {why}"))
        };
        let origin = Origin { actor: "start".into(), ..Origin::default() };
        let mark = self.run(&origin, |call| call.read(self.clock_key())).await.map_err(said)?;
        if let Some(mark) = mark {
            let mark = (*mark).try_into().map(u64::from_be_bytes);
            self.clock.recall(mark.map_or(Time::EPOCH, Time::from_secs));
        }
        self.note_keys("start").await.map_err(said)?;
        let gate = self.registry.gate.as_ref().map(|gate| gate.plugin.clone());
        let remembered = self
            .run(&origin, |call| {
                let key = call.host_key(KERNEL, GATED);
                let before = call.read(key.clone())?;
                if let (Some(plugin), None) = (&gate, &before) {
                    call.put(key, plugin.as_bytes(), Time::NEVER, false)?;
                }
                Ok(before)
            })
            .await
            .map_err(said)?;
        match (remembered, gate) {
            (Some(before), None) if !ungated => {
                let plugin = String::from_utf8_lossy(&before).into_owned();
                Err(StartError::one(format!(
                    "this store's logins are gated by the plugin `{plugin}`, which is not loaded: without it every second factor would be skipped; install it again, or run `countersign plugin remove {plugin} --disarm`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The plugin by which the store remembers that logins are gated.
    pub async fn gated_by(&self) -> Result<Option<String>, Refusal> {
        let gate = self.run(&Origin::default(), |call| call.read(call.host_key(KERNEL, GATED))).await?;
        Ok(gate.map(|plugin| String::from_utf8_lossy(&plugin).into_owned()))
    }

    /// Forgets that logins were gated, so that a start without the gate is accepted.
    pub async fn disarm(&self) -> Result<(), Refusal> {
        let origin = Origin { actor: "cli".into(), ..Origin::default() };
        self.run(&origin, |call| {
            let key = call.host_key(KERNEL, GATED);
            if let Some(plugin) = call.read(key.clone())? {
                let plugin = String::from_utf8_lossy(&plugin);
                call.audit_row(HOST, &Event::success("gate.disarmed", "").with("plugin", &plugin), None);
                call.delete(key)?;
            }
            Ok(())
        })
        .await
    }

    /// Puts on record which keys came and went since the store was told last, however the file was changed. Keys of
    /// the environment are left out, which not every process has that works on a store.
    pub(crate) async fn note_keys(&self, actor: &str) -> Result<(), Refusal> {
        let ring = self.ring();
        let lasting = ring.keys().iter().filter(|key| !key.is_of_environment());
        let now: BTreeSet<String> =
            lasting.map(|key| format!("{} {}", key.role().name(), key.kid_text())).collect();
        let origin = Origin { actor: actor.into(), ..Origin::default() };
        self.run(&origin, |call| {
            let key = call.host_key(KERNEL, KEYS);
            let before = call.read(key.clone())?;
            let before = before.map(|bytes| decode::<BTreeSet<String>>(&bytes)).transpose()?;
            if before.as_ref() == Some(&now) {
                return Ok(());
            }
            // A store that is new has nothing to compare with.
            if let Some(before) = before {
                let list =
                    |all: Vec<&String>| all.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let (added, removed) =
                    (list(now.difference(&before).collect()), list(before.difference(&now).collect()));
                let event =
                    Event::success("keys.changed", "").with("added", &added).with("removed", &removed);
                call.audit_row(HOST, &event, None);
            }
            call.put(key, &encode(&now)?, Time::NEVER, false)
        })
        .await
    }

    pub(super) fn clock_key(&self) -> Vec<u8> {
        self.places.of(KERNEL).key(HOST, CLOCK)
    }
}
