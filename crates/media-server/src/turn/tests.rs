//! The relay over real sockets, with the client of another library.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use plenum_media::turn::Credentials;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::stun;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::types::stun::TransportType;
use turn_client_proto::udp::TurnClientUdp;

use super::client::unix_s;
use super::*;

/// Everything that a test waits for comes within.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay on the loopback that may reach whoever is on 127.0.0.1.
async fn relay(config: Turn) -> Running {
    let allow = vec!["127.0.0.1/32".parse().expect("a network")];
    start(&Turn { allow, ..config }, BindScope::Loopback, &[media()])
        .await
        .expect("free ports")
        .expect("a relay")
}

/// Where nobody is.
fn media() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
}

fn plain() -> Turn {
    Turn { port: Some(0), ..Turn::default() }
}

fn credentials(relay: &Running, sid: &str) -> Credentials {
    let told = relay.announcement.ice_servers(sid, unix_s(), false).remove(0);
    Credentials { username: told.username, password: told.credential }
}

/// A peer that sends everything back.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..len], from).await;
        }
    });
    address
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// How the client reaches the relay.
enum Way {
    Datagrams(UdpSocket),
    Stream(Box<dyn Wire>),
}

struct Client<C> {
    turn: C,
    way: Way,
    transport: TransportType,
    addresses: (SocketAddr, SocketAddr),
    heard: Vec<(SocketAddr, Vec<u8>)>,
    /// It got a reply that nobody signed, which the library does not look at.
    turned_away: bool,
}

fn config(credentials: &Credentials) -> TurnConfig {
    TurnConfig::new(TurnCredentials::new(&credentials.username, &credentials.password))
}

async fn over_udp(relay: &Running, credentials: &Credentials) -> Client<TurnClientUdp> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let (own, to) = (socket.local_addr().expect("bound"), relay.addresses.udp[0]);
    socket.connect(to).await.expect("the loopback");
    Client {
        turn: TurnClientUdp::allocate(own, to, config(credentials)),
        way: Way::Datagrams(socket),
        transport: TransportType::Udp,
        addresses: (own, to),
        heard: Vec::new(),
        turned_away: false,
    }
}

async fn over_stream(
    stream: Box<dyn Wire>,
    addresses: (SocketAddr, SocketAddr),
    credentials: &Credentials,
) -> Client<TurnClientTcp> {
    Client {
        turn: TurnClientTcp::allocate(addresses.0, addresses.1, config(credentials)),
        way: Way::Stream(stream),
        transport: TransportType::Tcp,
        addresses,
        heard: Vec::new(),
        turned_away: false,
    }
}

async fn over_tcp(to: SocketAddr, credentials: &Credentials) -> Client<TurnClientTcp> {
    let stream = TcpStream::connect(to).await.expect("it listens");
    let own = stream.local_addr().expect("connected");
    over_stream(Box::new(stream), (own, to), credentials).await
}

