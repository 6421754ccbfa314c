//! One client: its session, its way here, and its relayed address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plenum_media::turn::{Family, MESSAGE_LEN_MAX, NoRelay, Reaction, Request, Session, Transport};
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::Shared;
use crate::BindScope;
use crate::metrics_names as names;
use crate::places::{Full, Place, Places};
use crate::socket::canonical;

/// Messages that may wait for a client's task.
pub(super) const INBOX: usize = 256;
/// A connection must have a relayed address by then.
const FIRST_ALLOCATION: Duration = Duration::from_secs(10);
/// Datagrams and messages of one turn, so that neither direction starves the other.
const BATCH: usize = 32;
/// The system gives odd and even ports alike; a client that wants an even one gets the first of so many.
const EVEN_TRIES: usize = 32;
/// Kernel buffer of a relayed address, so that a burst of key frames fits; the system may give less.
const KERNEL_BUFFER: usize = 1024 * 1024;

/// How messages get to the client.
pub(super) enum Way {
    /// From the socket that it has sent to.
    Datagram(Arc<UdpSocket>, SocketAddr),
    /// To the task that writes its connection.
    Stream(mpsc::Sender<Vec<u8>>, Protocol),
}

/// What is under a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Tls,
}

impl Way {
    /// Whether it was taken.
    pub(super) fn send(&self, bytes: Vec<u8>) -> bool {
        match self {
            Self::Datagram(socket, client) => socket.try_send_to(&bytes, *client).is_ok(),
            Self::Stream(frames, _) => frames.try_send(bytes).is_ok(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Datagram(..) => "udp",
            Self::Stream(_, Protocol::Tcp) => "tcp",
            Self::Stream(_, Protocol::Tls) => "tls",
        }
    }
}

/// A client, until its allocation or its connection ends.
pub(super) struct Client {
    session: Session,
    shared: Arc<Shared>,
    way: Way,
    relayed: Option<Relayed>,
}

/// A relayed address.
struct Relayed {
    socket: UdpSocket,
    _place: Place<String>,
}

impl Drop for Relayed {
    fn drop(&mut self) {
        metrics::gauge!(names::TURN_ALLOCATIONS).decrement(1.0);
    }
}

impl Client {
    pub(super) fn new(session: Session, shared: Arc<Shared>, way: Way) -> Self {
        Self { session, shared, way, relayed: None }
    }

    /// Over a connection that is new.
    pub(super) fn on_stream(remote: SocketAddr, shared: Arc<Shared>, way: Way) -> Self {
        let session = Session::new(shared.relay.clone(), remote, Transport::Stream);
        Self::new(session, shared, way)
    }

    /// Takes messages until the end.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Box<[u8]>>) {
        let begun = Instant::now();
        loop {
            let end = self.session.next_timeout().unwrap_or(begun + FIRST_ALLOCATION);
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    self.take(&message);
                    for _ in 1..BATCH {
                        let Ok(message) = messages.try_recv() else { break };
                        self.take(&message);
                    }
                }
                () = readable(self.relayed.as_ref()) => self.receive(),
                () = tokio::time::sleep_until(end.into()) => return,
            }
            if self.relayed.is_some() && !self.session.is_allocated(Instant::now()) {
                return;
            }
        }
    }

    /// Gives the client the address that it has asked for; `false` if there is none.
    pub(super) fn allocate(&mut self, request: &Request) -> bool {
        let relayed = relayed(&self.shared, request);
        let port = relayed.as_ref().map(|(_, port)| *port).map_err(|error| *error);
        if let Err(error) = port {
            let reason = match error {
                NoRelay::Quota => "quota",
                NoRelay::Capacity => "capacity",
            };
            metrics::counter!(names::TURN_REFUSED, "reason" => reason).increment(1);
        }
        let reply = self.session.allocated(Instant::now(), request, port);
        self.relayed = relayed.ok().map(|(relayed, _)| relayed);
        if self.relayed.is_some() {
            metrics::counter!(names::TURN_ALLOCATED, "transport" => self.way.name()).increment(1);
            tracing::debug!(
                participant.sid = request.sid,
                transport = self.way.name(),
                "A relayed address was given"
            );
        }
        self.way.send(reply);
        self.relayed.is_some()
    }

    fn take(&mut self, message: &[u8]) {
        match self.session.handle_client(Instant::now(), unix_s(), message) {
            Reaction::Nothing => {}
            Reaction::Reply { bytes, refused } => {
                refusal(refused);
                self.way.send(bytes);
            }
            Reaction::Forward { to, payload } => {
                let Some(Relayed { socket, .. }) = &self.relayed else { return };
                match socket.try_send_to(payload, to) {
                    Ok(len) => self.shared.to_peer.bytes.increment(len as u64),
                    Err(_) => self.shared.to_peer.dropped.increment(1),
                }
            }
            Reaction::Allocate(request) => _ = self.allocate(&request),
        }
    }

    /// Takes what has come to the relayed address.
    fn receive(&mut self) {
        let Some(Relayed { socket, .. }) = &self.relayed else { return };
        let mut buffer = [0; MESSAGE_LEN_MAX];
        for _ in 0..BATCH {
            let (len, from) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP message about an earlier datagram; says nothing about the next.
                Err(_) => continue,
            };
            let mut bytes = Vec::with_capacity(len + 64);
            if !self.session.handle_peer(Instant::now(), canonical(from), &buffer[..len], &mut bytes) {
                continue;
            }
            if self.way.send(bytes) {
                self.shared.to_client.bytes.increment(len as u64);
            } else {
                self.shared.to_client.dropped.increment(1);
            }
        }
    }
}

/// Counts a request that was refused.
pub(super) fn refusal(reason: Option<&'static str>) {
    if let Some(reason) = reason {
        metrics::counter!(names::TURN_REFUSED, "reason" => reason).increment(1);
    }
}

pub(super) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Ends when something may have come to the relayed address; never without one.
async fn readable(relayed: Option<&Relayed>) {
    match relayed {
        Some(Relayed { socket, .. }) if socket.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// A socket for a relayed address, and its port.
fn relayed(shared: &Shared, request: &Request) -> Result<(Relayed, u16), NoRelay> {
    let place = Places::enter(&shared.allocations, request.sid.clone()).map_err(|full| match full {
        Full::Each => NoRelay::Quota,
        Full::All => NoRelay::Capacity,
    })?;
    let open = || -> io::Result<(UdpSocket, u16)> {
        let mut tries = EVEN_TRIES;
        loop {
            let socket = bind(shared.bind, request.family)?;
            let port = socket.local_addr()?.port();
            tries -= 1;
            if !request.even || port % 2 == 0 {
                return Ok((socket, port));
            }
            if tries == 0 {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
        }
    };
    let (socket, port) = open().map_err(|error| {
        tracing::debug!(%error, "There is no socket for a relayed address");
        NoRelay::Capacity
    })?;
    metrics::gauge!(names::TURN_ALLOCATIONS).increment(1.0);
    Ok((Relayed { socket, _place: place }, port))
}

fn bind(scope: BindScope, family: Family) -> io::Result<UdpSocket> {
    let address: SocketAddr = match (scope, family) {
        (BindScope::Loopback, Family::V4) => (Ipv4Addr::LOCALHOST, 0).into(),
        (BindScope::Loopback, Family::V6) => (Ipv6Addr::LOCALHOST, 0).into(),
        (BindScope::AllInterfaces, Family::V4) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        (BindScope::AllInterfaces, Family::V6) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
