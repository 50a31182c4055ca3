//! The auth host: a kernel, and what the configuration says about serving it.
use crate::{
    api,
    config::Config,
    http::{App, Cookie, Site},
    kernel::{Kernel, StartError, Strictness},
    openapi,
    pages::{self, Pages, Setting},
    people,
};
use axum::{body::Bytes, handler::Handler};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A host that has started: every plugin is linked, and the store answers.
pub struct Host {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) config: Config,
    pub(crate) cookie: Cookie,
    pub(crate) pages: Pages,
    /// The interface in OpenAPI, made when it is first asked for: with its page it was a third of what a start does, and
    /// half of what it keeps in its heap.
    description: OnceLock<Bytes>,
}

impl Host {
    /// Starts, and with it the delivery of what waits to be sent; or refuses, with every reason there is.
    pub async fn start(config: Config, strict: Strictness) -> Result<Arc<Self>, StartError> {
        let kernel = Arc::new(people::kernel(&config, strict).await?);
        kernel.deliver();
        Self::over(kernel, config)
    }

    /// Another host that can take this one's place: see [`Kernel::reload`].
    pub(crate) async fn reloaded(&self, config: Config, strict: Strictness) -> Result<Arc<Self>, StartError> {
        let kernel = people::reloaded(&self.kernel, &config, strict).await?;
        Self::over(Arc::new(kernel), config)
    }

    fn over(kernel: Arc<Kernel>, config: Config) -> Result<Arc<Self>, StartError> {
        let domain = config.session.cookie_domain.as_deref();
        let cookie = Cookie::new("countersign", config.public_url.is_https(), domain);
        let pages = all_pages(&config, &kernel).map_err(StartError)?;
        tokio::spawn(Kernel::keep_record(Arc::downgrade(&kernel)));
        kernel.watch_store().map_err(|error| {
            StartError(vec![format!("no thread that asks the store can be started: {error}")])
        })?;
        Ok(Arc::new(Self { kernel, config, cookie, pages, description: OnceLock::new() }))
    }

    /// What answers its requests; `development` marks every answer.
    pub fn app(self: &Arc<Self>, development: bool) -> Result<App, StartError> {
        let proxies = self.config.trusted_proxies.clone();
        let trusts = move |address| proxies.iter().any(|proxy| proxy.contains(address));
        let site = Site::new(self.config.public_url.origin(), &self.config.allowed_hosts, trusts)
            .map_err(|why| StartError(vec![why]))?;
        let (forms, refusing) = (self.clone(), self.clone());
        let site = site
            .forms(move |path| api::takes_forms(&forms, path))
            .refusing(move |request| pages::for_people(&refusing, request));
        Ok(App::new(site.development(development), api::answer.with_state(self.clone())))
    }

    /// The interface in OpenAPI; `None` when it is switched off.
    pub(crate) fn description(&self) -> Option<Bytes> {
        let made = || self.description.get_or_init(|| self.document().to_string().into()).clone();
        self.config.openapi.then(made)
    }

    /// The same, for the page that shows it.
    pub(crate) fn document(&self) -> Value {
        openapi::document(self.cookie.name(), self.kernel.mounted())
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

/// The pages of the host and of its plugins.
fn all_pages(config: &Config, kernel: &Kernel) -> Result<Pages, Vec<String>> {
    let setting = Setting {
        served: config.pages.enabled,
        config: &config.pages,
        registration: config.registration,
        sends_mail: kernel.sends_mail(),
        has_route: &|method, path| api::has_route(kernel, method, path),
        openapi: config.openapi,
    };
    Pages::new(&setting, kernel.pages())
}
