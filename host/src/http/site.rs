//! The site that is served: its origin, its hosts, and the proxies in front of it.
use axum::{
    body::Body,
    http::{HeaderMap, Response, Uri, request::Parts},
};
use countersign_plugin_api::Refusal;
use std::net::{IpAddr, Ipv6Addr};

/// What of the configuration concerns every request.
pub struct Site {
    https: bool,
    /// `None`: whatever it is called.
    public: Option<Host>,
    others: Vec<Host>,
    trusts: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    forms: Box<dyn Fn(&str) -> bool + Send + Sync>,
    refusing: Refusing,
    development: bool,
}

/// How a refusal is shown to whoever has sent a request.
pub(crate) type Refuse = Box<dyn Fn(&Refusal) -> Response<Body> + Send + Sync>;
type Refusing = Box<dyn Fn(&Parts) -> Option<Refuse> + Send + Sync>;

/// A host as it stands in `Host` and in origins. Its name is compared without regard to case.
#[derive(Debug, Clone)]
struct Host {
    name: String,
    port: u16,
}

impl Site {
    /// The site at `public_url`, which also answers for `allowed_hosts` (`host` or `host:port`; without a
    /// port, that of the scheme) and believes what proxies that `trusts` accepts say of their clients.
    pub fn new(
        public_url: &str,
        allowed_hosts: &[String],
        trusts: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let broken = || format!("`{public_url}` is not an http or https URL of a host");
        let uri: Uri = public_url.parse().map_err(|_| broken())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(broken()),
        };
        let host = |text: &str| {
            let (name, port) = split(text, https)?;
            Some(Host { name: name.to_owned(), port })
        };
        let public = uri.authority().and_then(|authority| host(authority.as_str())).ok_or_else(broken)?;
        let others: Result<_, String> = allowed_hosts
            .iter()
            .map(|text| host(text).ok_or_else(|| format!("`{text}` is not a host with or without a port")))
            .collect();
        let (forms, refusing) = (Box::new(|_: &str| false), Box::new(|_: &Parts| None));
        Ok(Self {
            https,
            public: Some(public),
            others: others?,
            trusts: Box::new(trusts),
            forms,
            refusing,
            development: false,
        })
    }

    /// A site over plain http that answers whatever it is called, trusts no proxy and changes nothing.
    pub(crate) fn by_any_name() -> Self {
        Self {
            https: false,
            public: None,
            others: Vec::new(),
            trusts: Box::new(|_| false),
            forms: Box::new(|_| false),
            refusing: Box::new(|_| None),
            development: false,
        }
    }

    /// Takes forms at the paths of which `at` says so; everywhere else a body is JSON.
    #[must_use]
    pub fn forms(mut self, at: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.forms = Box::new(at);
        self
    }
    pub(super) fn takes_forms(&self, path: &str) -> bool {
        (self.forms)(path)
    }

    /// Shows refusals as what `by` answers for a request, where that is not the problem document that programs get.
    #[must_use]
    pub(crate) fn refusing(mut self, by: impl Fn(&Parts) -> Option<Refuse> + Send + Sync + 'static) -> Self {
        self.refusing = Box::new(by);
        self
    }
    pub(super) fn refuses(&self, request: &Parts) -> Refuse {
        (self.refusing)(request).unwrap_or_else(|| Box::new(super::refused))
    }

    /// Marks every answer as coming from a development server.
    #[must_use]
    pub fn development(mut self, development: bool) -> Self {
        self.development = development;
        self
    }
    /// Whether browsers reach it by TLS, which something in front of it may speak.
    pub(super) fn is_https(&self) -> bool {
        self.https
    }
    pub(super) fn is_development(&self) -> bool {
        self.development
    }

    /// Whether a socket's peer is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        (self.trusts)(peer)
    }

    /// The client's address, as far as it can be trusted.
    pub(crate) fn client(&self, socket: IpAddr, headers: &HeaderMap) -> IpAddr {
        super::peer::client(socket, headers, |address| self.trusts(address))
    }

    /// Whether a `Host` is one that this site answers for.
    pub(super) fn answers_for(&self, host: &str) -> bool {
        let Some(named) = split(host, self.https) else { return false };
        self.public.as_ref().is_none_or(|public| public.is(named))
            || self.others.iter().any(|host| host.is(named))
    }

    /// Whether `origin` is the public one, or that of the very `host` the request was sent to. Not every
    /// allowed host: one may belong to another application, which is asked to redirect here.
    pub(super) fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let scheme = if self.https { "https" } else { "http" };
        let Some((named, rest)) = origin.split_once("://") else { return false };
        let Some(from) = split(rest, self.https) else { return false };
        named.eq_ignore_ascii_case(scheme)
            && (self.public.as_ref().is_some_and(|public| public.is(from))
                || split(host, self.https)
                    .is_some_and(|(name, port)| name.eq_ignore_ascii_case(from.0) && port == from.1))
    }
}

