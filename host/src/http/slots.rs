//! Room for connections: so many in all, and so many for one address.
use crate::metrics::CONNECTIONS;
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Counts open connections.
pub(super) struct Slots {
    all: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_block: HashMap<IpAddr, usize>,
}

/// Room for one connection, given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    /// `None` for an address that is not counted by itself.
    block: Option<IpAddr>,
}

impl Slots {
    pub(super) fn new(all: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { all, per_address, open: Mutex::default() })
    }

    /// Room for a connection from `address`, if there is any. A trusted proxy stands for many clients and is
    /// `exempt` from the bound of one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, exempt: bool) -> Option<Slot> {
        let block = (!exempt).then(|| block(address));
        let mut open = self.open.lock();
        if open.all >= self.all {
            return None;
        }
        if let Some(block) = block {
            let count = open.by_block.entry(block).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
        }
        open.all += 1;
        CONNECTIONS.shift(1);
        Some(Slot { slots: Arc::clone(self), block })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        open.all -= 1;
        CONNECTIONS.shift(-1);
        if let Some(block) = self.block
            && let Some(count) = open.by_block.get_mut(&block)
        {
            *count -= 1;
            if *count == 0 {
                open.by_block.remove(&block);
            }
        }
    }
}

/// An IPv6 client has a whole /64 to come from.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_a_proxy_only_the_whole() {
        let slots = Slots::new(4, 2);
        let first = slots.take(ip("192.0.2.1"), false).unwrap();
        let _second = slots.take(ip("::ffff:192.0.2.1"), false).unwrap();
        assert!(slots.take(ip("192.0.2.1"), false).is_none(), "the third of one address");
        let _other = slots.take(ip("192.0.2.2"), false).unwrap();
        let _proxy = slots.take(ip("192.0.2.1"), true).unwrap();
        assert!(slots.take(ip("192.0.2.3"), true).is_none(), "the fifth of all");
        drop(first);
        assert!(slots.take(ip("192.0.2.1"), false).is_some());
    }

    #[test]
    fn a_64_counts_as_one_address() {
        let slots = Slots::new(9, 1);
        let slot = slots.take(ip("2001:db8:0:1::1"), false).unwrap();
        assert!(slots.take(ip("2001:db8:0:1:ffff::2"), false).is_none());
        assert!(slots.take(ip("2001:db8:0:2::1"), false).is_some());
        drop(slot);
        assert!(slots.open.lock().by_block.is_empty(), "nothing is kept of who has gone");
    }
}
