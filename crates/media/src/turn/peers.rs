//! Where a relay may lead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// The addresses that clients may reach through the relay: exactly those that this server tells them for media, and what
/// the operator allows beyond.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// What clients are told, and where that is reached from here. A handful.
    media: Vec<(SocketAddr, SocketAddr)>,
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    own: Vec<IpAddr>,
}

impl Peers {
    /// `media`: each address that clients are told, and where it is reached from here, which is another one where the
    /// first is outside of a NAT. `allow` and `deny`: the operator's networks; what is in both is denied, media too.
    /// `own`: this machine's addresses, which are in no allowed network: whoever allows a network thinks of other
    /// machines. One that is allowed by itself is.
    pub fn new(
        media: impl IntoIterator<Item = (SocketAddr, SocketAddr)>,
        allow: impl IntoIterator<Item = IpNet>,
        deny: impl IntoIterator<Item = IpNet>,
        own: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            media: media.into_iter().collect(),
            allow: allow.into_iter().collect(),
            deny: deny.into_iter().collect(),
            own: own.into_iter().collect(),
        }
    }

    /// The address of that family that clients are told first.
    pub(super) fn first(&self, is_wanted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        self.media.iter().map(|(told, _)| told.ip()).find(|ip| is_wanted(*ip))
    }

    /// Whether there is any port at that address that may be reached; a permission names an address only.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        !self.denies(ip) && (self.is_media(ip) || self.allows(ip))
    }

    /// Where a datagram to that peer goes.
    pub(super) fn reach(&self, peer: SocketAddr) -> Option<SocketAddr> {
        if self.denies(peer.ip()) {
            return None;
        }
        let media = self.media.iter().find(|(told, _)| *told == peer);
        media.map(|(_, here)| *here).or_else(|| (peer.port() != 0 && self.allows(peer.ip())).then_some(peer))
    }

    /// The peer that a datagram from this address is of, as clients know it.
    pub(super) fn known_as(&self, from: SocketAddr) -> Option<SocketAddr> {
        let media = self.media.iter().find(|(_, here)| *here == from);
        let peer = media.map_or(from, |(told, _)| *told);
        self.reach(peer).filter(|here| *here == from).map(|_| peer)
    }

    fn is_media(&self, ip: IpAddr) -> bool {
        self.media.iter().any(|(told, _)| told.ip() == ip)
    }

    fn allows(&self, ip: IpAddr) -> bool {
        let is_own = self.is_media(ip) || self.own.contains(&ip) || ip.is_loopback();
        self.allow.iter().any(|network| {
            network.contains(&ip) && (!is_own || network.prefix_len() == network.max_prefix_len())
        })
    }

    /// What is nobody's address, IPv4 in the clothes of IPv6, and what the operator denies.
    fn denies(&self, ip: IpAddr) -> bool {
        let is_nobody = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        let is_disguised = ip.to_canonical() != ip
            || matches!(ip, IpAddr::V6(v6) if v6.segments()[..6] == [0; 6] && !v6.is_loopback());
        is_nobody || is_disguised || self.deny.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(allow: &[&str], deny: &[&str]) -> Peers {
        let nets =
            |list: &[&str]| list.iter().map(|one| one.parse().expect("a network")).collect::<Vec<IpNet>>();
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let media = [
            (address("10.0.0.5:7882"), address("10.0.0.5:7882")),
            (address("203.0.113.7:7882"), address("127.0.0.1:7882")),
            (address("[2001:db8::5]:7882"), address("[2001:db8::5]:7882")),
        ];
        let own = ["10.0.0.5", "2001:db8::5"].map(|ip| ip.parse().expect("an address"));
        Peers::new(media, nets(allow), nets(deny), own)
    }

    /// A peer, and where it leads with nothing allowed, with whole networks allowed, and with single addresses allowed.
    type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    const REACHED: &[Row<'_>] = &[
        // Media: private, behind a NAT, IPv6.
        ("10.0.0.5:7882", Some("10.0.0.5:7882"), Some("10.0.0.5:7882"), Some("10.0.0.5:7882")),
        ("203.0.113.7:7882", Some("127.0.0.1:7882"), Some("127.0.0.1:7882"), Some("127.0.0.1:7882")),
        (
            "[2001:db8::5]:7882",
            Some("[2001:db8::5]:7882"),
            Some("[2001:db8::5]:7882"),
            Some("[2001:db8::5]:7882"),
        ),
        // Other ports of this machine, by all of its addresses.
        ("10.0.0.5:22", None, None, Some("10.0.0.5:22")),
        ("10.0.0.5:7881", None, None, Some("10.0.0.5:7881")),
        ("[2001:db8::5]:22", None, None, None),
        ("127.0.0.1:7882", None, None, Some("127.0.0.1:7882")),
        ("127.0.0.1:22", None, None, Some("127.0.0.1:22")),
        ("127.0.0.2:22", None, None, None),
        ("[::1]:22", None, None, None),
        ("203.0.113.7:22", None, None, None),
        // Other machines.
        ("10.0.0.6:9", None, Some("10.0.0.6:9"), None),
        ("10.0.0.6:0", None, None, None),
        ("198.51.100.9:9", None, Some("198.51.100.9:9"), None),
        ("[2001:db8::6]:9", None, Some("[2001:db8::6]:9"), None),
        ("169.254.169.254:80", None, Some("169.254.169.254:80"), None),
        // Nobody, everybody, and IPv4 in the clothes of IPv6.
        ("0.0.0.0:7882", None, None, None),
        ("255.255.255.255:9", None, None, None),
        ("224.0.0.1:9", None, None, None),
        ("[::]:7882", None, None, None),
        ("[ff02::1]:9", None, None, None),
        ("[::ffff:10.0.0.5]:7882", None, None, None),
        ("[::ffff:10.0.0.6]:9", None, None, None),
        ("[::10.0.0.6]:9", None, None, None),
    ];

    #[test]
    fn a_relay_leads_to_media_and_to_what_is_allowed() {
        let nothing = peers(&[], &[]);
        let networks = peers(&["0.0.0.0/0", "::/0"], &[]);
        let single = peers(&["10.0.0.5/32", "127.0.0.1/32"], &[]);
        for (peer, by_default, by_networks, by_address) in REACHED {
            for (peers, wanted) in [(&nothing, by_default), (&networks, by_networks), (&single, by_address)] {
                let peer = peer.parse().expect("an address");
                let wanted = wanted.map(|wanted| wanted.parse().expect("an address"));
                assert_eq!(peers.reach(peer), wanted, "{peer} where {:?} is allowed", peers.allow);
                assert!(wanted.is_none() || peers.permits(peer.ip()));
            }
        }
        assert!(nothing.permits("10.0.0.5".parse().expect("an address")));
        assert!(!nothing.permits("10.0.0.6".parse().expect("an address")));
        assert!(!nothing.permits("127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn what_is_denied_is_not_reached() {
        let peers = peers(&["10.0.0.0/8"], &["10.0.0.5/32", "10.1.0.0/16"]);
        let reach = |peer: &str| peers.reach(peer.parse().expect("an address"));
        assert_eq!(reach("10.0.0.5:7882"), None, "though it is media");
        assert_eq!(reach("10.1.0.1:9"), None, "though it is allowed");
        assert!(reach("10.2.0.1:9").is_some());
        assert!(!peers.permits("10.0.0.5".parse().expect("an address")));
    }

    #[test]
    fn datagrams_are_those_of_the_peer_that_clients_know() {
        let peers = peers(&["10.0.0.0/8"], &[]);
        let known =
            |from: &str| peers.known_as(from.parse().expect("an address")).map(|peer| peer.to_string());
        assert_eq!(known("10.0.0.5:7882").as_deref(), Some("10.0.0.5:7882"));
        assert_eq!(known("127.0.0.1:7882").as_deref(), Some("203.0.113.7:7882"), "from inside of the NAT");
        assert_eq!(known("203.0.113.7:7882"), None, "nothing comes from there");
        assert_eq!(known("10.0.0.6:9").as_deref(), Some("10.0.0.6:9"));
        assert_eq!(known("10.0.0.5:53"), None);
        assert_eq!(known("127.0.0.1:53"), None);
    }
}