impl Host {
    fn is(&self, (name, port): (&str, u16)) -> bool {
        self.port == port && self.name.eq_ignore_ascii_case(name)
    }
}

/// A host and its port, as RFC 3986 §3.2 writes them, without user information and without percent-encoding.
fn split(text: &str, https: bool) -> Option<(&str, u16)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, _) = rest.split_once(']')?;
            inside.parse::<Ipv6Addr>().ok()?;
            inside.len() + 2
        }
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !(name.starts_with('[') || name.bytes().all(plain)) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Some(if https { 443 } else { 80 }),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    Some((name, port?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(url: &str, hosts: &[&str]) -> Site {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        Site::new(url, &hosts, |_| false).unwrap()
    }

    #[test]
    fn a_host_is_answered_when_name_and_port_are_ours() {
        let public = site("https://auth.example.org", &["login.example.org:8443", "[2001:db8::1]"]);
        let local = site("http://127.0.0.1:8080", &["localhost:8080"]);
        for (site, host, answered) in [
            (&public, "auth.example.org", true),
            (&public, "AUTH.Example.ORG", true),
            (&public, "auth.example.org:443", true),
            (&public, "login.example.org:8443", true),
            (&public, "[2001:DB8::1]", true),
            (&public, "[2001:db8::1]:443", true),
            (&public, "auth.example.org:80", false),
            (&public, "auth.example.org:8443", false),
            (&public, "login.example.org", false),
            (&public, "auth.example.org.", false),
            (&public, "auth.example.org.evil.example", false),
            (&public, "evil.example", false),
            (&public, "auth.example.org@evil.example", false),
            (&public, "evil.example@auth.example.org", false),
            (&public, "auth.example.org:", false),
            (&public, "auth.example.org:+443", false),
            (&public, "auth.example.org:65979", false),
            (&public, "auth.example.org:443:443", false),
            (&public, "auth.example.org,evil.example", false),
            (&public, "auth.example.org/", false),
            (&public, "auth%2Eexample.org", false),
            (&public, "[2001:db8::1", false),
            (&public, "[2001:db8::1]x", false),
            (&public, "[auth.example.org]", false),
            (&public, " auth.example.org", false),
            (&public, "", false),
            (&public, ":443", false),
            (&local, "127.0.0.1:8080", true),
            (&local, "localhost:8080", true),
            (&local, "127.0.0.1", false),
            (&local, "localhost", false),
            (&local, "rebound.example:8080", false),
        ] {
            assert_eq!(site.answers_for(host), answered, "{host:?}");
        }
    }

    #[test]
    fn an_origin_is_ours_or_that_of_the_host_that_was_called() {
        let public = site("https://auth.example.org", &["app.example.org"]);
        let (auth, app) = ("auth.example.org", "app.example.org");
        for (origin, host, ours) in [
            ("https://auth.example.org", auth, true),
            ("HTTPS://Auth.Example.Org:443", auth, true),
            ("https://auth.example.org", app, true),
            ("https://app.example.org", app, true),
            ("https://app.example.org", auth, false),
            ("http://auth.example.org", auth, false),
            ("https://auth.example.org:8443", auth, false),
            ("https://auth.example.org.evil.example", auth, false),
            ("https://evil.example", auth, false),
            ("https://auth.example.org/", auth, false),
            ("https://auth.example.org https://evil.example", auth, false),
            ("https://evil@auth.example.org", auth, false),
            ("//auth.example.org", auth, false),
            ("auth.example.org", auth, false),
            ("null", auth, false),
            ("", auth, false),
        ] {
            assert_eq!(public.is_own_origin(origin, host), ours, "{origin:?} to {host}");
        }
    }

    #[test]
    fn a_site_needs_an_http_url_and_readable_hosts() {
        for url in
            ["", "auth.example.org", "ftp://auth.example.org", "https://", "https://u@auth.example.org"]
        {
            assert!(Site::new(url, &[], |_| false).is_err(), "{url:?}");
        }
        assert!(Site::new("https://a.example", &["b.example:x".into()], |_| false).is_err());
    }
}
