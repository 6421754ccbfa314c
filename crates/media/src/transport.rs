//! One peer connection's ICE, DTLS and SCTP: the seam over str0m, which sees neither session descriptions nor media.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsCert;
use str0m::crypto::Fingerprint as RtcFingerprint;
use str0m::net::{Protocol, Receive, TcpType};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::dtls::{self, KeySlot};
use crate::ids::IceCredentials;
use crate::sdp;
use crate::sending::{Path, PathProtocol, SendQueue};
use crate::srtp::SrtpKeys;

/// Longest data message that a client may send; our descriptions say so.
pub const MAX_DATA_LEN: usize = 65_535;
/// Bytes of data that may wait in SCTP for a slow client.
const MAX_BUFFERED: usize = 512 * 1024;

/// The certificate of all our connections.
#[derive(Clone)]
pub struct Certificate(DtlsCert);

impl Certificate {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(dtls::certificate())
    }

    /// SHA-256 in the form of `a=fingerprint`.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0.certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.fingerprint()).finish()
    }
}

/// What a client says about its end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its ICE credentials.
    pub credentials: IceCredentials,
    /// Its certificate.
    pub fingerprint: sdp::Fingerprint,
    /// Whether we begin the DTLS handshake.
    pub we_are_client: bool,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum TransportEvent {
    /// DTLS is done.
    Connected,
    /// Nothing has come from the client for some time, or something came again.
    Reachable(bool),
    /// The client has closed the connection.
    Closed,
    /// A data channel is open.
    ChannelOpen {
        /// `_reliable`, …
        label: String,
        /// Its name in str0m.
        channel: ChannelId,
    },
    /// A message came in.
    Data {
        /// Channel.
        channel: ChannelId,
        /// Message.
        bytes: Vec<u8>,
    },
}

/// A connection.
pub struct Transport {
    rtc: Rtc,
    keys: KeySlot,
    local: Arc<LocalAddresses>,
    /// Where the client wants to be reached.
    nominated: Option<Path>,
    deadline: Instant,
    sctp_started: bool,
    /// Where each client address reached us: answers leave from the address that was asked.
    asked: Vec<((PathProtocol, SocketAddr), Option<IpAddr>)>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Addresses of one client that are remembered; it has a handful at most.
const MAX_ASKED: usize = 16;

/// The addresses that our candidates name.
#[derive(Debug, Clone, Default)]
pub struct LocalAddresses {
    /// For UDP; at least one.
    pub udp: Vec<SocketAddr>,
    /// For ICE-TCP.
    pub tcp: Vec<SocketAddr>,
}

impl LocalAddresses {
    /// The candidate that a packet from `remote` is taken to have arrived at. Behind address translation
    /// that is not the address of the interface; a lite agent need not know the difference.
    fn of(&self, path: &Path) -> Option<SocketAddr> {
        let list = match path.protocol {
            PathProtocol::Udp => &self.udp,
            PathProtocol::Tcp => &self.tcp,
        };
        list.iter().find(|local| local.is_ipv4() == path.remote.is_ipv4()).or(list.first()).copied()
    }
}

impl Transport {
    /// A connection that waits for its client.
    pub fn new(
        now: Instant,
        certificate: &Certificate,
        credentials: &IceCredentials,
        local: Arc<LocalAddresses>,
    ) -> Self {
        let config = RtcConfig::new()
            .set_crypto_provider(dtls::provider())
            .set_dtls_cert(certificate.0.clone())
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_local_ice_credentials(ice(credentials))
            .set_sctp_max_buffered_amount(MAX_BUFFERED)
            .set_sctp_max_message_size(MAX_DATA_LEN as u32)
            .clear_codecs()
            .clear_extension_map();
        let keys = KeySlot::default();
        let mut rtc = keys.attach(|| config.build(now));
        for address in &local.udp {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
        }
        for address in &local.tcp {
            let candidate = Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
            if let Ok(candidate) = candidate {
                rtc.add_local_candidate(candidate);
            }
        }
        Self { rtc, keys, local, nominated: None, asked: Vec::new(), deadline: now, sctp_started: false }
    }

    /// The client's description is known: handshakes may begin.
    pub fn set_remote(&mut self, remote: &Remote) -> Result<(), TransportError> {
        let mut api = self.rtc.direct_api();
        if api.remote_dtls_fingerprint().is_some() {
            return Ok(());
        }
        api.set_remote_ice_credentials(ice(&remote.credentials));
        api.set_remote_fingerprint(RtcFingerprint {
            hash_func: remote.fingerprint.hash.clone(),
            bytes: remote.fingerprint.bytes.clone(),
        });
        api.set_ice_controlling(false);
        api.start_dtls(remote.we_are_client).map_err(|error| TransportError(error.to_string()))
    }

    /// Connectivity checks go by new credentials. The path stays until the client has proved another.
    pub fn restart_ice(&mut self, local: &IceCredentials, remote: &IceCredentials) {
        let mut api = self.rtc.direct_api();
        api.set_local_ice_credentials(ice(local));
        api.set_remote_ice_credentials(ice(remote));
    }

