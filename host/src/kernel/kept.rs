//! What a reload takes over: plugins that are the same as before, and every library that was ever opened.
//!
//! A plugin is its library and its table. While neither changes it is the same plugin, and stays with what it has under
//! way: the connections of a delivery, the records of a store in memory.
use super::{loader::Candidate, quarantine::Quarantine};
use countersign_plugin_api::kernel::{Collected, Loaded};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, path::Path, sync::Arc};

/// Which plugin it is: the hash of its library, and of the settings that it was registered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    library: [u8; 32],
    /// A hash, because settings may hold secrets.
    settings: [u8; 32],
}

impl Identity {
    pub(super) fn of(library: [u8; 32], table: &str, folder: &Path) -> Self {
        let mut settings = Sha256::new();
        // JSON holds no NUL, so the two cannot run into each other.
        for part in [table.as_bytes(), &[0], folder.as_os_str().as_encoded_bytes()] {
            settings.update(part);
        }
        Self { library, settings: settings.finalize().into() }
    }
}

/// A store that another would take the place of while requests are served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OtherStore {
    Library,
    Settings,
}

/// A plugin in use.
#[derive(Clone)]
pub(super) struct Registered {
    pub(super) identity: Identity,
    pub(super) collected: Collected,
    /// How it stands with it.
    pub(super) quarantine: Arc<Quarantine>,
}

/// The plugins in use, by name, and all that was opened.
#[derive(Default)]
pub(super) struct Kept {
    plugins: HashMap<String, Registered>,
    /// The name of the store in use, and of its plugin.
    store: Option<(String, String)>,
    pub(super) libraries: Arc<Libraries>,
}

impl Kept {
    /// No plugin yet, and the libraries of those before.
    pub(super) fn after(before: &Self) -> Self {
        Self { libraries: before.libraries.clone(), ..Self::default() }
    }

    /// The name of the store that serves.
    pub(super) fn store_name(&self) -> Option<&str> {
        self.store.as_ref().map(|(name, _)| name.as_str())
    }

    pub(super) fn keep(&mut self, plugin: &str, registered: Registered, store: &str) {
        if registered.collected.stores.iter().any(|(name, _)| name == store) {
            self.store = Some((store.to_owned(), plugin.to_owned()));
        }
        self.plugins.insert(plugin.to_owned(), registered);
    }

    /// How it stands with each plugin.
    pub(super) fn quarantines(&self) -> impl Iterator<Item = &Quarantine> {
        self.plugins.values().map(|plugin| &*plugin.quarantine)
    }

    /// What that plugin has registered, if it is the same plugin still; `None` when it is to be registered anew.
    ///
    /// A store is never registered beside the one that serves. One in memory would begin empty. Two libraries that
    /// each bring SQLite, at work on one file in one process, lose each other's locks: POSIX drops them all when the
    /// process closes any descriptor of the file (sqlite.org/howtocorrupt.html, section 2.2.1).
    pub(super) fn same(&self, plugin: &str, now: Identity) -> Result<Option<&Registered>, OtherStore> {
        match self.plugins.get(plugin) {
            Some(before) if before.identity == now => Ok(Some(before)),
            Some(before) if self.store.as_ref().is_some_and(|(_, of)| of == plugin) => {
                Err(if before.identity.library == now.library {
                    OtherStore::Settings
                } else {
                    OtherStore::Library
                })
            }
            _ => Ok(None),
        }
    }

    /// The plugins that are not those of `before`, and those that are no more.
    pub(super) fn changes_since(&self, before: &Self) -> (Vec<String>, Vec<String>) {
        let is_other = |(name, plugin): &(&String, &Registered)| {
            before.plugins.get(*name).is_none_or(|before| before.identity != plugin.identity)
        };
        let mut changed: Vec<String> = self.plugins.iter().filter(is_other).map(|p| p.0.clone()).collect();
        let is_gone = |name: &&String| !self.plugins.contains_key(*name);
        let mut gone: Vec<String> = before.plugins.keys().filter(is_gone).cloned().collect();
        changed.sort_unstable();
        gone.sort_unstable();
        (changed, gone)
    }
}

/// What was opened, by the hash of its bytes. A library is never unloaded, so the same one is not opened twice, and a
/// reload costs memory only for what is new.
#[derive(Default)]
pub(super) struct Libraries(Mutex<HashMap<[u8; 32], Loaded>>);

impl Libraries {
    pub(super) fn open(&self, candidate: Candidate) -> Result<Loaded, String> {
        let mut opened = self.0.lock();
        let sha256 = *candidate.sha256();
        if let Some(loaded) = opened.get(&sha256) {
            return Ok(*loaded);
        }
        let loaded = candidate.open()?;
        opened.insert(sha256, loaded);
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::Plain;

    fn identity(library: u8, table: &str) -> Identity {
        Identity::of([library; 32], table, Path::new("/etc/countersign"))
    }

    fn registered(identity: Identity, collected: Collected) -> Registered {
        Registered { identity, collected, quarantine: Quarantine::new("p") }
    }

    #[test]
    fn a_plugin_is_its_library_its_table_and_where_its_paths_start() {
        let one = identity(1, "{}");
        assert!(one == identity(1, "{}"));
        assert!(one != identity(2, "{}") && one != identity(1, r#"{"a":1}"#));
        assert!(one != Identity::of([1; 32], "{}", Path::new("/etc")));
    }

    #[test]
    fn the_same_is_kept_another_is_new_and_another_store_is_refused() {
        let mut before = Kept::default();
        let mut store = Collected::default();
        store.stores.push(("s".into(), Arc::new(Plain::default())));
        before.keep("store-s", registered(identity(1, "{}"), store.clone()), "s");
        before.keep("mfa", registered(identity(2, "{}"), Collected::default()), "s");
        let same = |plugin, now| before.same(plugin, now).map(|collected| collected.is_some());
        for (plugin, now, answer) in [
            ("store-s", identity(1, "{}"), Ok(true)),
            ("store-s", identity(1, "{\"a\":1}"), Err(OtherStore::Settings)),
            ("store-s", identity(9, "{}"), Err(OtherStore::Library)),
            ("mfa", identity(2, "{}"), Ok(true)),
            ("mfa", identity(9, "{}"), Ok(false)),
            ("delivery-d", identity(9, "{}"), Ok(false)),
        ] {
            assert_eq!(same(plugin, now), answer, "{plugin}");
        }
        let mut after = Kept::after(&before);
        after.keep("store-s", registered(identity(1, "{}"), store), "s");
        after.keep("delivery-d", registered(identity(3, "{}"), Collected::default()), "s");
        assert_eq!(after.changes_since(&before), (vec!["delivery-d".into()], vec!["mfa".into()]));
    }
}
