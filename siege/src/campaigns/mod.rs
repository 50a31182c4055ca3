//! The campaigns, one file each.
mod crash;
mod faults;
mod flood;
mod linear;
mod mail;
mod parsers;
mod plugins;
mod powerloss;
mod races;
mod secrecy;
mod timing;
mod tokens;

use crate::{report::Report, scale::Scale};
use anyhow::Result;
use tokio::runtime::Runtime;

/// What a campaign is carried out with.
pub(crate) struct Run<'a> {
    pub(crate) scale: Scale,
    pub(crate) seed: u64,
    pub(crate) report: &'a mut Report,
    pub(crate) runtime: &'a Runtime,
}

/// One campaign.
pub(crate) struct Campaign {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Run<'_>) -> Result<()>,
}

macro_rules! campaigns {
    ($($name:ident, $about:literal;)*) => {
        /// All of them, in the order in which they are carried out.
        pub(crate) const ALL: &[Campaign] =
            &[$(Campaign { name: stringify!($name), about: $about, run: $name::run },)*];
    };
}
campaigns! {
    races, "whatever works once, used by many at the same instant";
    linear, "histories of both stores, and a model";
    crash, "kill -9 under load";
    faults, "a full disk, a store that fails, and what is synced before an answer";
    powerloss, "power that fails at any write";
    plugins, "plugins that panic, hang, or are not what was pinned";
    flood, "more of everything than there is room for";
    mail, "mail servers that are slow, gone or hostile";
    tokens, "tokens that are nearly right";
    secrecy, "where secrets could be left behind";
    timing, "whether answers tell a known address from an unknown one";
    parsers, "structured nonsense for every endpoint";
}
