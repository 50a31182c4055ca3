//! The kernel's side of the boundary: what a host needs to load plugins. Plugins do not use it.
use crate::{
    abi::{
        flat::{Flat, Item},
        guard,
        objects::{DONE, DeciderObject, DeliveryObject, RegistrarAbi, StoreObject},
    },
    about::About,
    bridge,
    delivery::{self, Delivery},
    error::Error,
    gate::Gate,
    http::{Handler, Route},
    plugin::{GATE, OPERATION, PAGE, ROUTE, TEXTS},
    store::Store,
    store_bridge,
};
use std::{fmt, sync::Arc};

pub use crate::abi::{LogSink, completion::OnDone, module::Loaded};

/// Why an opened library cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible(String);

impl Incompatible {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}
impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Incompatible {}

/// An error in a plugin's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The keys that lead to the value, such as `totp.skew_steps`; `.` is the table itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Why a plugin did not register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// Its table is wrong.
    Config(ConfigError),
    /// It, or the kernel's table, refused.
    Refused(Error),
    /// It panicked.
    Panicked,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(ConfigError { path, message }) if path.is_empty() || path == "." => {
                f.write_str(message)
            }
            Self::Config(ConfigError { path, message }) => write!(f, "{path}: {message}"),
            Self::Refused(error) => write!(f, "{error}"),
            Self::Panicked => f.write_str("it panicked while registering"),
        }
    }
}
impl std::error::Error for LoadError {}

/// What one plugin registered.
#[derive(Default, Clone)]
pub struct Collected {
    /// Stores by name.
    pub stores: Vec<(String, Arc<dyn Store>)>,
    /// Deliveries by name.
    pub deliveries: Vec<(String, Arc<dyn Delivery>)>,
    /// Routes.
    pub routes: Vec<(Route, Arc<dyn Handler>)>,
    /// Operations by name.
    pub operations: Vec<(String, Arc<dyn Handler>)>,
    /// Gates, with the record that each reads.
    pub gates: Vec<(String, Arc<dyn Gate>)>,
    /// Pages by name: their sources.
    pub pages: Vec<(String, String)>,
    /// Texts of pages by locale: their sources.
    pub texts: Vec<(String, String)>,
    problem: Option<String>,
}

impl Collected {
    /// A plugin may ignore that a registration was refused; the kernel does not.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self.problem {
            Some(problem) => Err(Error::new(problem)),
            None => Ok(self),
        }
    }

    fn taken(&self, entry: &Item<'_>) -> Option<String> {
        let name = entry.text();
        let stores = self.stores.iter().any(|(n, _)| n == name);
        let deliveries = self.deliveries.iter().any(|(n, _)| n == name);
        let route = Route::read(entry);
        let routes = self.routes.iter().any(|(r, _)| r.method == route.method && r.path == route.path);
        match entry.tag {
            crate::plugin::STORE if stores => Some(format!("the store `{name}` is registered twice")),
            crate::plugin::DELIVERY if deliveries => {
                Some(format!("the delivery `{name}` is registered twice"))
            }
            ROUTE if routes => Some(format!("the route {} {} is registered twice", route.method, route.path)),
            ROUTE if !route.path.starts_with('/') => {
                Some(format!("the route path `{}` does not start with /", route.path))
            }
            OPERATION if self.operations.iter().any(|(n, _)| n == name) => {
                Some(format!("the operation `{name}` is registered twice"))
            }
            PAGE if self.pages.iter().any(|(n, _)| n == name) => {
                Some(format!("the page `{name}` is registered twice"))
            }
            TEXTS if self.texts.iter().any(|(n, _)| n == name) => {
                Some(format!("the texts of `{name}` are registered twice"))
            }
            GATE if !self.gates.is_empty() => Some("two gates are registered".into()),
            ROUTE => None,
            _ if name.is_empty() => Some("something is registered without a name".into()),
            _ => None,
        }
    }

    fn add(
        &mut self,
        entry: &Flat,
        reason: &mut Flat,
        put: impl FnOnce(&mut Self, &Item<'_>) -> bool,
    ) -> u32 {
        guard(|| {
            let item = entry.is_sound().then(|| entry.at(0)).flatten().unwrap_or_default();
            let flaw = || About::read(entry).flaw().filter(|_| item.tag == ROUTE);
            let problem = match self.taken(&item).or_else(flaw) {
                Some(problem) => problem,
                None if put(self, &item) => return DONE,
                None => "it registers something that this kernel does not know".into(),
            };
            reason.push(Item::bytes(0, problem.as_bytes()));
            self.problem.get_or_insert(problem);
            1
        })
        .unwrap_or(1)
    }
}

impl RegistrarAbi for Collected {
    fn add_store(&mut self, entry: &Flat, object: StoreObject, reason: &mut Flat) -> u32 {
        self.add(entry, reason, |all, item| {
            all.stores.push((item.text().into(), Arc::new(store_bridge::Imported(object))));
            true
        })
    }
    fn add_delivery(&mut self, entry: &Flat, object: DeliveryObject, reason: &mut Flat) -> u32 {
        self.add(entry, reason, |all, item| {
            all.deliveries.push((item.text().into(), Arc::new(delivery::Imported(object))));
            true
        })
    }
    fn add_decider(&mut self, entry: &Flat, object: DeciderObject, reason: &mut Flat) -> u32 {
        self.add(entry, reason, |all, item| {
            match item.tag {
                ROUTE => {
                    let route = Route { about: About::read(entry), ..Route::read(item) };
                    all.routes.push((route, Arc::new(bridge::ImportedHandler(object))));
                }
                OPERATION => {
                    all.operations.push((item.text().into(), Arc::new(bridge::ImportedHandler(object))));
                }
                GATE => all.gates.push((item.text().into(), Arc::new(bridge::ImportedGate(object)))),
                _ => return false,
            }
            true
        })
    }
    fn add_data(&mut self, entry: &Flat, reason: &mut Flat) -> u32 {
        self.add(entry, reason, |all, item| {
            let data = (item.text().into(), item.text_b().into());
            match item.tag {
                PAGE => all.pages.push(data),
                TEXTS => all.texts.push(data),
                _ => return false,
            }
            true
        })
    }
}
