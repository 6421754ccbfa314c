//! The UDP port: one socket a media thread, all on the same port, batches in both directions.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use plenum_media::sending::{Path, PathProtocol, SendQueue};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{BindScope, StartError};

/// Bytes that one datagram may have; media packets are below 1500, GRO joins up to 64 of them.
const BUFFER: usize = 65_536;
/// Kernel buffer of each socket: 5 MB, so that a burst of key frames to everybody fits.
const KERNEL_BUFFER: usize = 5 * 1024 * 1024;

/// Opens `count` sockets on one port. The kernel spreads clients over them.
pub(crate) fn bind(scope: BindScope, port: u16, count: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    let address = |port: u16| -> SocketAddr {
        match scope {
            BindScope::Loopback => (Ipv4Addr::LOCALHOST, port).into(),
            BindScope::AllInterfaces => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    };
    let open = |port: u16, shared: bool| {
        one(address(port), shared).or_else(|error| match scope {
            // A machine without IPv6.
            BindScope::AllInterfaces if error.kind() != io::ErrorKind::AddrInUse => {
                one((Ipv4Addr::UNSPECIFIED, port).into(), shared)
            }
            _ => Err(error),
        })
    };
    // A shared port could be opened a second time by another process of this user; an unshared one tells.
    let probe = open(port, false)?;
    if count <= 1 {
        return Ok(vec![probe]);
    }
    let port = probe.local_addr()?.port();
    drop(probe);
    (0..count).map(|_| open(port, true)).collect()
}

/// Opens a socket on each of `count` ports in a row.
pub(crate) fn bind_row(
    scope: BindScope,
    first: u16,
    count: usize,
) -> Result<Vec<std::net::UdpSocket>, StartError> {
    let mut sockets = Vec::with_capacity(count);
    for port in (first..=u16::MAX).take(count) {
        sockets.extend(bind(scope, port, 1).map_err(|source| StartError::UdpPort { port, source })?);
    }
    Ok(sockets)
}

fn one(address: SocketAddr, shared: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    // What the system does not grant is said once, by the caller.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether the kernel granted the buffers that were asked for.
pub(crate) fn has_large_buffers(socket: &std::net::UdpSocket) -> bool {
    socket2::SockRef::from(socket).recv_buffer_size().is_ok_and(|size| size >= KERNEL_BUFFER)
}

/// A media thread's socket.
pub(crate) struct MediaSocket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    is_ipv6: bool,
    buffers: Vec<Vec<u8>>,
}

impl MediaSocket {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // After the line above, which forbids it.
        allow_fragments(&socket, is_ipv6)?;
        let buffers = std::iter::repeat_with(|| vec![0; BUFFER]).take(BATCH_SIZE).collect();
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), state, is_ipv6, buffers })
    }

    pub(crate) fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    /// Hands every datagram of one batch to `take`. `false` once there is nothing more: what comes later wakes again.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Path, &[u8])) -> io::Result<bool> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> =
            self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // An ICMP message about an earlier datagram; says nothing about the next.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(true),
            Err(error) => return Err(error),
        };
        for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
            let path = Path {
                protocol: PathProtocol::Udp,
                local: meta.dst_ip.map(|ip| ip.to_canonical()),
                remote: canonical(meta.addr),
            };
            let bytes = &buffer[..meta.len.min(buffer.len())];
            for datagram in bytes.chunks(meta.stride.max(1)) {
                take(path, datagram);
            }
        }
        Ok(count == BATCH_SIZE)
    }

    /// Sends what is for UDP. Returns how many datagrams the kernel took and how many it did not.
    pub(crate) fn send(&self, queue: &SendQueue) -> (u64, u64) {
        let (mut sent, mut unsent) = (0, 0);
        for (bytes, size, path) in queue.runs(self.state.max_gso_segments().min(16)) {
            if path.protocol != PathProtocol::Udp {
                continue;
            }
            let count = bytes.len().div_ceil(size.max(1)) as u64;
            let transmit = Transmit {
                destination: self.native(path.remote),
                ecn: None,
                contents: bytes,
                segment_size: (count > 1).then_some(size),
                src_ip: path.local.filter(|ip| !ip.is_unspecified()),
            };
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => sent += count,
                // A full kernel queue is packet loss like any other on the way: repeated when asked for.
                Err(_) => unsent += count,
            }
        }
        (sent, unsent)
    }

    fn native(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.is_ipv6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            other => other,
        }
    }
}

/// Lets routers cut our packets. Nobody looks here for the largest size that a path carries, so behind a tunnel that is
/// narrower than our packets a flag against cutting would lose every one of them.
#[cfg(target_os = "linux")]
fn allow_fragments(socket: &std::net::UdpSocket, is_ipv6: bool) -> io::Result<()> {
    use rustix::net::sockopt;

    if is_ipv6 {
        sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DONT)?;
    }
    // Of an IPv6 socket it counts for what goes to IPv4.
    sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DONT)?;
    Ok(())
}

/// Other systems are left as they are.
#[cfg(not(target_os = "linux"))]
fn allow_fragments(_: &std::net::UdpSocket, _: bool) -> io::Result<()> {
    Ok(())
}

/// IPv4 as IPv4, also where an IPv6 socket has received it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => (v4, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[test]
    fn packets_may_be_cut_on_the_way() {
        for scope in [BindScope::Loopback, BindScope::AllInterfaces] {
            let socket = bind(scope, 0, 1).expect("a free port").remove(0);
            let media = MediaSocket::new(socket.try_clone().expect("a second handle")).expect("a socket");
            assert_eq!(
                sockopt::ip_mtu_discover(&socket).expect("known"),
                sockopt::Ipv4PathMtuDiscovery::DONT
            );
            if media.is_ipv6 {
                let ipv6 = sockopt::ipv6_mtu_discover(&socket).expect("known");
                assert_eq!(ipv6, sockopt::Ipv6PathMtuDiscovery::DONT);
            }
        }
    }
}
