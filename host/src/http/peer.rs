//! Who is at the other end: the socket's peer, or whom a trusted proxy names.
use axum::http::{HeaderMap, header};
use std::net::{IpAddr, SocketAddr};

/// The address of the client.
///
/// A trusted proxy appends the address it was called from, so the list is read from its end: the first entry
/// that is no trusted proxy itself is the client, and whatever stands before it the client may have made up.
/// Where an entry cannot be read, what follows it is as far as trust goes.
pub(super) fn client(socket: IpAddr, headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    let socket = socket.to_canonical();
    if !trusts(socket) {
        return socket;
    }
    let listed = |entries: Vec<Option<IpAddr>>| {
        let mut client = socket;
        for entry in entries.into_iter().rev() {
            match entry {
                Some(address) => client = address,
                None => break,
            }
            if !trusts(client) {
                break;
            }
        }
        client
    };
    let old = headers.contains_key("x-forwarded-for").then(|| listed(forwarded_for(headers)));
    let new = headers.contains_key(header::FORWARDED).then(|| listed(forwarded(headers)));
    match (old, new) {
        (Some(client), None) | (None, Some(client)) => client,
        // A proxy maintains one of the two and may pass the other on as the client wrote it. Which is which
        // cannot be told from here, so they are believed only where they agree.
        (Some(old), Some(new)) if old == new => old,
        _ => socket,
    }
}

/// The entries of `X-Forwarded-For`, over all its lines.
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all("x-forwarded-for").iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|entry| node(text(entry)?))
        .collect()
}

/// The `for` parameters of `Forwarded` (RFC 7239); an element without one hides its client.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(header::FORWARDED).iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    elements
        .map(|element| {
            let mut named = text(element)?.split(';').filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
            });
            let value = named.next()?;
            let unquoted = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
            node(unquoted).filter(|_| named.next().is_none())
        })
        .collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(str::trim)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let address =
        text.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).or_else(|error| {
            let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inside.ok_or(error)?.parse().map(IpAddr::V6)
        });
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    /// 10.0.0.0/8 and ::1 are proxies.
    fn trusts(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4.octets()[0] == 10,
            IpAddr::V6(v6) => v6.is_loopback(),
        }
    }

    fn seen(socket: &str, lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        client(socket.parse().unwrap(), &headers, trusts).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_names_the_client() {
        let xff = "x-forwarded-for";
        for (socket, lines, client) in [
            ("192.0.2.7", &[][..], "192.0.2.7"),
            ("192.0.2.7", &[(xff, "198.51.100.1")], "192.0.2.7"),
            ("192.0.2.7", &[("forwarded", "for=198.51.100.1")], "192.0.2.7"),
            ("::ffff:192.0.2.7", &[], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1"),
            ("::1", &[(xff, "198.51.100.1")], "198.51.100.1"),
            // What the client made up stands to the left.
            ("10.0.0.1", &[(xff, "127.0.0.1, 198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "10.9.9.9, 198.51.100.1, 10.0.0.2")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "127.0.0.1"), (xff, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "198.51.100.1"), (xff, "10.0.0.2,10.0.0.3")], "198.51.100.1"),
            // Only proxies: the first of them.
            ("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            // Unreadable: as far as trust goes.
            ("10.0.0.1", &[(xff, "unknown")], "10.0.0.1"),
            ("10.0.0.1", &[(xff, "198.51.100.1, ")], "10.0.0.1"),
            ("10.0.0.1", &[(xff, "198.51.100.1, garbage, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[(xff, "198.51.100.999")], "10.0.0.1"),
            // Ports and brackets.
            ("10.0.0.1", &[(xff, "198.51.100.1:4711")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "2001:db8::1")], "2001:db8::1"),
            ("10.0.0.1", &[(xff, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("10.0.0.1", &[(xff, "[2001:db8::1]")], "2001:db8::1"),
            ("10.0.0.1", &[(xff, "::ffff:198.51.100.1")], "198.51.100.1"),
            // RFC 7239.
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1;proto=https;by=10.0.0.1")], "198.51.100.1"),
            ("10.0.0.1", &[("forwarded", "For=\"[2001:db8::1]:47011\"")], "2001:db8::1"),
            ("10.0.0.1", &[("forwarded", "for=127.0.0.1, proto=http;for=198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1, for=_hidden")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1, proto=https")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1;for=198.51.100.2")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=\"198.51.100.1")], "10.0.0.1"),
            // Both: one of them may be the client's own.
            ("10.0.0.1", &[(xff, "198.51.100.1"), ("forwarded", "for=198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "198.51.100.1"), ("forwarded", "for=127.0.0.1")], "10.0.0.1"),
        ] {
            assert_eq!(seen(socket, lines), client, "{socket} {lines:?}");
        }
    }
}
