//! Sends mail through an SMTP relay, as a Countersign plugin.
//!
//! ```toml
//! [delivery]
//! use = "smtp"
//!
//! [delivery.smtp]
//! url      = "smtps://mail.example.org"      # or smtp+starttls://; smtp:// on loopback alone
//! from     = "Countersign <no-reply@example.org>"
//! username = "countersign"
//! password = { env = "SMTP_PASSWORD" }
//! # connect_timeout = "10s"    timeout = "30s"     # for one try; these are also the most
//! # ca    = "relay-ca.pem"     # trusted instead of the machine's authorities
//! # hello = "auth.example.org" # what to be called in EHLO; absent: the address of the connection
//! ```
//!
//! A message goes to one recipient, as plain text with an optional HTML alternative. What is said to the relay is
//! said under TLS unless it is on this machine; there is no falling back from STARTTLS. A connection is used
//! again for the next message, as long as nothing has gone wrong on it.
//!
//! # What becomes of a try
//!
//! | the relay | answer |
//! |---|---|
//! | takes the message | `Ok` |
//! | refuses sender, recipient or message for good (5xx) | `Never` |
//! | refuses for now (4xx), cannot be reached, is slow, hangs up before it has the message | `Later` |
//! | has the whole message, and hangs up, is silent or talks nonsense | `Unknown`: it may have taken it |
//! | shows a wrong certificate, offers no STARTTLS, refuses the credentials | `Later`: an operator can mend it |
//!
//! What is unknown is not sent again. A message that is tried again has the same Message-ID, by which the receiving
//! side can tell a copy that a relay made.
//!
//! Reasons name the step and the reply's code, never its text: a relay may repeat there what it was sent.
//!
//! # What it does not do
//!
//! It delivers to a relay, not to the world: no MX lookup, no queue, no DKIM. Trying again is the kernel's part.
//!
//! # Modules
//!
//! `server` where the relay is · `mail` a message as bytes · `relay` connections kept, and one try ·
//! `conversation` what is said · `wire` TCP and STARTTLS below it · `tls` whom to trust.
#![forbid(unsafe_code)]

mod conversation;
mod mail;
mod relay;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use countersign_plugin_api::{Error, Location, Plugin, Registrar, Result, Secret, Span, export_plugin};
use mail::Sender;
use relay::Relay;
use serde::{Deserialize, Deserializer, de};
use server::{Security, Server};
use std::time::Duration;

export_plugin!(Config, "delivery-smtp");

/// The table `[delivery.smtp]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: Server,
    from: Sender,
    username: Option<String>,
    password: Option<Secret<String>>,
    #[serde(default = "ten_seconds", deserialize_with = "up_to::<_, 10>")]
    connect_timeout: Duration,
    #[serde(default = "thirty_seconds", deserialize_with = "up_to::<_, 30>")]
    timeout: Duration,
    ca: Option<Location>,
    #[serde(default, deserialize_with = "host_name")]
    hello: Option<String>,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
/// As long as the contract of a delivery allows.
fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

fn up_to<'de, D: Deserializer<'de>, const MOST: u64>(deserializer: D) -> Result<Duration, D::Error> {
    let Span(span) = Span::deserialize(deserializer)?;
    if (1..=MOST).contains(&span.as_secs()) {
        return Ok(span);
    }
    Err(de::Error::custom(format_args!("must be from \"1s\" to \"{MOST}s\"")))
}

fn host_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if server::is_host_name(&name) { Ok(Some(name)) } else { Err(de::Error::custom("must be a host name")) }
}

impl Plugin for Config {
    fn check(&self) -> Result<()> {
        if self.username.is_some() != self.password.is_some() {
            return Err(Error::new("`username` and `password` belong together: give both, or neither"));
        }
        if self.connect_timeout > self.timeout {
            return Err(Error::new(
                "`connect_timeout` must not be longer than `timeout`, of which it is a part",
            ));
        }
        match (&self.ca, self.url.security) {
            (Some(_), Security::None) => Err(Error::new("`ca` is for smtps:// and smtp+starttls://")),
            (Some(file), _) => tls::authorities(file).map(drop),
            _ => Ok(()),
        }
    }

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        kernel.delivery("smtp", Relay::new(self)?)
    }
}
