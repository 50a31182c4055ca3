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

/// Only where a mailed link is a way in: where it is asked for, and what it opens.
const LINKS: &[(&str, &str)] = pages!["login-link", "magic-link"];

pub(crate) fn register(config: &Mfa, kernel: &mut Registrar<'_>) -> Result<()> {
    let links = if config.magic_link.enabled { LINKS } else { &[] };
    for (name, source) in PAGES.iter().chain(links) {
        kernel.page(name, source)?;
    }
    kernel.texts("en", include_str!("pages/en.toml"))
}
