//! The auth host: a kernel, and what the configuration says about serving it.
use crate::{
    api,
    config::Config,
    http::{App, Cookie, Site},
    kernel::{Kernel, StartError, Strictness},
    pages::{Pages, Setting},
    people,
};
use std::sync::Arc;

/// A host that has started: every plugin is linked, and the store answers.
pub struct Host {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) config: Config,
    pub(crate) cookie: Cookie,
    /// `None` when they are switched off.
    pub(crate) pages: Option<Pages>,
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
        let pages = pages(&config, &kernel).map_err(StartError)?;
        tokio::spawn(Kernel::keep_record(Arc::downgrade(&kernel)));
        kernel.watch_store().map_err(|error| {
            StartError(vec![format!("no thread that asks the store can be started: {error}")])
        })?;
        let domain = config.session.cookie_domain.as_deref();
        let cookie = Cookie::new("countersign", config.public_url.is_https(), domain);
        Ok(Arc::new(Self { kernel, config, cookie, pages }))
    }

    /// What answers its requests; `development` marks every answer.
    pub fn app(self: &Arc<Self>, development: bool) -> Result<App, StartError> {
        let proxies = self.config.trusted_proxies.clone();
        let trusts = move |address| proxies.iter().any(|proxy| proxy.contains(address));
        let site = Site::new(self.config.public_url.origin(), &self.config.allowed_hosts, trusts)
            .map_err(|why| StartError(vec![why]))?;
        let host = self.clone();
        let site = site.forms(move |path| api::takes_forms(&host, path));
        Ok(App::new(site.development(development), api::router(self.clone())))
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

/// The pages of the host and of its plugins, if they are wanted.
fn pages(config: &Config, kernel: &Kernel) -> Result<Option<Pages>, Vec<String>> {
    if !config.pages.enabled {
        return Ok(None);
    }
    let setting = Setting {
        config: &config.pages,
        registration: config.registration,
        sends_mail: kernel.delivery().is_some(),
        has_route: &|method, path| api::has_route(kernel, method, path),
    };
    Pages::new(&setting, kernel.pages()).map(Some)
}
