//! What goes into a client and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use livekit_protocol as proto;
use str0m::rtp::RawPacket;

use crate::connection::Received;
use crate::counter::Reception;
use crate::join::Signalling;
use crate::track::TrackId;

/// One of a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client offers: what it publishes, and with [`Signalling::OneConnection`] what it receives.
    Publisher,
    /// The server offers: what the client receives.
    Subscriber,
}

/// How somebody takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// One connection or two.
    pub signalling: Signalling,
    /// What becomes of what is received.
    pub reception: Reception,
    /// What the server is told with the first request.
    pub connection: proto::ConnectionSettings,
    /// The client's own addresses: of the publisher's connection, and of the subscriber's. Each connection has its own.
    pub addresses: [SocketAddr; 2],
    /// Other addresses of this machine, where the same ports are open: a server on the same machine may have any of them.
    pub more: Vec<IpAddr>,
    /// Begins congestion control of what is published at this many bits per second; without it everything leaves at once.
    pub estimate: Option<u64>,
    /// Takes and sends sound that repeats what came before (RFC 2198), and asks again for what is missing of it, as
    /// LiveKit's clients do.
    pub robust_sound: bool,
    /// Gives every packet of both directions as [`Event::Raw`] too. Costs a copy of each.
    pub raw: bool,
}

impl Settings {
    /// Two connections, everything subscribed, everything taken whole.
    pub fn new(addresses: [SocketAddr; 2]) -> Self {
        Self {
            signalling: Signalling::TwoConnections,
            reception: Reception::Whole,
            connection: proto::ConnectionSettings { auto_subscribe: true, ..Default::default() },
            addresses,
            more: Vec::new(),
            estimate: None,
            robust_sound: false,
            raw: false,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A connection stands.
    Connected(Side),
    /// A connection has ended.
    Disconnected(Side),
    /// A data channel is open: `_reliable` or `_lossy`.
    ChannelOpen(Side, String),
    /// A media packet came; of those that are only counted, the ones that were opened.
    Packet(Received),
    /// A key frame of a layer is wanted.
    KeyframeWanted {
        /// The track.
        track: TrackId,
        /// Place of the layer.
        layer: usize,
    },
    /// The server has a name for a track.
    Published(TrackId),
    /// A data packet came.
    Data {
        /// By the reliable channel.
        reliable: bool,
        /// The packet.
        packet: Box<proto::DataPacket>,
    },
    /// What the connection carries, in bits per second ([`Settings::estimate`]).
    Estimate(u64),
    /// A packet of either direction as str0m sees it, decrypted ([`Settings::raw`]).
    Raw(Side, Box<RawPacket>),
    /// The server has ended the session.
    Left(proto::DisconnectReason),
}

/// What [`Client::send_user_data`] sends; `None` of packets of another kind.
pub fn user_payload(packet: &proto::DataPacket) -> Option<&[u8]> {
    match &packet.value {
        Some(proto::data_packet::Value::User(user)) => Some(&user.payload),
        _ => None,
    }
}

/// Why a client cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server's session description cannot be read.
    #[error("the server's session description cannot be read")]
    Sdp,
    /// A connection broke.
    #[error("connection: {0}")]
    Connection(String),
}

/// A datagram that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// From which of the client's addresses.
    pub side: Side,
    /// To whom.
    pub remote: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A datagram that came.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// From whom.
    pub remote: SocketAddr,
    /// When it reached this machine: now, or before.
    pub received: Instant,
    /// Its bytes.
    pub bytes: &'a [u8],
}
