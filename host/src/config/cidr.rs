//! Networks, for who may speak of others.
use std::{fmt, net::IpAddr, str::FromStr};

/// A network: an address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Whether it is larger than any network that one owner has to itself: 10.0.0.0/8 (RFC 1918) and fc00::/7 (RFC
    /// 4193) are the largest of those.
    pub(crate) const fn holds_strangers(&self) -> bool {
        self.prefix < if self.network.is_ipv4() { 8 } else { 7 }
    }

    /// Whether the address lies in the network. An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`, as a socket
    /// that listens on both shows it) is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                masked(u32::from(address).into(), self.prefix, 32) == u32::from(network).into()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                masked(address.into(), self.prefix, 128) == network.into()
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn masked(address: u128, prefix: u32, bits: u32) -> u128 {
    let host = bits - prefix;
    address.checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network: write it like \"10.0.0.0/8\" or \"fd00::/8\"");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &str| !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix.parse().ok().filter(|n| digits(prefix) && *n <= bits).ok_or_else(wrong)?,
        };
        if prefix == 0 {
            return Err(format!("`{text}` is every address there is: anyone could forge forwarded headers"));
        }
        if address != address.to_canonical() {
            return Err(format!("`{text}` is IPv4 in IPv6 clothes: write {}", address.to_canonical()));
        }
        let cidr = Self { network: address, prefix };
        if cidr.contains(address) {
            Ok(cidr)
        } else {
            Err(format!("`{text}` has bits beyond its prefix: write the network's own address, or no prefix"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.168.4.0/22", "192.168.7.255", true),
            ("192.168.4.0/22", "192.168.8.0", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::/1", "127.0.0.1", false),
            ("128.0.0.0/1", "255.255.255.255", true),
        ] {
            let cidr: Cidr = network.parse().unwrap_or_else(|why| panic!("{why}"));
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(cidr.contains(address), inside, "{network} {address}");
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "10.0.0.0/8/8",
            "::/129",
            "fd00::1/8",
            "0.0.0.0/0",
            "::/0",
            "::ffff:10.0.0.0/104",
            "localhost",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong:?}");
        }
    }
}
