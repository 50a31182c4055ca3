//! Where the host is reached: origins and host names.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The one origin that links and redirects may carry: a scheme, a host, perhaps a port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    host: Host,
    https: bool,
}

impl PublicUrl {
    /// Stands in for one that could not be read; `.invalid` is nobody's (RFC 6761 §6.4).
    pub(super) fn nowhere() -> Self {
        let host = "countersign.invalid";
        Self { origin: format!("https://{host}"), host: Host::Name(host.into()), https: true }
    }
    /// The origin of what listens on loopback; `None` beyond it. With port 0 it holds until the system has chosen
    /// one.
    pub(crate) fn of(listen: SocketAddr) -> Option<Self> {
        let host = Host::Address(listen.ip());
        let port = Some(listen.port()).filter(|port| *port != 80);
        let origin = format!("http://{}", written(&host, port));
        host.is_loopback().then_some(Self { origin, host, https: false })
    }
    /// As browsers write it in `Origin`: lower case, without the scheme's own port.
    pub fn origin(&self) -> &str {
        &self.origin
    }
    /// Whether it is https; if not, its host is loopback.
    pub fn is_https(&self) -> bool {
        self.https
    }
    /// As browsers write it in `Host`: with the port, unless it is the scheme's own.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }
    /// Whether a cookie set from here may be scoped to `domain`: this host or a parent of it, and not a whole
    /// top-level domain (RFC 6265 §5.3, steps 5 and 6).
    pub(super) fn may_scope_cookies_to(&self, domain: &str) -> bool {
        let Host::Name(name) = &self.host else { return false };
        let below = name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        below && domain.trim_matches('.').contains('.') && !domain.starts_with('.')
    }
}

impl FromStr for PublicUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(format!("`{text}` must start with https:// (or, on loopback, http://)")),
        };
        if let Some(at) = rest.find(['/', '?', '#', '@', '\\']) {
            let origin = &text[..text.len() - rest.len() + at];
            return Err(format!("`{text}` must be an origin only: scheme, host and port, like `{origin}`"));
        }
        let (host, port) = host_and_port(rest)?;
        if !https && !host.is_loopback() {
            return Err(format!(
                "`{text}` is http beyond loopback, where anyone on the way reads passwords and sessions: \
                 use https"
            ));
        }
        let port = port.filter(|port| *port != if https { 443 } else { 80 });
        let scheme = if https { "https" } else { "http" };
        Ok(Self { origin: format!("{scheme}://{}", written(&host, port)), host, https })
    }
}

/// A value of `Host` that is answered: a name or an address, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AllowedHost(pub String);

impl FromStr for AllowedHost {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        host_and_port(text).map(|(host, port)| Self(written(&host, port)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    fn is_loopback(&self) -> bool {
        match self {
            // RFC 6761 §6.3: these names never leave the machine.
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}

fn written(host: &Host, port: Option<u16>) -> String {
    let host = match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    };
    port.map_or(host.clone(), |port| format!("{host}:{port}"))
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), String> {
    let wrong = || format!("`{text}` is not a host name or an address, with or without a port");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or_else(wrong)?;
            (host, Some(port))
        }
        _ => (text, None),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => Host::Address(v6.parse::<Ipv6Addr>().map_err(|_| wrong())?.into()),
        None => named(host).ok_or_else(wrong)?,
    };
    Ok((host, port))
}

fn named(host: &str) -> Option<Host> {
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        letters && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return None;
    }
    // What ends in a number is an address to a browser, in spellings (octal, short) that we do not share.
    if host.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().ok().map(|address| Host::Address(address.into()));
    }
    Some(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        for (text, origin, host) in [
            ("https://auth.example.org", "https://auth.example.org", "auth.example.org"),
            ("https://Auth.Example.org:443", "https://auth.example.org", "auth.example.org"),
            ("https://auth.example.org:8443", "https://auth.example.org:8443", "auth.example.org:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:80", "http://localhost", "localhost"),
            ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
            ("http://app.localhost:1", "http://app.localhost:1", "app.localhost:1"),
            ("https://[2001:DB8:0::1]", "https://[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let url: PublicUrl = text.parse().unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((url.origin(), url.host()), (origin, host), "{text}");
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
    }

    #[test]
    fn what_is_not_an_origin_or_not_safe_is_refused() {
        for text in [
            "",
            "example.org",
            "ftp://example.org",
            "https://",
            "https://example.org/",
            "https://example.org/a",
            "https://example.org?x",
            "https://example.org#x",
            "https://user@example.org",
            "https://a\\b",
            "https://exa mple.org",
            "https://example.org:",
            "https://example.org:0",
            "https://example.org:+1",
            "https://example.org:65536",
            "https://-a.org",
            "https://a..org",
            "https://müsli.org",
            "https://[::1",
            "https://::1",
            "https://0x7f.1",
            "https://1.2.3",
            "https://1.2.3.4.5",
            // Plain http, where only the look is loopback.
            "http://example.org",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://notlocalhost",
            "http://127.1",
            "http://0177.0.0.1",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn cookies_may_be_scoped_to_a_parent() {
        let url: PublicUrl = "https://auth.example.org:8443".parse().expect("an origin");
        for (domain, may) in [
            ("example.org", true),
            ("auth.example.org", true),
            ("org", false),
            (".org", false),
            (".example.org", false),
            ("ample.org", false),
            ("other.example.org", false),
            ("", false),
        ] {
            assert_eq!(url.may_scope_cookies_to(domain), may, "{domain:?}");
        }
        let address: PublicUrl = "https://10.1.2.3".parse().expect("an origin");
        assert!(!address.may_scope_cookies_to("2.3"));
    }
}
