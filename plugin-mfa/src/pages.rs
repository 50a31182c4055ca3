//! The pages of this plugin, and what they say.
use crate::config::Mfa;
use countersign_plugin_api::{Registrar, Result};

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("pages/", $name, ".html"))),)*]
    };
}

const PAGES: &[(&str, &str)] =
    pages!["challenge", "settings", "overview", "enrol", "codes", "step-up", "home"];

/// Only where a mailed link is a way in.
const LINK: (&str, &str) = ("login-link", include_str!("pages/login-link.html"));

pub(crate) fn register(config: &Mfa, kernel: &mut Registrar<'_>) -> Result<()> {
    let link = config.magic_link.enabled.then_some(&LINK);
    for (name, source) in PAGES.iter().chain(link) {
        kernel.page(name, source)?;
    }
    kernel.texts("en", include_str!("pages/en.toml"))
}
