//! A plugin, and how it registers.
use crate::{
    abi::{
        flat::{Flat, Item},
        objects::{self, DONE, RegistrarObject},
    },
    bridge,
    delivery::{self, Delivery},
    error::{Error, Result},
    gate::Gate,
    http::{Handler, Route},
    store::Store,
    store_bridge,
};
use serde::de::DeserializeOwned;

/// A plugin is its configuration, deserialised from its table in the host's TOML.
///
/// Refuse unknown keys with `#[serde(deny_unknown_fields)]`. The table of a plugin named `store-NAME` is
/// `[store.NAME]`, of `delivery-NAME` it is `[delivery.NAME]`, and of any other `[NAME]`; without a table it
/// is empty. A value `{ env = "NAME" }` or `{ file = "path" }` has been replaced by what it points to.
pub trait Plugin: DeserializeOwned + 'static {
    /// Whether it is for development only, because it shows what nobody else may see. A host that was not
    /// started with `--dev` then refuses it, and so does `config check`; installing it is no offence.
    const DEVELOPMENT_ONLY: bool = false;

    /// Looks at the configuration as a whole, without touching anything. `config check` calls it, and so
    /// does the host before `register`.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// Registers what the plugin offers. All of it counts, or, when this fails or panics, none.
    fn register(self, kernel: &mut Registrar<'_>) -> Result<()>;
}

/// The kernel's table, open only during [`Plugin::register`].
pub struct Registrar<'a> {
    inner: RegistrarObject<'a>,
}

pub(crate) const STORE: u32 = 1;
pub(crate) const DELIVERY: u32 = 2;
pub(crate) const ROUTE: u32 = 3;
pub(crate) const GATE: u32 = 4;
pub(crate) const OPERATION: u32 = 5;
pub(crate) const PAGE: u32 = 6;
pub(crate) const TEXTS: u32 = 7;

impl<'a> Registrar<'a> {
    pub(crate) fn new(inner: RegistrarObject<'a>) -> Self {
        Self { inner }
    }

    /// Registers a store under the name that `[store] use` gives.
    pub fn store(&mut self, name: &str, store: impl Store) -> Result<()> {
        let object = objects::store_object(store_bridge::Exported(store));
        let mut reason = Flat::default();
        told(self.inner.add_store(&entry(STORE, name), object, &mut reason), &reason)
    }
    /// Registers a delivery under the name that `[delivery] use` gives.
    pub fn delivery(&mut self, name: &str, delivery: impl Delivery) -> Result<()> {
        let object = objects::delivery_object(delivery::Exported(delivery));
        let mut reason = Flat::default();
        told(self.inner.add_delivery(&entry(DELIVERY, name), object, &mut reason), &reason)
    }
    /// Registers a route below `/api/auth/<plugin>`.
    pub fn route(&mut self, route: &Route, handler: impl Handler) -> Result<()> {
        let mut spec = Flat::with_capacity(1, 64);
        spec.push(route.item(ROUTE));
        route.about.write(&mut spec);
        let object = objects::decider_object(bridge::ExportedHandler(handler));
        let mut reason = Flat::default();
        told(self.inner.add_decider(&spec, object, &mut reason), &reason)
    }
    /// Registers an operation: a handler that the host, an embedder and the command line call by name, as
    /// `<plugin>.<name>`, with a JSON object as its body. Nobody reaches it over HTTP. Whoever calls it has
    /// been proven to be allowed to.
    pub fn operation(&mut self, name: &str, handler: impl Handler) -> Result<()> {
        let object = objects::decider_object(bridge::ExportedHandler(handler));
        let mut reason = Flat::default();
        told(self.inner.add_decider(&entry(OPERATION, name), object, &mut reason), &reason)
    }
    /// Registers the gate, which reads the record `record` of the subject it is asked about; the kernel
    /// reads it along with each session.
    pub fn gate(&mut self, record: &str, gate: impl Gate) -> Result<()> {
        let object = objects::decider_object(bridge::ExportedGate(gate));
        let mut reason = Flat::default();
        told(self.inner.add_decider(&entry(GATE, record), object, &mut reason), &reason)
    }
    /// Registers a page for people, as the text of its file. It is known as `<plugin>/<name>`.
    ///
    /// A page decides nothing. Its head, in TOML between two lines `---`, says at which path it stands, what it
    /// reads and where its forms go: both are routes of the API, which the host asks as if the browser had.
    /// What follows is a minijinja template of what is shown. With `alone = true` instead of `path` it is what a
    /// route may answer with ([`Decision::page`](crate::Decision::page)); with neither it is a part: of the page that
    /// `part_of` names, or of whichever template includes it.
    ///
    /// ```html
    /// ---
    /// path = "/settings/greeting"
    /// access = "session"
    /// read.greeting = "/hello/greeting"
    /// [form.change]
    /// post = "/hello/greeting"
    /// fields = { text = "text" }
    /// say = "hello.said.changed"
    /// ---
    /// {% extends "layout.html" %}
    /// {% block main %}<p>{{ t("hello.greeting", text=greeting.text) }}</p>{% endblock %}
    /// ```
    pub fn page(&mut self, name: &str, source: &str) -> Result<()> {
        self.data(PAGE, name, source)
    }
    /// Registers what pages say in a locale, such as `en`: TOML in which every key is below the plugin's name.
    /// English is what other locales fall back to.
    pub fn texts(&mut self, locale: &str, source: &str) -> Result<()> {
        self.data(TEXTS, locale, source)
    }

    fn data(&mut self, tag: u32, name: &str, source: &str) -> Result<()> {
        let mut data = Flat::with_capacity(1, name.len() + source.len());
        data.push(Item { tag, a: name.as_bytes(), b: source.as_bytes(), ..Item::default() });
        let mut reason = Flat::default();
        told(self.inner.add_data(&data, &mut reason), &reason)
    }
}

fn entry(tag: u32, name: &str) -> Flat {
    let mut entry = Flat::with_capacity(1, 64);
    entry.push(Item::bytes(tag, name.as_bytes()));
    entry
}

fn told(code: u32, reason: &Flat) -> Result<()> {
    if code == DONE {
        return Ok(());
    }
    let sentence = reason.at(0).map_or("the kernel refused the registration", |item| item.text());
    Err(Error::new(sentence))
}
