//! What the server is started with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use plenum_media::room::Limits;

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
            .finish_non_exhaustive()
    }
}

/// Why the server did not start. Each message names the configuration key.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program listens there.
    #[error("media.udp_port: {port} is taken or not permitted ({source}); set another port")]
    UdpPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another program listens there.
    #[error("media.tcp_port: {port} is taken or not permitted ({source}); set another port")]
    TcpPort {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// No address could be told to clients.
    #[error("media.node_ip: this machine has no address that clients could reach; set one")]
    NoAddress,
    /// The address cannot be reached by anybody.
    #[error("media.node_ip: {0} is not an address of one machine")]
    BadAddress(IpAddr),
    /// There must be a key to check tokens with.
    #[error("media.keys: no API key is configured")]
    NoKeys,
    /// A webhook is signed with a key that is not there.
    #[error("media.webhooks: unknown API key {0}")]
    WebhookKey(String),
    /// A webhook cannot be posted there.
    #[error("media.webhooks: not an http or https URL")]
    WebhookUrl,
    /// Something of the system failed.
    #[error("media server: {0}")]
    System(#[from] std::io::Error),
}