    /// The descriptions have data channels.
    pub fn start_sctp(&mut self, we_are_client: bool) {
        if !std::mem::replace(&mut self.sctp_started, true) {
            self.rtc.direct_api().start_sctp(we_are_client);
        }
    }

    /// Opens a channel from our side.
    pub fn open_channel(&mut self, label: &str, reliable: bool) -> ChannelId {
        self.rtc.direct_api().create_data_channel(ChannelConfig {
            label: label.to_owned(),
            ordered: reliable,
            reliability: if reliable {
                Reliability::Reliable
            } else {
                Reliability::MaxRetransmits { retransmits: 0 }
            },
            ..ChannelConfig::default()
        })
    }

    /// Whether this connection would take a datagram from an address that is not known yet.
    pub fn accepts(&self, now: Instant, path: &Path, datagram: &[u8]) -> bool {
        self.receive(path, datagram).is_some_and(|receive| self.rtc.accepts(&Input::Receive(now, receive)))
    }

    /// The client proved to be there, and wants to be reached there from now on.
    pub fn nominated(&mut self, path: Path) {
        self.nominated = Some(path);
    }

    /// A datagram came in that is no media.
    pub fn handle(&mut self, now: Instant, path: &Path, datagram: &[u8]) -> Result<(), TransportError> {
        let Some(receive) = self.receive(path, datagram) else { return Ok(()) };
        let known = self.asked.iter().position(|(remote, _)| *remote == (path.protocol, path.remote));
        match known {
            Some(index) => self.asked[index].1 = path.local,
            None => {
                self.asked.truncate(MAX_ASKED - 1);
                self.asked.insert(0, ((path.protocol, path.remote), path.local));
            }
        }
        self.rtc.handle_input(Input::Receive(now, receive)).map_err(|error| TransportError(error.to_string()))
    }

    fn receive<'a>(&self, path: &Path, datagram: &'a [u8]) -> Option<Receive<'a>> {
        let protocol = match path.protocol {
            PathProtocol::Udp => Protocol::Udp,
            PathProtocol::Tcp => Protocol::Tcp,
        };
        Receive::new(protocol, path.remote, self.local.of(path)?, datagram).ok()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), TransportError> {
        self.rtc.handle_input(Input::Timeout(now)).map_err(|error| TransportError(error.to_string()))
    }

    /// When [`Transport::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What happened. **Call until `None` after everything that changes the connection**: output that is not
    /// taken is lost, and a lost handshake packet is a lost handshake.
    pub fn poll(&mut self, queue: &mut SendQueue) -> Result<Option<TransportEvent>, TransportError> {
        loop {
            match self.rtc.poll_output().map_err(|error| TransportError(error.to_string()))? {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return Ok(None);
                }
                Output::Transmit(transmit) => {
                    let protocol = match transmit.proto {
                        Protocol::Udp => PathProtocol::Udp,
                        _ => PathProtocol::Tcp,
                    };
                    let remote = transmit.destination;
                    let asked = self.asked.iter().find(|(known, _)| *known == (protocol, remote));
                    let path = Path { protocol, local: asked.and_then(|(_, local)| *local), remote };
                    // Answers to checks go back to where these came from, everything else to where the client is.
                    let is_check = transmit.contents.first().is_some_and(|first| *first < 4);
                    let path = self.nominated.filter(|_| !is_check).unwrap_or(path);
                    queue.push(path, &transmit.contents);
                }
                Output::Event(event) => {
                    if let Some(event) = event_of(event) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// The SRTP keys, once, after the handshake.
    pub fn take_keys(&mut self) -> Option<SrtpKeys> {
        self.keys.take()
    }

    /// Sends a message.
    pub fn send_data(&mut self, channel: ChannelId, bytes: &[u8]) -> DataSent {
        let Some(mut channel) = self.rtc.channel(channel) else { return DataSent::Full };
        match channel.write(true, bytes) {
            Ok(true) => DataSent::Taken,
            Ok(false) => DataSent::Full,
            Err(error) => {
                tracing::debug!(%error, data.len = bytes.len(), "A data message cannot be sent to a client");
                DataSent::Refused
            }
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        let _ = self.rtc.close();
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSent {
    /// On its way.
    Taken,
    /// The client is slow: later.
    Full,
    /// It can never be sent this way.
    Refused,
}

fn event_of(event: Event) -> Option<TransportEvent> {
    match event {
        Event::Connected => Some(TransportEvent::Connected),
        Event::IceConnectionStateChange(state) => {
            Some(TransportEvent::Reachable(state != IceConnectionState::Disconnected))
        }
        Event::Closed => Some(TransportEvent::Closed),
        Event::ChannelOpen(channel, label) => Some(TransportEvent::ChannelOpen { label, channel }),
        Event::ChannelData(data) => Some(TransportEvent::Data { channel: data.id, bytes: data.data }),
        _ => None,
    }
}

/// What str0m complained of; the connection is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection failed: {0}")]
pub struct TransportError(String);

fn ice(credentials: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.pwd.clone() }
}
