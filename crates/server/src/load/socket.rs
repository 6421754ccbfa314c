//! A participant's UDP sockets: one for each media connection, read in batches.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes of one receive buffer: the kernel joins up to 64 datagrams of one sender.
const BUFFER: usize = 65_536;
/// Batches that are read before others have their turn.
const BATCHES: usize = 4;

thread_local! {
    /// All participants of a thread read into the same buffers, one after the other.
    static BUFFERS: RefCell<Vec<Vec<u8>>> =
        RefCell::new(std::iter::repeat_with(|| vec![0; BUFFER]).take(BATCH_SIZE).collect());
}

pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// A socket for what goes to addresses of the family of `like`.
    pub(super) fn open(like: IpAddr) -> io::Result<Self> {
        let any: IpAddr = match like {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands over what has come, each with the kernel's time.
    pub(super) fn receive(
        &self,
        mut take: impl FnMut(SocketAddr, Option<Duration>, &[u8]),
    ) -> io::Result<()> {
        for _ in 0..BATCHES {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let count = BUFFERS.with_borrow_mut(|buffers| {
                let mut slices: Vec<IoSliceMut<'_>> =
                    buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                let received = self.socket.try_io(Interest::READABLE, || {
                    self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
                });
                let count = match received {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    // An ICMP message about an earlier datagram; says nothing about the next.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(0),
                    Err(error) => return Err(error),
                };
                for (meta, buffer) in metas.iter().zip(&*buffers).take(count) {
                    let bytes = &buffer[..meta.len.min(buffer.len())];
                    for datagram in bytes.chunks(meta.stride.max(1)) {
                        take(meta.addr, meta.timestamp, datagram);
                    }
                }
                Ok(count)
            })?;
            if count < BATCH_SIZE {
                break;
            }
        }
        Ok(())
    }

    /// Sends one datagram, never several in one call: a browser paces its packets, and a server must not find them joined.
    pub(super) fn send(&self, remote: SocketAddr, bytes: &[u8]) {
        let transmit =
            Transmit { destination: remote, ecn: None, contents: bytes, segment_size: None, src_ip: None };
        // A full kernel queue is packet loss like any other on the way.
        let _ = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
    }
}

/// The address of this machine that leads to a server.
pub(super) fn local_address(server: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Sends nothing: the kernel only chooses the way.
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

/// What else a server may call itself that is reached by loopback: the addresses of this machine's interfaces.
pub(super) fn other_addresses(local: IpAddr) -> Vec<IpAddr> {
    /// A machine has a handful.
    const MAX: usize = 8;
    if !local.is_loopback() {
        return Vec::new();
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.iter().map(if_addrs::Interface::ip);
    let fits = |ip: &IpAddr| !ip.is_loopback() && ip.is_ipv4() == local.is_ipv4();
    addresses.filter(fits).take(MAX).collect()
}
