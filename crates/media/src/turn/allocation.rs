//! What a client has on the server: a relayed address, and the peers that it may be used with.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::peers::Peers;
use super::session::Family;
use crate::stun::{Class, Key, Message, Transaction, Writer, attribute, method, read_address};

/// An allocation ends so long after it was made or refreshed, whatever the client asks for (RFC 8656 §3.2).
const LIFE: Duration = Duration::from_secs(600);
/// A permission lasts so long (RFC 8656 §9) …
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// … and a channel so long (RFC 8656 §12).
const CHANNEL_LIFE: Duration = Duration::from_secs(600);
/// Most permissions, and most channels, of an allocation; a server has a handful of addresses.
const PEERS_MAX: usize = 32;
/// Made by one request, kept alive by others.
pub(super) struct Allocation {
    pub(super) username: String,
    pub(super) key: Key,
    /// Of the request that made it: over UDP it may come twice.
    pub(super) made_by: Transaction,
    pub(super) relayed: SocketAddr,
    pub(super) expires_at: Instant,
    permissions: Vec<(IpAddr, Instant)>,
    channels: Vec<Channel>,
}

impl std::fmt::Debug for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allocation").field("relayed", &self.relayed).finish_non_exhaustive()
    }
}

/// A short name for a peer.
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires_at: Instant,
}

impl Allocation {
    pub(super) fn family(&self) -> Family {
        Family::of(self.relayed.ip())
    }

    /// For a request that was granted, at that address.
    pub(super) fn new(
        now: Instant,
        relayed: SocketAddr,
        username: String,
        key: Key,
        made_by: Transaction,
    ) -> Self {
        let (permissions, channels) = (Vec::new(), Vec::new());
        Self { username, key, made_by, relayed, expires_at: now + LIFE, permissions, channels }
    }

    /// The peer whose channel that is.
    pub(super) fn peer_of(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let open = self.channels.iter().find(|channel| channel.number == number && now < channel.expires_at);
        open.map(|channel| channel.peer)
    }

    /// The channel of that peer.
    pub(super) fn channel_of(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let open = self.channels.iter().find(|channel| channel.peer == peer && now < channel.expires_at);
        open.map(|channel| channel.number)
    }

    pub(super) fn permits(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.iter().any(|(permitted, until)| *permitted == ip && now < *until)
    }

    /// The success of the request that made it.
    pub(super) fn announced(&self, client: SocketAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, Class::Success, method::ALLOCATE, self.made_by)
            .address(attribute::XOR_RELAYED_ADDRESS, self.relayed)
            .attribute(attribute::LIFETIME, &seconds(LIFE))
            .address(attribute::XOR_MAPPED_ADDRESS, client)
            .sign(&self.key);
        bytes
    }

    /// Returns how long it lives from now on.
    pub(super) fn refresh(&mut self, now: Instant, message: &Message<'_>) -> Result<Duration, Failure> {
        match message.attribute(attribute::REQUESTED_ADDRESS_FAMILY) {
            None => {}
            Some([1, ..]) if self.family() == Family::V4 => {}
            Some([2, ..]) if self.family() == Family::V6 => {}
            Some(_) => return Err(Failure::PeerFamilyMismatch),
        }
        let life = match message.attribute(attribute::LIFETIME) {
            Some([0, 0, 0, 0]) => Duration::ZERO,
            _ => LIFE,
        };
        self.expires_at = now + life;
        Ok(life)
    }

    pub(super) fn create_permission(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        peers: &Peers,
    ) -> Result<(), Failure> {
        let named = message.attributes().filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS);
        let named: Vec<IpAddr> = named
            .map(|(_, value)| Ok(self.peer(value, &message.transaction)?.ip()))
            .collect::<Result<_, _>>()?;
        if named.is_empty() {
            return Err(Failure::BadRequest);
        }
        if !named.iter().all(|ip| peers.permits(*ip)) {
            return Err(Failure::Forbidden);
        }
        named.into_iter().try_for_each(|ip| self.permit(now, ip))
    }

    pub(super) fn bind_channel(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        peers: &Peers,
    ) -> Result<(), Failure> {
        let number = match message.attribute(attribute::CHANNEL_NUMBER) {
            Some(&[n1, n2, _, _]) => u16::from_be_bytes([n1, n2]),
            _ => return Err(Failure::BadRequest),
        };
        // RFC 8656 §12 ends at 0x4fff; clients of RFC 5766 go on.
        if !(0x4000..0x7fff).contains(&number) {
            return Err(Failure::BadRequest);
        }
        let peer = message.attribute(attribute::XOR_PEER_ADDRESS).ok_or(Failure::BadRequest)?;
        let peer = self.peer(peer, &message.transaction)?;
        peers.reach(peer).ok_or(Failure::Forbidden)?;
        self.channels.retain(|channel| now < channel.expires_at);
        let is_bound = |channel: &Channel| channel.number == number || channel.peer == peer;
        match self.channels.iter().position(is_bound) {
            Some(index) => {
                let channel = &mut self.channels[index];
                if (channel.number, channel.peer) != (number, peer) {
                    return Err(Failure::BadRequest);
                }
                channel.expires_at = now + CHANNEL_LIFE;
            }
            None if self.channels.len() >= PEERS_MAX => return Err(Failure::Capacity),
            None => self.channels.push(Channel { number, peer, expires_at: now + CHANNEL_LIFE }),
        }
        self.permit(now, peer.ip())
    }

    /// A peer of the family that this allocation can reach.
    fn peer(&self, value: &[u8], transaction: &Transaction) -> Result<SocketAddr, Failure> {
        let peer = read_address(value, transaction).ok_or(Failure::BadRequest)?;
        if Family::of(peer.ip()) == self.family() { Ok(peer) } else { Err(Failure::PeerFamilyMismatch) }
    }

    fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), Failure> {
        self.permissions.retain(|(other, until)| *other != ip && now < *until);
        if self.permissions.len() >= PEERS_MAX {
            return Err(Failure::Capacity);
        }
        self.permissions.push((ip, now + PERMISSION_LIFE));
        Ok(())
    }
}

pub(super) fn seconds(duration: Duration) -> [u8; 4] {
    (duration.as_secs() as u32).to_be_bytes()
}
