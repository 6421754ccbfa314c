//! What the server is started with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use plenum_media::overload::DEFAULT_CEILING;
use plenum_media::room::{Limits, RoomDefaults, RoomOptions};
use plenum_media::sdp::Codec;

/// Who can reach the media ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindScope {
    /// This machine only.
    #[default]
    Loopback,
    /// Every network that this machine is on.
    AllInterfaces,
}

/// Somebody who wants to hear what happens in rooms.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where events are posted.
    pub url: String,
    /// The key that signs them; one of [`Config::keys`].
    pub api_key: String,
    /// Kinds of events that are posted; all when empty.
    pub include: BTreeSet<String>,
    /// Kinds that are not; they count where `include` is empty.
    pub exclude: BTreeSet<String>,
}

impl Webhook {
    /// Every event, to `url`.
    pub fn new(url: impl Into<String>, api_key: impl Into<String>) -> Self {
        Self { url: url.into(), api_key: api_key.into(), include: BTreeSet::new(), exclude: BTreeSet::new() }
    }

    /// Whether events of that kind are posted.
    pub fn wants(&self, event: &str) -> bool {
        if self.include.is_empty() { !self.exclude.contains(event) } else { self.include.contains(event) }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may carry a password.
        f.debug_struct("Webhook").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

/// Configuration of the media server.
#[derive(Clone)]
pub struct Config {
    /// The one UDP port for all media; 0 for any free one.
    pub udp_port: u16,
    /// UDP ports in a row, from that one on: 1, which the media threads share, or one for each thread, so that no datagram
    /// comes to another thread than its own.
    pub udp_ports: u16,
    /// The TCP port for clients without UDP; 0 for any free one.
    pub tcp_port: Option<u16>,
    /// Who can reach these ports.
    pub bind: BindScope,
    /// The address that clients are told, instead of those of the interfaces.
    pub node_ip: Option<IpAddr>,
    /// API keys and their secrets.
    pub keys: BTreeMap<String, String>,
    /// Who hears of events.
    pub webhooks: Vec<Webhook>,
    /// Media threads; 0 for one a core.
    pub shards: usize,
    /// Bounds on what clients may ask for.
    pub limits: Limits,
    /// How rooms are that ask for one of these names.
    pub presets: BTreeMap<String, RoomOptions>,
    /// STUN servers, `host:port`, that are asked for the address which clients are told, in this order; only without
    /// `node_ip`.
    pub stun_servers: Vec<String>,
    /// From 0 to 1: a media thread that works more of its time than that takes no new rooms, and soon sends no high layers
    /// of pictures any more ([`plenum_media::overload`]).
    pub load_ceiling: f32,
    /// What rooms are like where nothing else is said.
    pub rooms: RoomDefaults,
    /// Codecs that may be published, the preferred ones first.
    pub codecs: Vec<Codec>,
    /// Where this server stands, in the operator's words; clients are told.
    pub region: String,
    /// The relay for clients that nothing else gets through to.
    pub turn: Turn,
}

/// The TURN relay; there is none where no port is given.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The port for UDP and for TCP; 0 for any free one.
    pub port: Option<u16>,
    /// TURN over TLS.
    pub tls: Option<TurnTls>,
    /// Peers that may be reached beside this server's own media, see [`plenum_media::turn::Peers::new`].
    pub allow: Vec<IpNet>,
    /// Peers that may not, media included.
    pub deny: Vec<IpNet>,
    /// Most relayed addresses at a time; each is a socket.
    pub allocations_max: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { port: None, tls: None, allow: Vec::new(), deny: Vec::new(), allocations_max: 1_024 }
    }
}

/// TURN over TLS.
#[derive(Debug, Clone)]
pub struct TurnTls {
    /// The port that is listened on; 0 for any free one.
    pub port: u16,
    /// The name that clients are told.
    pub domain: String,
    /// Where TLS ends.
    pub end: TlsEnd,
}

/// Where TLS ends.
#[derive(Clone)]
pub enum TlsEnd {
    /// Here, with this certificate.
    Here(Arc<rustls::ServerConfig>),
    /// In front of this server, at port 443 of the domain; here is plain TCP.
    Elsewhere,
}

impl fmt::Debug for TlsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Elsewhere => "Elsewhere",
        })
    }
}

impl Default for Config {
    /// Any free UDP port of the loopback; no key, which is to be given.
    fn default() -> Self {
        Self {
            udp_port: 0,
            udp_ports: 1,
            tcp_port: None,
            bind: BindScope::default(),
            node_ip: None,
            keys: BTreeMap::new(),
            webhooks: Vec::new(),
            shards: 0,
            limits: Limits::default(),
            presets: BTreeMap::new(),
            stun_servers: Vec::new(),
            load_ceiling: DEFAULT_CEILING,
            rooms: RoomDefaults::default(),
            codecs: Codec::DEFAULT.to_vec(),
            region: String::new(),
            turn: Turn::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("udp_port", &self.udp_port)
            .field("tcp_port", &self.tcp_port)
            .field("bind", &self.bind)
            .field("node_ip", &self.node_ip)
            .field("keys", &self.keys.keys())
            .field("webhooks", &self.webhooks)
            .field("shards", &self.shards)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

/// A part of [`Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// [`Config::udp_port`]
    UdpPort,
    /// [`Config::tcp_port`]
    TcpPort,
    /// [`Config::node_ip`]
    NodeIp,
    /// [`Config::keys`]
    Keys,
    /// [`Turn::port`]
    TurnPort,
    /// [`TurnTls::port`]
    TurnTlsPort,
    /// [`Config::webhooks`]
    Webhooks,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program listens there.
    #[error("{port}/udp is taken or not permitted ({source}); set another port")]
    UdpPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another program listens there.
    #[error("{port}/tcp is taken or not permitted ({source}); set another port")]
    TcpPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another program listens there.
    #[error("{port}/udp or {port}/tcp is taken or not permitted ({source}); set another port")]
    TurnPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another program listens there.
    #[error("{port}/tcp is taken or not permitted ({source}); set another port")]
    TurnTlsPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// No address could be told to clients.
    #[error("this machine has no address that clients could reach; set one")]
    NoAddress,
    /// The address cannot be reached by anybody.
    #[error("{0} is not an address of one machine")]
    BadAddress(IpAddr),
    /// There must be a key to check tokens with.
    #[error("no API key is configured")]
    NoKeys,
    /// A webhook is signed with a key that is not there.
    #[error("unknown API key {0}")]
    WebhookKey(String),
    /// A webhook cannot be posted there.
    #[error("not an http or https URL")]
    WebhookUrl,
    /// Something of the system failed.
    #[error("media server: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// What is to be set otherwise; whoever starts the server knows the key's name.
    pub fn setting(&self) -> Option<Setting> {
        match self {
            Self::UdpPort { .. } => Some(Setting::UdpPort),
            Self::TcpPort { .. } => Some(Setting::TcpPort),
            Self::NoAddress | Self::BadAddress(_) => Some(Setting::NodeIp),
            Self::NoKeys => Some(Setting::Keys),
            Self::TurnPort { .. } => Some(Setting::TurnPort),
            Self::TurnTlsPort { .. } => Some(Setting::TurnTlsPort),
            Self::WebhookKey(_) | Self::WebhookUrl => Some(Setting::Webhooks),
            Self::System(_) => None,
        }
    }
}
