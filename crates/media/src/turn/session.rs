//! One client of the relay, from its first message to the end of its allocation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::Peers;
use super::allocation::{Allocation, seconds};
use super::credentials::{REALM, Secret, User};
use super::failure::{Failure, error};
use super::framing::{CHANNEL_HEADER_LEN, MESSAGE_LEN_MAX};
use super::nonce::Nonces;
use crate::stun::{Class, HEADER_LEN, Key, Message, Transaction, Writer, attribute, method, read_address};

/// Longest datagram of a peer that is passed on: with an IPv6 address around it is one message.
const PAYLOAD_LEN_MAX: usize = MESSAGE_LEN_MAX - HEADER_LEN - 24 - 8;
/// REQUESTED-TRANSPORT is UDP.
const UDP: u8 = 17;

/// What all sessions share.
pub struct Relay {
    secret: Secret,
    nonces: Nonces,
    peers: Peers,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Relay {
    /// `secret`: what [`super::Announcement`] makes credentials with; `nonces`: random bytes.
    pub fn new(secret: Secret, nonces: &[u8; 32], peers: Peers) -> Self {
        Self { secret, nonces: Nonces::new(nonces), peers }
    }
}

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// How the client reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP: each datagram is a message.
    Datagram,
    /// TCP or TLS: messages follow each other, see [`super::frame_len`].
    Stream,
}

/// What a message of the client leads to.
#[derive(Debug)]
pub enum Reaction<'a> {
    /// Nothing: it was not for us, or not allowed and not to be answered.
    Nothing,
    /// To be sent to the client.
    Reply {
        /// A message.
        bytes: Vec<u8>,
        /// Why the client did not get what it asked for, as a word for metrics.
        refused: Option<&'static str>,
    },
    /// To be sent from the relayed address.
    Forward {
        /// To whom.
        to: SocketAddr,
        /// What.
        payload: &'a [u8],
    },
    /// A relayed address is needed; [`Session::allocated`] takes it.
    Allocate(Request),
}

/// A request for a relayed address, of a participant with valid credentials.
pub struct Request {
    /// Of which family.
    pub family: Family,
    /// At an even port.
    pub even: bool,
    /// For which participant.
    pub sid: String,
    username: String,
    key: Key,
    transaction: Transaction,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("family", &self.family)
            .field("sid", &self.sid)
            .finish_non_exhaustive()
    }
}

/// Why there is no relayed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRelay {
    /// The participant has as many as one may have.
    Quota,
    /// So has the server, or the system gives none.
    Capacity,
}

/// One client, known by its address and ours. Dropping it drops everything that was kept of it.
#[derive(Debug)]
pub struct Session {
    relay: Arc<Relay>,
    client: SocketAddr,
    transport: Transport,
    allocation: Option<Allocation>,
}

impl Session {
    /// A client that has said nothing yet.
    pub fn new(relay: Arc<Relay>, client: SocketAddr, transport: Transport) -> Self {
        Self { relay, client, transport, allocation: None }
    }

