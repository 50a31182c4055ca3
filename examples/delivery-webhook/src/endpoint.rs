//! Where messages go: a URL that is safe to send codes to, and one request to it.
use countersign_plugin_api::{Error, Result, Undelivered};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::{Deserialize, Deserializer, de};
use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};
use ureq::{
    Agent,
    http::Uri,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// Larger heads than any receiver has a reason for are refused.
const MAX_HEAD: usize = 16 << 10;

/// A URL that codes may be sent to: https, or http that does not leave this machine.
#[derive(Debug)]
pub(crate) struct Url(Uri);

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let url: Uri = text.parse().map_err(|_| "must be a URL, like \"https://sms.example.org/hook\"")?;
        let host = url.host().unwrap_or_default();
        // Not repeated in the message: it may be a password.
        if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err("must name a host and no user; the receiver knows us by the signature");
        }
        // An address, not a name: what a name leads to is somebody else's to say.
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match url.scheme_str() {
            Some("https") => Ok(Self(url)),
            Some("http") if address.is_ok_and(|address| address.is_loopback()) => Ok(Self(url)),
            Some("http") => Err(
                "http:// is for 127.0.0.1 and [::1], because codes would cross the network in the clear: use https://",
            ),
            _ => Err("must start with https:// or, on loopback, http://"),
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The authorities of a file, each a certificate in PEM.
pub(crate) fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let said = |why: &dyn fmt::Display| Error::new(format_args!("`ca`: {}: {why}", file.display()));
    let read = CertificateDer::pem_file_iter(file).map_err(|error| said(&error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| said(&error))?;
    if found.is_empty() { Err(said(&"it holds no certificate in PEM")) } else { Ok(found) }
}

/// The receiver.
pub(crate) struct Endpoint {
    agent: Agent,
    url: Uri,
}

impl Endpoint {
    pub(crate) fn new(url: Url, timeout: Duration, ca: Option<&Path>) -> Result<Self> {
        let roots = match ca {
            Some(file) => authorities(file)?,
            None if url.is_https() => rustls_native_certs::load_native_certs().certs,
            None => Vec::new(),
        };
        if roots.is_empty() && url.is_https() {
            return Err(Error::new(
                "no certificate authority is installed on this machine: install ca-certificates, or give `ca`",
            ));
        }
        let roots: Vec<_> = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            // Of the whole try, from the name's resolution on: a receiver that says a byte now and then is late too.
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEAD)
            // Where messages go is configured, and not said by the environment.
            .proxy(None)
            .user_agent(concat!("countersign-webhook/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().new_agent(), url: url.0 })
    }

    /// Posts JSON and answers the status. The answer's body is not read.
    pub(crate) fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<u16, Undelivered> {
        let request = self.agent.post(&self.url).content_type("application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        match request.send(body) {
            Ok(answer) => Ok(answer.status().as_u16()),
            // The client's own words may hold what was sent: the kind says enough.
            Err(error) => Err(Undelivered::Later(kind(&error))),
        }
    }
}

fn kind(error: &ureq::Error) -> String {
    use ureq::Error as E;
    match error {
        E::Timeout(_) => "the receiver does not answer in time".into(),
        E::HostNotFound => "the receiver's name is not known".into(),
        E::ConnectionFailed => "the receiver cannot be reached".into(),
        E::Io(error) => format!("the connection to the receiver failed: {}", error.kind()),
        E::Tls(_) | E::Rustls(_) => "the receiver shows no certificate that is trusted here".into(),
        E::LargeResponseHeader(..) => "the receiver's answer is too large".into(),
        _ => "the receiver does not speak HTTP".into(),
    }
}