impl<C: TurnClientApi> Client<C> {
    /// Talks with the relay until something happens; `None` when that has ended the conversation.
    async fn event(&mut self) -> Option<TurnEvent> {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = stun::Instant::from_std(self.epoch());
            let polled = self.turn.poll(now);
            while let Some(transmit) = self.turn.poll_transmit(now) {
                self.write(&transmit.data).await;
            }
            if let Some(event) = self.turn.poll_event() {
                return Some(event);
            }
            let until = match polled {
                TurnPollRet::Closed => return None,
                TurnPollRet::WaitUntil(at) => at.saturating_duration_since(now),
                other => panic!("{other:?} is for TCP peers"),
            };
            if self.turned_away {
                return None;
            }
            assert!(Instant::now() < end, "nothing has happened");
            let _ = tokio::time::timeout(until.min(PATIENCE), self.read()).await;
        }
    }

    /// One time for all of a test's calls: the library counts from there.
    fn epoch(&self) -> Instant {
        static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *EPOCH.get_or_init(Instant::now)
    }

    async fn write(&mut self, bytes: &[u8]) {
        match &mut self.way {
            Way::Datagrams(socket) => _ = socket.send(bytes).await.expect("the loopback"),
            Way::Stream(stream) => stream.write_all(bytes).await.expect("it is open"),
        }
    }

    async fn read(&mut self) {
        let mut buffer = vec![0; 4096];
        let len = match &mut self.way {
            Way::Datagrams(socket) => socket.recv(&mut buffer).await.expect("the loopback"),
            Way::Stream(stream) => stream.read(&mut buffer).await.expect("it is open"),
        };
        assert!(len > 0, "the relay has closed the connection");
        buffer.truncate(len);
        let now = stun::Instant::from_std(self.epoch());
        let (own, relay) = self.addresses;
        match self.turn.recv(Transmit::new(buffer, self.transport, relay, own), now) {
            TurnRecvRet::PeerData(data) => self.heard.push((data.peer, data.data().to_vec())),
            TurnRecvRet::Handled => {}
            TurnRecvRet::Ignored(_) => self.turned_away = true,
            other @ TurnRecvRet::PeerIcmp { .. } => panic!("{other:?}"),
        }
        while let Some(data) = self.turn.poll_recv(now) {
            self.heard.push((data.peer, data.data().to_vec()));
        }
    }

    async fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        let now = stun::Instant::from_std(self.epoch());
        let transmit =
            self.turn.send_to(TransportType::Udp, to, payload, now).expect("there is a permission");
        let bytes = transmit.expect("something to send").build().data;
        self.write(&bytes).await;
    }

    /// What a peer sends back.
    async fn answer(&mut self) -> (SocketAddr, Vec<u8>) {
        let answer = async {
            while self.heard.is_empty() {
                self.read().await;
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer");
        self.heard.remove(0)
    }

    async fn permit(&mut self, peer: SocketAddr) -> bool {
        let now = stun::Instant::from_std(self.epoch());
        self.turn.create_permission(TransportType::Udp, peer.ip(), now).expect("there is an allocation");
        matches!(self.event().await, Some(TurnEvent::PermissionCreated(..)))
    }

    /// The whole life of an allocation: both ways of sending, a peer that may not be reached, and the end.
    async fn live(mut self) {
        assert!(matches!(self.event().await, Some(TurnEvent::AllocationCreated(..))));
        let peer = echo().await;
        assert!(!self.permit(SocketAddr::from(([127, 0, 0, 2], 7882))).await, "nobody allows that");
        assert!(self.permit(peer).await);
        for payload in [b"by indication".to_vec(), vec![7; 1200], vec![8]] {
            self.send(peer, &payload).await;
            assert_eq!(self.answer().await, (peer, payload));
        }
        let now = stun::Instant::from_std(self.epoch());
        self.turn.bind_channel(TransportType::Udp, peer, now).expect("there is an allocation");
        assert!(matches!(self.event().await, Some(TurnEvent::ChannelCreated(..))));
        // In a stream the library knows nothing of the padding that other lengths have.
        for payload in [b"by a channel".to_vec(), vec![9; 1200], vec![6; 4]] {
            self.send(peer, &payload).await;
            assert_eq!(self.answer().await, (peer, payload));
        }
        self.turn.delete(now).expect("there is an allocation");
        assert!(self.event().await.is_none(), "it is over");
    }
}

#[tokio::test]
async fn clients_reach_peers_over_udp() {
    let relay = relay(plain()).await;
    over_udp(&relay, &credentials(&relay, "PA_a")).await.live().await;
}

#[tokio::test]
async fn clients_reach_peers_over_tcp() {
    let relay = relay(plain()).await;
    let to = relay.addresses.tcp.expect("it listens");
    over_tcp(to, &credentials(&relay, "PA_a")).await.live().await;
}

#[tokio::test]
async fn clients_reach_peers_over_tcp_where_tls_ends_in_front() {
    let tls = Some(TurnTls { port: 0, domain: "turn.example.org".to_owned(), end: TlsEnd::Elsewhere });
    let relay = relay(Turn { tls, ..Turn::default() }).await;
    let told = relay.announcement.ice_servers("PA_a", unix_s(), false).remove(0).urls;
    assert_eq!(told, ["turns:turn.example.org:443?transport=tcp"]);
    over_tcp(relay.addresses.tls.expect("it listens"), &credentials(&relay, "PA_a")).await.live().await;
}

#[tokio::test]
async fn clients_reach_peers_over_tls() {
    let made = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("they are there")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate with its key");
    let end = TlsEnd::Here(Arc::new(server));
    let tls = Some(TurnTls { port: 0, domain: "turn.example.org".to_owned(), end });
    let relay = relay(Turn { tls, ..Turn::default() }).await;
    let to = relay.addresses.tls.expect("it listens");
    let told = relay.announcement.ice_servers("PA_a", unix_s(), false).remove(0).urls;
    assert_eq!(told, [format!("turns:turn.example.org:{}?transport=tcp", to.port())]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.expect("it listens");
    let own = stream.local_addr().expect("connected");
    let name = ServerName::try_from("turn.example.org").expect("a name");
    let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("a handshake");
    over_stream(Box::new(stream), (own, to), &credentials(&relay, "PA_a")).await.live().await;
}

#[tokio::test]
async fn media_behind_a_nat_is_reached_from_inside() {
    let here = echo().await;
    let told = SocketAddr::from(([203, 0, 113, 7], here.port()));
    let relay = start(&plain(), BindScope::Loopback, &[told]).await.expect("free ports").expect("a relay");
    let mut client = over_tcp(relay.addresses.tcp.expect("it listens"), &credentials(&relay, "PA_a")).await;
    assert!(matches!(client.event().await, Some(TurnEvent::AllocationCreated(..))));
    assert!(!client.permit(here).await, "by its own address it is nobody's business");
    assert!(client.permit(told).await);
    client.send(told, b"out and in").await;
    assert_eq!(client.answer().await, (told, b"out and in".to_vec()));
}

#[tokio::test]
async fn every_port_of_media_is_reached_and_the_relay_told_once() {
    let ports = [echo().await, echo().await];
    let relay = start(&plain(), BindScope::Loopback, &ports).await.expect("free ports").expect("a relay");
    assert_eq!(relay.addresses.udp.len(), 1);
    let told = relay.announcement.ice_servers("PA_a", unix_s(), false).remove(0).urls;
    assert_eq!(told.len(), 2, "over UDP and over TCP: {told:?}");
    let mut client = over_udp(&relay, &credentials(&relay, "PA_a")).await;
    assert!(matches!(client.event().await, Some(TurnEvent::AllocationCreated(..))));
    assert!(client.permit(ports[0]).await, "a permission is for the address");
    for port in ports {
        client.send(port, b"to and fro").await;
        assert_eq!(client.answer().await, (port, b"to and fro".to_vec()));
    }
}

#[tokio::test]
async fn a_wrong_password_opens_nothing() {
    let relay = relay(plain()).await;
    let mut wrong = credentials(&relay, "PA_a");
    wrong.password.push('x');
    let mut client = over_udp(&relay, &wrong).await;
    assert!(client.event().await.is_none() && client.turned_away);
}

#[tokio::test]
async fn nobody_takes_every_address() {
    let relay = relay(Turn { allocations_max: ALLOCATIONS_PER_PARTICIPANT + 1, ..plain() }).await;
    let (greedy, other) = (credentials(&relay, "PA_greedy"), credentials(&relay, "PA_other"));
    let gets = async |credentials: &Credentials| {
        let mut client = over_udp(&relay, credentials).await;
        matches!(client.event().await, Some(TurnEvent::AllocationCreated(..))).then_some(client)
    };
    let mut clients = Vec::new();
    for _ in 0..ALLOCATIONS_PER_PARTICIPANT {
        clients.push(gets(&greedy).await.expect("an address"));
    }
    assert!(gets(&greedy).await.is_none(), "one participant has as many as one may have");
    let last = gets(&other).await.expect("there is one left");
    assert!(gets(&credentials(&relay, "PA_late")).await.is_none(), "all are taken");
    drop(last);
    let mut first = clients.remove(0);
    first.turn.delete(stun::Instant::from_std(first.epoch())).expect("there is an allocation");
    assert!(first.event().await.is_none());
    // The relay gives the socket back after it has answered.
    let end = Instant::now() + PATIENCE;
    while gets(&greedy).await.is_none() {
        assert!(Instant::now() < end, "what was given back is there again");
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_of_turn_is_closed() {
    let relay = relay(plain()).await;
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3], &[0x40, 0, 0xff, 0xff]]
    {
        let mut stream =
            TcpStream::connect(relay.addresses.tcp.expect("it listens")).await.expect("it listens");
        stream.write_all(words).await.expect("it is open");
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
}
