//! Where the relay is and how it is spoken to: `smtps://host:port`.
use serde::{Deserialize, Deserializer, de};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Not at all: for a relay on this machine.
    None,
    /// Plain at first, then TLS before anything else is said (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) security: Security,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    /// Whether a resolved address may be spoken to: without TLS only this machine, whatever the name says.
    pub(crate) fn allows(&self, address: &SocketAddr) -> bool {
        self.security != Security::None || address.ip().is_loopback()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or("must be a URL, like \"smtps://mail.example.org\"")?;
        let (security, usual) = match scheme {
            "smtp" => (Security::None, 25),
            // Submission (RFC 6409) and submissions (RFC 8314).
            "smtp+starttls" => (Security::StartTls, 587),
            "smtps" => (Security::Tls, 465),
            _ => return Err("must start with smtps://, smtp+starttls:// or, on loopback, smtp://".into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // Not repeated in the message: it may be a password.
        if rest.contains(['@', '/', '?', '#']) {
            return Err(
                "must be no more than a host and a port; `username` and `password` are keys beside it".into(),
            );
        }
        let (host, port) = split(rest)?;
        let port = match port {
            None => usual,
            Some(digits) => {
                let number =
                    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
                number.filter(|port| *port != 0).ok_or_else(|| format!("`{digits}` is not a port"))?
            }
        };
        if !is_host_name(&host) && host.parse::<IpAddr>().is_err() {
            return Err(format!("`{host}` is neither a host name nor an address"));
        }
        let is_near = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if security == Security::None && !is_near {
            return Err("smtp:// is for loopback, because codes would cross the network in the clear: use smtps:// or smtp+starttls://".into());
        }
        Ok(Self { security, host, port })
    }
}

/// Host and port, the host without the brackets of an IPv6 address.
fn split(rest: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = rest.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket of the address is not closed")?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or("after the address there may be a port alone")?),
        };
        return Ok((host.to_owned(), port));
    }
    match rest.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address stands in brackets".into()),
        Some((host, port)) => Ok((host.to_owned(), Some(port))),
        None => Ok((rest.to_owned(), None)),
    }
}

/// Whether it is a name as hosts have them (RFC 1123, section 2.1).
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_operators_write_them() {
        for (url, security, host, port) in [
            ("smtps://mail.example.org", Security::Tls, "mail.example.org", 465),
            ("smtps://mail.example.org:4465/", Security::Tls, "mail.example.org", 4465),
            ("smtps://192.0.2.7", Security::Tls, "192.0.2.7", 465),
            ("smtps://[2001:db8::7]:465", Security::Tls, "2001:db8::7", 465),
            ("smtp+starttls://mail_1", Security::StartTls, "mail_1", 587),
            ("smtp://127.0.0.1:2525", Security::None, "127.0.0.1", 2525),
            ("smtp://127.7.7.7", Security::None, "127.7.7.7", 25),
            ("smtp://[::1]", Security::None, "::1", 25),
            ("smtp://LocalHost:1", Security::None, "LocalHost", 1),
        ] {
            let server = Server { security, host: host.into(), port };
            assert_eq!(url.parse(), Ok(server), "{url}");
        }
    }

    #[test]
    fn what_is_no_relay_is_refused() {
        for (url, part) in [
            ("", "must be a URL"),
            ("mail.example.org:465", "must be a URL"),
            ("http://mail.example.org", "must start with"),
            ("SMTPS://mail.example.org", "must start with"),
            ("smtp+starttls+optional://mail.example.org", "must start with"),
            ("smtp://mail.example.org", "loopback"),
            ("smtp://192.0.2.7:25", "loopback"),
            ("smtp://localhost.example.org", "loopback"),
            ("smtp://0.0.0.0", "loopback"),
            ("smtp://[2001:db8::7]", "loopback"),
            ("smtps://me:secret@mail.example.org", "a host and a port"),
            ("smtps://mail.example.org/path", "a host and a port"),
            ("smtps://mail.example.org?tls=none", "a host and a port"),
            ("smtps://mail.example.org:0", "not a port"),
            ("smtps://mail.example.org:65536", "not a port"),
            ("smtps://mail.example.org:+25", "not a port"),
            ("smtps://mail.example.org:", "not a port"),
            ("smtps://2001:db8::7", "brackets"),
            ("smtps://[2001:db8::7", "not closed"),
            ("smtps://[::1]25", "a port alone"),
            ("smtps://", "neither a host name"),
            ("smtps://mail..example", "neither a host name"),
            ("smtps://mail example", "neither a host name"),
            ("smtps://mail\r\nexample", "neither a host name"),
            ("smtps://-mail", "neither a host name"),
        ] {
            let error = url.parse::<Server>().expect_err(url);
            assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn in_the_clear_only_this_machine_is_spoken_to() {
        let plain: Server = "smtp://localhost".parse().unwrap();
        assert!(plain.allows(&"127.0.0.1:25".parse().unwrap()) && plain.allows(&"[::1]:25".parse().unwrap()));
        assert!(!plain.allows(&"192.0.2.7:25".parse().unwrap()));
        assert!("smtps://localhost".parse::<Server>().unwrap().allows(&"192.0.2.7:25".parse().unwrap()));
    }
}
