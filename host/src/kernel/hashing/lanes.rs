//! Who is hashed for next. Strangers can ask for a hash at will, by a login under any name, and must neither keep an
//! owner waiting nor have one turned away.
//!
//! What waits stands in lanes. An account has one, for its sessions and for browsers that it knows; everybody else
//! shares one with the network that they ask from, whatever name they ask for, or the wait would tell which names
//! there are. Lanes take turns, and so do the two kinds of lane: known ones have most of the turns, and not all of them,
//! because whoever makes an account is known too. Where there is no room, whoever has the most waiting gives way.
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Of so many turns strangers have one, while both kinds wait.
const TURNS: u32 = 4;

/// Whose lane it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lane {
    /// An account's, that knows who asks.
    Known(String),
    /// A network's: a /24 or, with IPv6, a /56, which is what one customer has. Without an address, all in one.
    Stranger(Option<IpAddr>),
}

impl Lane {
    /// That of whoever asks from an address, unknown.
    pub(crate) fn from_afar(peer: &str) -> Self {
        let address = peer.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        Self::Stranger(address.map(|address| match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() >> 8 << 8).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).into(),
        }))
    }

    fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}

/// What waits.
pub(super) struct Lanes<T> {
    known: Kind<T>,
    strangers: Kind<T>,
    /// How many of a kind may wait.
    room: usize,
    turn: u32,
}

/// The lanes of one kind, the one whose turn it is first. None is empty.
struct Kind<T> {
    lanes: VecDeque<(Lane, VecDeque<T>)>,
    waiting: usize,
}

impl<T> Lanes<T> {
    pub(super) fn new(room: usize) -> Self {
        let kind = || Kind { lanes: VecDeque::new(), waiting: 0 };
        Self { known: kind(), strangers: kind(), room, turn: 0 }
    }

    /// Lets one more wait; answers the one that has to give way for it, which may be itself.
    pub(super) fn push(&mut self, lane: Lane, one: T) -> Option<T> {
        let kind = if lane.is_known() { &mut self.known } else { &mut self.strangers };
        kind.push(lane, one, self.room)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.known.waiting + self.strangers.waiting
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.turn = (self.turn + 1) % TURNS;
        let [first, second] = match self.turn {
            0 => [&mut self.strangers, &mut self.known],
            _ => [&mut self.known, &mut self.strangers],
        };
        first.pop().or_else(|| second.pop())
    }
}

impl<T> Kind<T> {
    fn push(&mut self, lane: Lane, one: T, room: usize) -> Option<T> {
        let own = self.lanes.iter().position(|(other, _)| *other == lane);
        let mut dropped = None;
        if self.waiting >= room {
            let length = own.map_or(0, |at| self.lanes[at].1.len());
            let longest = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.len());
            match longest.filter(|(_, lane)| lane.len() > length + 1) {
                // Its newest: those before it have waited for longer.
                Some((_, lane)) => dropped = lane.pop_back(),
                None => return Some(one),
            }
            self.waiting -= 1;
        }
        match own {
            Some(at) => self.lanes[at].1.push_back(one),
            None => self.lanes.push_back((lane, VecDeque::from([one]))),
        }
        self.waiting += 1;
        dropped
    }

    fn pop(&mut self) -> Option<T> {
        let (lane, mut queue) = self.lanes.pop_front()?;
        let one = queue.pop_front();
        self.waiting -= usize::from(one.is_some());
        if !queue.is_empty() {
            self.lanes.push_back((lane, queue));
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 128;

    fn lane(name: &str) -> Lane {
        match name.parse::<IpAddr>() {
            Ok(_) => Lane::from_afar(name),
            Err(_) => Lane::Known(name.into()),
        }
    }

    #[test]
    fn lanes_take_turns_and_strangers_have_one_in_four() {
        // Who waits, in the order in which they came, and the order in which they are served.
        for (why, waiting, served) in [
            ("one lane is a queue", "ann ann ann", "0 1 2"),
            ("a crowd of one network", "192.0.2.1 192.0.2.2 192.0.2.3 198.51.100.1", "0 3 1 2"),
            ("a crowd of one account", "eve eve eve ann", "0 3 1 2"),
            ("who is known comes first", "192.0.2.1 192.0.2.1 ann", "2 0 1"),
            ("and not always", "eve eve eve eve eve 192.0.2.1 192.0.2.1 198.51.100.1", "0 1 2 5 3 4 7 6"),
            ("one customer's network", "2001:db8::1 2001:db8:0:ff::2 2001:db8:0:100::3", "0 2 1"),
            ("one address, however it is written", "192.0.2.1 ::ffff:192.0.2.9 198.51.100.1", "0 2 1"),
        ] {
            let mut lanes = Lanes::new(ROOM);
            for (n, name) in waiting.split(' ').enumerate() {
                assert_eq!(lanes.push(lane(name), n), None, "{why}");
            }
            let order: Vec<String> = std::iter::from_fn(|| lanes.pop()).map(|n| n.to_string()).collect();
            assert_eq!(order.join(" "), served, "{why}");
        }
    }

    #[test]
    fn who_has_the_most_waiting_gives_way() {
        let (flood, ann) = (lane("192.0.2.1"), lane("198.51.100.1"));
        let mut lanes = Lanes::new(ROOM);
        for n in 0..ROOM {
            assert_eq!(lanes.push(flood.clone(), n), None);
        }
        assert_eq!(lanes.push(flood.clone(), 1000), Some(1000), "its own newest");
        assert_eq!(lanes.push(ann.clone(), 2000), Some(ROOM - 1), "the flood's newest");
        assert_eq!(lanes.push(lane("ann"), 3000), None, "known ones have room of their own");
        assert_eq!([(); 4].map(|()| lanes.pop()), [Some(3000), Some(0), Some(2000), Some(1)]);
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_turns_nobody_out_who_has_no_more_than_it() {
        let mut lanes = Lanes::new(ROOM);
        for n in 0..u8::try_from(ROOM).unwrap() {
            assert_eq!(lanes.push(lane(&format!("10.0.{n}.1")), n), None);
        }
        assert_eq!(lanes.push(lane("192.0.2.1"), 200), Some(200));
        assert_eq!(lanes.push(lane("10.0.0.9"), 201), Some(201));
        for n in 0..3 {
            assert_eq!(lanes.push(lane("ann"), 210 + n), None);
        }
        assert_eq!([(); 5].map(|()| lanes.pop()), [210, 211, 212, 0, 1].map(Some), "the owner does not wait");
        assert_eq!(std::iter::from_fn(|| lanes.pop()).count(), ROOM - 2);
    }
}