    /// When the allocation ends if nothing more comes.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.allocation.as_ref().map(|allocation| allocation.expires_at)
    }

    /// Whether there is an allocation.
    pub fn is_allocated(&self, now: Instant) -> bool {
        self.allocation.as_ref().is_some_and(|allocation| now < allocation.expires_at)
    }

    /// Takes one whole message of the client. `unix_s`: now, in Unix seconds.
    pub fn handle_client<'a>(&mut self, now: Instant, unix_s: u64, message: &'a [u8]) -> Reaction<'a> {
        if !self.is_allocated(now) {
            self.allocation = None;
        }
        if message.first().is_some_and(|first| (0x40..0x80).contains(first)) {
            return self.channel_data(now, message).unwrap_or(Reaction::Nothing);
        }
        let Some(message) = Message::parse(message) else { return Reaction::Nothing };
        match (message.class, message.method) {
            (Class::Request, method::BINDING) => {
                let mut bytes = Vec::new();
                Writer::new(&mut bytes, Class::Success, message.method, message.transaction)
                    .address(attribute::XOR_MAPPED_ADDRESS, self.client);
                Reaction::Reply { bytes, refused: None }
            }
            (Class::Request, _) => self.request(now, unix_s, &message),
            (Class::Indication, method::SEND) => self.send(now, &message).unwrap_or(Reaction::Nothing),
            _ => Reaction::Nothing,
        }
    }

    /// Makes the allocation that was asked for, at that port, or does not. Returns the reply.
    pub fn allocated(&mut self, now: Instant, request: &Request, port: Result<u16, NoRelay>) -> Vec<u8> {
        let ip = self.relayed(request.family);
        let (Some(ip), Ok(port)) = (ip, port) else {
            let failure = match port {
                Err(NoRelay::Quota) => Failure::Quota,
                Err(NoRelay::Capacity) | Ok(_) => Failure::Capacity,
            };
            let mut bytes = Vec::new();
            error(&mut bytes, method::ALLOCATE, request.transaction, failure).sign(&request.key);
            return bytes;
        };
        let Request { username, key, transaction, .. } = request;
        let relayed = SocketAddr::new(ip, port);
        let allocation = Allocation::new(now, relayed, username.clone(), *key, *transaction);
        self.allocation.insert(allocation).announced(self.client)
    }

    /// Takes a datagram that came to the relayed address. `false` if it is not for the client; else what is to be sent to
    /// it was appended to `to_client`.
    pub fn handle_peer(
        &self,
        now: Instant,
        from: SocketAddr,
        payload: &[u8],
        to_client: &mut Vec<u8>,
    ) -> bool {
        let Some(allocation) = self.allocation.as_ref().filter(|allocation| now < allocation.expires_at)
        else {
            return false;
        };
        let peer = self.relay.peers.known_as(from).filter(|peer| allocation.permits(now, peer.ip()));
        let len = u16::try_from(payload.len()).ok().filter(|len| usize::from(*len) <= PAYLOAD_LEN_MAX);
        let (Some(peer), Some(len)) = (peer, len) else { return false };
        match allocation.channel_of(now, peer) {
            Some(channel) => {
                to_client.extend_from_slice(&channel.to_be_bytes());
                to_client.extend_from_slice(&len.to_be_bytes());
                to_client.extend_from_slice(payload);
                if self.transport == Transport::Stream {
                    to_client.resize(to_client.len() + payload.len().next_multiple_of(4) - payload.len(), 0);
                }
            }
            None => {
                // Nobody answers an indication, so its transaction matters to nobody.
                let transaction = *b"\x21\x12\xa4\x42plenum-relay";
                Writer::new(to_client, Class::Indication, method::DATA, transaction)
                    .address(attribute::XOR_PEER_ADDRESS, peer)
                    .attribute(attribute::DATA, payload);
            }
        }
        true
    }

    /// Forgets the allocation.
    #[cfg(test)]
    pub(super) fn expire(&mut self) {
        self.allocation = None;
    }

    /// The address that relayed addresses of that family have.
    fn relayed(&self, family: Family) -> Option<IpAddr> {
        self.relay.peers.first(|ip| Family::of(ip) == family)
    }

    fn channel_data<'a>(&self, now: Instant, message: &'a [u8]) -> Option<Reaction<'a>> {
        let (&[n1, n2, l1, l2], rest) = message.split_first_chunk::<CHANNEL_HEADER_LEN>()?;
        let payload = rest.get(..usize::from(u16::from_be_bytes([l1, l2])))?;
        let peer = self.allocation.as_ref()?.peer_of(now, u16::from_be_bytes([n1, n2]))?;
        Some(Reaction::Forward { to: self.relay.peers.reach(peer)?, payload })
    }

    fn send<'a>(&self, now: Instant, message: &Message<'a>) -> Option<Reaction<'a>> {
        let allocation = self.allocation.as_ref()?;
        if message.unknown().is_some() {
            return None;
        }
        let peer = read_address(message.attribute(attribute::XOR_PEER_ADDRESS)?, &message.transaction)?;
        let payload = message.attribute(attribute::DATA)?;
        let is_right = Family::of(peer.ip()) == allocation.family() && allocation.permits(now, peer.ip());
        let to = self.relay.peers.reach(peer).filter(|_| is_right)?;
        Some(Reaction::Forward { to, payload })
    }

    fn request(&mut self, now: Instant, unix_s: u64, message: &Message<'_>) -> Reaction<'static> {
        let mut bytes = Vec::new();
        let (key, failure) = match self.authenticate(unix_s, message) {
            Err(failure) => {
                let writer = error(&mut bytes, message.method, message.transaction, failure);
                if failure != Failure::BadRequest {
                    let nonce = self.relay.nonces.give(self.client, unix_s);
                    writer
                        .attribute(attribute::REALM, REALM.as_bytes())
                        .attribute(attribute::NONCE, nonce.as_bytes());
                }
                return Reaction::Reply { bytes, refused: failure.told().2 };
            }
            Ok(request) => {
                let key = request.key;
                let result = match message.method {
                    method::ALLOCATE => match self.allocate(unix_s, message, request) {
                        Ok(reaction) => return reaction,
                        Err(failure) => Err(failure),
                    },
                    _ => self.change(now, message, &request),
                };
                match result {
                    Ok(reply) => return Reaction::Reply { bytes: reply, refused: None },
                    Err(failure) => (key, failure),
                }
            }
        };
        let mut writer = error(&mut bytes, message.method, message.transaction, failure);
        match failure {
            Failure::UnknownAttribute(attribute) => {
                writer = writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &attribute.to_be_bytes());
            }
            // As if nothing had been shown: the client is to begin again, if it has other credentials.
            Failure::Unauthorized => {
                let nonce = self.relay.nonces.give(self.client, unix_s);
                writer = writer
                    .attribute(attribute::REALM, REALM.as_bytes())
                    .attribute(attribute::NONCE, nonce.as_bytes());
            }
            _ => {}
        }
        writer.sign(&key);
        Reaction::Reply { bytes, refused: failure.told().2 }
    }

    /// Who asks (RFC 8489 §9.2.4).
    fn authenticate(&self, unix_s: u64, message: &Message<'_>) -> Result<Request, Failure> {
        if !message.is_signed() {
            return Err(Failure::Unsigned);
        }
        let text = |wanted| message.text(wanted).ok_or(Failure::BadRequest);
        let (username, nonce) = (text(attribute::USERNAME)?, text(attribute::NONCE)?);
        text(attribute::REALM)?;
        let user = User::parse(username).ok_or(Failure::Unauthorized)?;
        if !self.relay.nonces.accepts(nonce, self.client, unix_s) {
            return Err(Failure::StaleNonce);
        }
        let key = match &self.allocation {
            Some(allocation) if allocation.username == username => allocation.key,
            _ => self.relay.secret.key(username),
        };
        if !message.is_signed_with(&key) {
            return Err(Failure::Unauthorized);
        }
        Ok(Request {
            family: Family::V4,
            even: false,
            sid: user.sid,
            username: username.to_owned(),
            key,
            transaction: message.transaction,
        })
    }

    fn allocate(
        &self,
        unix_s: u64,
        message: &Message<'_>,
        request: Request,
    ) -> Result<Reaction<'static>, Failure> {
        if let Some(allocation) = &self.allocation {
            if allocation.made_by != message.transaction {
                return Err(Failure::AllocationMismatch);
            }
            // The reply was lost.
            return Ok(Reaction::Reply { bytes: allocation.announced(self.client), refused: None });
        }
        // What was made with them goes on; nothing new is.
        if User::parse(&request.username).is_none_or(|user| user.expires_at < unix_s) {
            return Err(Failure::Unauthorized);
        }
        if let Some(attribute) = message.unknown() {
            return Err(Failure::UnknownAttribute(attribute));
        }
        match message.attribute(attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Failure::UnsupportedTransport),
            _ => return Err(Failure::BadRequest),
        }
        let even = match (
            message.attribute(attribute::EVEN_PORT),
            message.attribute(attribute::RESERVATION_TOKEN),
        ) {
            (None, None) => false,
            (Some([0, ..]), None) => true,
            // The next port too, for later, or one from earlier.
            _ => return Err(Failure::Capacity),
        };
        let family = match message.attribute(attribute::REQUESTED_ADDRESS_FAMILY) {
            None | Some([1, ..]) => Family::V4,
            Some([2, ..]) => Family::V6,
            Some(_) => return Err(Failure::AddressFamilyNotSupported),
        };
        self.relayed(family).ok_or(Failure::AddressFamilyNotSupported)?;
        Ok(Reaction::Allocate(Request { family, even, ..request }))
    }

    /// Requests about an allocation that is there.
    fn change(&mut self, now: Instant, message: &Message<'_>, request: &Request) -> Result<Vec<u8>, Failure> {
        let peers = &self.relay.peers;
        let allocation = self.allocation.as_mut().ok_or(Failure::AllocationMismatch)?;
        if allocation.username != request.username {
            return Err(Failure::WrongCredentials);
        }
        if let Some(attribute) = message.unknown() {
            return Err(Failure::UnknownAttribute(attribute));
        }
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Class::Success, message.method, message.transaction);
        match message.method {
            method::REFRESH => {
                let life = allocation.refresh(now, message)?;
                writer = writer.attribute(attribute::LIFETIME, &seconds(life));
            }
            method::CREATE_PERMISSION => allocation.create_permission(now, message, peers)?,
            method::CHANNEL_BIND => allocation.bind_channel(now, message, peers)?,
            _ => return Err(Failure::BadRequest),
        }
        writer.sign(&request.key);
        if now >= allocation.expires_at {
            self.allocation = None;
        }
        Ok(bytes)
    }
}
