//! Posts each message to a webhook, signed as Standard Webhooks says, as a Countersign plugin.
//!
//! ```toml
//! [delivery]
//! use = "webhook"
//!
//! [delivery.webhook]
//! url    = "https://sms.example.org/countersign" # http:// on loopback alone
//! secret = { env = "WEBHOOK_SECRET" }            # whsec_ and 24 to 64 bytes in base64
//! # former_secret = { … }  # while it is changed: each request is signed with both
//! # timeout = "20s"        # for one try, all of it; up to "25s"
//! # ca = "gateway-ca.pem"  # trusted instead of the machine's authorities
//! ```
//!
//! The receiver gets
//!
//! ```json
//! {"type": "countersign.message",
//!  "data": {"to": "ann@example.org", "subject": "…", "text": "…", "html": "…", "expires_at": "2026-11-22T09:30:00Z"}}
//! ```
//!
//! under the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. It checks the signature and the age of
//! the timestamp, and takes an id that it has seen for a copy: the host may not have heard the first answer.
//!
//! # What becomes of a try
//!
//! | the receiver | answer |
//! |---|---|
//! | 2xx | `Ok` |
//! | 4xx, except those below | `Never` |
//! | 408, 409, 425, 429, and every other status | `Later` |
//! | cannot be reached, is slow, hangs up, shows a wrong certificate | `Later`: an operator can mend it |
//!
//! Redirects are not followed, because the signature is for the URL that was configured, and so is the trust. Of the
//! answer nothing is read but the status, so a receiver cannot fill the memory.
//!
//! # Modules
//!
//! `endpoint` where to, and one request · `signature` who says so.
#![forbid(unsafe_code)]

mod endpoint;
mod signature;
#[cfg(test)]
mod tests;

use countersign_plugin_api::{
    Delivery, Error, Location, Message, Plugin, Registrar, Result, Secret, Span, Undelivered, export_plugin,
};
use endpoint::{Endpoint, Url};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;
use signature::{Key, Signer};
use std::time::{Duration, SystemTime};

export_plugin!(Config, "delivery-webhook");

/// The table `[delivery.webhook]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: Url,
    secret: Key,
    former_secret: Option<Key>,
    #[serde(default = "twenty_seconds", deserialize_with = "timeout")]
    timeout: Duration,
    ca: Option<Location>,
}

fn twenty_seconds() -> Duration {
    Duration::from_secs(20)
}

/// A delivery may take 30 seconds; a client may notice late that its time is up.
fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let Span(span) = Span::deserialize(deserializer)?;
    if (1..=25).contains(&span.as_secs()) {
        return Ok(span);
    }
    Err(de::Error::custom("must be from \"1s\" to \"25s\""))
}

impl Plugin for Config {
    fn check(&self) -> Result<()> {
        match &self.ca {
            Some(_) if !self.url.is_https() => Err(Error::new("`ca` is for https://")),
            Some(file) => endpoint::authorities(file).map(drop),
            None => Ok(()),
        }
    }

    fn register(self, kernel: &mut Registrar<'_>) -> Result<()> {
        let signer = Signer::new(self.secret, self.former_secret);
        let endpoint = Endpoint::new(self.url, self.timeout, self.ca.as_deref())?;
        kernel.delivery("webhook", Webhook { endpoint, signer })
    }
}

struct Webhook {
    endpoint: Endpoint,
    signer: Signer,
}

impl Delivery for Webhook {
    fn send(&self, message: &Message<'_>) -> Result<(), Undelivered> {
        // What is signed is `id.timestamp.body`: an id with a full stop could shift the parts.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if message.id.is_empty() || !message.id.bytes().all(is_plain) {
            return Err(Undelivered::Never("its id cannot be that of a webhook".into()));
        }
        let body = body(message);
        // Of this try: a receiver refuses what is too old, and may have to see a message again.
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs());
        let signature = self.signer.sign(message.id, now, body.expose());
        let headers = [
            ("webhook-id", message.id),
            ("webhook-timestamp", &now.to_string()),
            ("webhook-signature", &signature),
        ];
        judged(self.endpoint.post(&headers, body.expose())?)
    }
}

/// The same for every try of one message.
fn body(message: &Message<'_>) -> Secret<Vec<u8>> {
    let body = json!({
        "type": "countersign.message",
        "data": {
            "to": message.to,
            "subject": message.subject,
            "text": message.text.expose(),
            "html": message.html.as_ref().map(Secret::expose),
            "expires_at": message.expires_at.to_string(),
        },
    });
    Secret::new(body.to_string().into_bytes())
}

fn judged(status: u16) -> Result<(), Undelivered> {
    let answers = format!("the receiver answers {status}");
    match status {
        200..300 => Ok(()),
        300..400 => Err(Undelivered::Later(format!("{answers}, and redirects are not followed"))),
        408 | 409 | 425 | 429 => Err(Undelivered::Later(answers)),
        400..500 => Err(Undelivered::Never(answers)),
        _ => Err(Undelivered::Later(answers)),
    }
}
