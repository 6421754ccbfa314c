//! How many seats one network may ask for: who has an invitation must not be able to fill the meeting's record alone.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

/// A class behind one address may come in at once.
const BURST: u32 = 120;
/// One more for each of these.
const REFILL_EVERY: Duration = Duration::from_secs(3);
/// Networks that are remembered; beyond, all others share one allowance.
const NETWORKS_MAX: usize = 10_000;

/// An allowance per network.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// When the allowance of each will be whole again.
    whole_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Arrivals {
    /// Takes one from the allowance of that address's network. `false`: there is none left.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> bool {
        let mut whole_at = self.whole_at.lock().expect("no code panics while it holds the arrivals");
        let mut network = network(address);
        if whole_at.len() >= NETWORKS_MAX && !whole_at.contains_key(&network) {
            whole_at.retain(|_, at| *at > now);
            if whole_at.len() >= NETWORKS_MAX {
                network = Ipv4Addr::UNSPECIFIED.into();
            }
        }
        let at = whole_at.entry(network).or_insert(now);
        let next = (*at).max(now) + REFILL_EVERY;
        let allowed = next <= now + BURST * REFILL_EVERY;
        if allowed {
            *at = next;
        }
        allowed
    }
}

/// One customer has at least a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_an_allowance_that_comes_back() {
        let (arrivals, now) = (Arrivals::default(), Instant::now());
        let (one, other) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
        assert_eq!((0..200).filter(|_| arrivals.take(one, now)).count(), BURST as usize);
        assert!(!arrivals.take("2001:db8::2".parse().unwrap(), now), "a neighbour in the same network");
        assert!(arrivals.take(other, now));
        assert!(arrivals.take(one, now + REFILL_EVERY));
        assert!(!arrivals.take(one, now + REFILL_EVERY));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (arrivals, now) = (Arrivals::default(), Instant::now());
        for number in 0..2 * NETWORKS_MAX as u32 {
            arrivals.take(Ipv4Addr::from_bits(number + 1).into(), now);
        }
        assert!(arrivals.whole_at.lock().unwrap().len() <= NETWORKS_MAX + 1);
    }
}
