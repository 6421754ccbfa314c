//! The sockets of the TURN relay: listeners, and one socket for each relayed address.
//!
//! A client that has a relayed address, and each connection, is a task of its own around a
//! [`plenum_media::turn::Session`]; over UDP nothing is kept of anybody else. What is full loses packets, as a network
//! does.

mod client;
mod stream;
#[cfg(test)]
mod tests;
mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use plenum_media::turn::{Announcement, Peers, Relay, Secret};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::metrics_names as names;
use crate::places::Places;
use crate::server::listen;
use crate::tcp::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS};
use crate::{BindScope, StartError, TlsEnd, Turn, TurnTls, interfaces};

/// Relayed addresses of one participant at a time. A browser takes one for each address of ours on each of its networks,
/// for each of two connections, and twice that while ICE begins anew.
const ALLOCATIONS_PER_PARTICIPANT: usize = 32;
/// Where TLS ends in front of us, that is where clients come to.
const HTTPS: u16 = 443;

/// What all tasks of the relay share.
struct Shared {
    relay: Arc<Relay>,
    bind: BindScope,
    /// By participant.
    allocations: Arc<Places<String>>,
    to_peer: Direction,
    to_client: Direction,
}

/// What is counted of one direction.
struct Direction {
    bytes: metrics::Counter,
    dropped: metrics::Counter,
}

impl Direction {
    fn new(direction: &'static str) -> Self {
        Self {
            bytes: metrics::counter!(names::TURN_BYTES, "direction" => direction),
            dropped: metrics::counter!(names::TURN_DROPPED, "direction" => direction),
        }
    }
}

/// The relay, open. Its tasks end when it is dropped.
pub(crate) struct Running {
    /// What participants are told.
    pub(crate) announcement: Announcement,
    /// Where it listens: for UDP, and for TCP with and without TLS.
    pub(crate) addresses: Addresses,
    _tasks: JoinSet<()>,
}

/// Where the relay listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For UDP; one for each address that clients are told.
    pub udp: Vec<SocketAddr>,
    /// For TCP.
    pub tcp: Option<SocketAddr>,
    /// For TLS, or for what is left of it when it ended in front of us.
    pub tls: Option<SocketAddr>,
}

/// Opens the ports, if there are any. `media`: the addresses that clients are told, for UDP.
pub(crate) async fn start(
    config: &Turn,
    bind: BindScope,
    media: &[SocketAddr],
) -> Result<Option<Running>, StartError> {
    if config.port.is_none() && config.tls.is_none() {
        return Ok(None);
    }
    let secret = Secret::generate(&mut rand::rng());
    let shared = Arc::new(Shared {
        relay: Arc::new(Relay::new(secret.clone(), &rand::random(), peers(config, media)?)),
        bind,
        allocations: Places::new(config.allocations_max, ALLOCATIONS_PER_PARTICIPANT),
        to_peer: Direction::new("to_peer"),
        to_client: Direction::new("to_client"),
    });
    let mut tasks = JoinSet::new();
    let mut addresses = Addresses::default();
    let mut plain = Vec::new();
    if let Some(port) = config.port {
        let error = |source| StartError::TurnPort { port, source };
        // Media may have several ports of one address.
        let mut told: Vec<IpAddr> = Vec::new();
        for ip in media.iter().map(SocketAddr::ip) {
            if !told.contains(&ip) {
                told.push(ip);
            }
        }
        let (listener, sockets) = open(bind, port, &told).await.map_err(error)?;
        let port = listener.local_addr()?.port();
        addresses.tcp = Some(listener.local_addr()?);
        addresses.udp = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
        plain = told.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        for socket in sockets {
            tasks.spawn(udp::serve(socket, shared.clone()));
        }
        let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS);
        tasks.spawn(stream::serve(listener, None, places, shared.clone()));
    }
    let mut tls = None;
    if let Some(TurnTls { port, domain, end }) = &config.tls {
        let error = |source| StartError::TurnTlsPort { port: *port, source };
        let listener = listen(bind, *port).await.map_err(error)?;
        let address = listener.local_addr()?;
        addresses.tls = Some(address);
        let (acceptor, told, per_address) = match end {
            TlsEnd::Here(config) => {
                (Some(TlsAcceptor::from(config.clone())), address.port(), MAX_CONNECTIONS_PER_ADDRESS)
            }
            // Everybody comes from the address of what is in front.
            TlsEnd::Elsewhere => (None, HTTPS, MAX_CONNECTIONS),
        };
        tls = Some((domain.as_str(), told));
        let places = Places::new(MAX_CONNECTIONS, per_address);
        tasks.spawn(stream::serve(listener, acceptor, places, shared.clone()));
    }
    let announcement = Announcement::new(&plain, tls, secret);
    tracing::info!(
        udp.addresses = ?addresses.udp, tcp.address = ?addresses.tcp, tls.address = ?addresses.tls,
        allow = ?config.allow, deny = ?config.deny, "The TURN relay listens"
    );
    Ok(Some(Running { announcement, addresses, _tasks: tasks }))
}

/// What may be reached.
fn peers(config: &Turn, media: &[SocketAddr]) -> Result<Peers, StartError> {
    let from_here = |told: SocketAddr| match told.ip() {
        ip if interfaces::is_own(ip) => told,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, told.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, told.port())),
    };
    let media = media.iter().map(|told| (*told, from_here(*told)));
    Ok(Peers::new(media, config.allow.iter().copied(), config.deny.iter().copied(), interfaces::own()?))
}

/// The same port for TCP and for UDP. A socket for each address answers from the one that was asked; where clients are told
/// an address that this machine does not have, one socket is for all.
async fn open(bind: BindScope, port: u16, told: &[IpAddr]) -> std::io::Result<(TcpListener, Vec<UdpSocket>)> {
    let listener = listen(bind, port).await?;
    let port = listener.local_addr()?.port();
    let mut sockets = Vec::new();
    for ip in told.iter().filter(|ip| interfaces::is_own(**ip)) {
        sockets.push(UdpSocket::bind((*ip, port)).await?);
    }
    if sockets.is_empty() {
        let all = match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(socket) => socket,
            Err(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
        };
        sockets.push(all);
    }
    Ok((listener, sockets))
}
