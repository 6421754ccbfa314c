//! One peer connection's ICE, DTLS, SCTP and reception of RTP: the seam over str0m.
//!
//! str0m sees no SDP and sends no media. Payload types must be known when the connection is built; the numbers of
//! header extensions are looked up in a table that is filled when the offer comes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Instant, SystemTime};

use str0m::change::DirectApi;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsCert;
use str0m::crypto::Fingerprint as RtcFingerprint;
use str0m::format::{Codec as RtcCodec, FormatParams};
use str0m::media::{Frequency, KeyframeRequestKind, MediaKind as RtcKind, Mid, Rid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpPacket, Ssrc};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::dtls::{self, KeySlot};
use crate::ids::IceCredentials;
use crate::ingest::{ClockAnchor, MAX_LAYERS, RawPacket};
use crate::sdp::{self, Codec, MediaKind, Offered, PayloadTypes, uri};
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

/// What the client sends on an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpMedia {
    /// The m-line.
    pub mid: String,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// Simulcast layers, lowest first; empty for a single stream.
    pub rids: Vec<String>,
    /// The only stream and its retransmissions, where the offer names them.
    pub ssrc: Option<(u32, Option<u32>)>,
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
    /// A packet came in.
    Packet {
        /// Its source.
        ssrc: u32,
        /// The packet.
        packet: RawPacket,
    },
    /// Control packets leave under this name from now on.
    Reports {
        /// Their SSRC.
        ssrc: u32,
    },
    /// The clock of a stream.
    Clock {
        /// M-line.
        mid: String,
        /// Layer.
        rid: Option<String>,
        /// The report.
        anchor: ClockAnchor,
    },
}

/// A connection.
pub struct Transport {
    rtc: Rtc,
    keys: KeySlot,
    payload_types: PayloadTypes,
    extensions: Arc<ExtensionTable>,
    local: Arc<LocalAddresses>,
    /// SSRC of the control packets that str0m sends, once it has sent one.
    reports_ssrc: Option<u32>,
    /// Where the client wants to be reached.
    nominated: Option<Path>,
    declared: HashMap<String, UpMedia>,
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
        payload_types: PayloadTypes,
        local: Arc<LocalAddresses>,
    ) -> Self {
        let extensions = Arc::new(ExtensionTable::default());
        let mut config = RtcConfig::new()
            .set_crypto_provider(dtls::provider())
            .set_dtls_cert(certificate.0.clone())
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_local_ice_credentials(ice(credentials))
            .set_sctp_max_buffered_amount(MAX_BUFFERED)
            .set_sctp_max_message_size(MAX_DATA_LEN as u32)
            .clear_codecs()
            .clear_extension_map();
        for numbers in payload_types.iter() {
            add_codec(&mut config, numbers);
        }
        for id in 1..=14u8 {
            let slot = ExtensionSlot { id, table: extensions.clone() };
            config = config.set_extension(id, Extension::with_serializer(&format!("plenum:{id}"), slot));
        }
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
        Self {
            rtc,
            keys,
            payload_types,
            extensions,
            local,
            reports_ssrc: None,
            nominated: None,
            asked: Vec::new(),
            declared: HashMap::new(),
            deadline: now,
            sctp_started: false,
        }
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
        api.start_dtls(remote.we_are_client).map_err(|error| TransportError(error.to_string()))?;
        api.enable_twcc_feedback();
        Ok(())
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

    /// Numbers of header extensions in the client's packets.
    pub fn set_extensions(&mut self, extensions: &[(u8, String)]) {
        self.extensions.set(extensions);
    }

    /// The client sends on this m-line from now on.
    pub fn declare(&mut self, media: UpMedia) {
        if self.declared.get(&media.mid) == Some(&media) {
            return;
        }
        self.remove(&media.mid.clone());
        let mid = Mid::from(media.mid.as_str());
        let mut api = self.rtc.direct_api();
        let kind = match media.kind {
            MediaKind::Audio => RtcKind::Audio,
            MediaKind::Video => RtcKind::Video,
        };
        let declared = api.declare_media(mid, kind);
        if media.rids.is_empty() {
            if let Some((ssrc, rtx)) = media.ssrc {
                api.expect_stream_rx(ssrc.into(), rtx.map(Into::into), mid, None);
            }
        } else {
            for rid in &media.rids {
                declared.expect_rid_rx(Rid::from(rid.as_str()));
            }
        }
        self.declared.insert(media.mid.clone(), media);
    }

    /// The m-line is gone, or used for something else.
    pub fn remove(&mut self, mid: &str) {
        if self.declared.remove(mid).is_some() {
            self.rtc.direct_api().remove_media(Mid::from(mid));
        }
    }

    /// What was declared on an m-line.
    pub fn declared(&self, mid: &str) -> Option<&UpMedia> {
        self.declared.get(mid)
    }

    /// Place of a simulcast layer.
    pub fn layer_of(&self, mid: &str, rid: &str) -> Option<usize> {
        let rid = Rid::from(rid);
        self.declared.get(mid)?.rids.iter().position(|own| Rid::from(own.as_str()) == rid)
    }

    /// M-line and layer of a source that str0m knows.
    pub fn stream_of(&mut self, ssrc: u32) -> Option<(String, Option<usize>)> {
        let mut api: DirectApi<'_> = self.rtc.direct_api();
        let stream = api.stream_rx(&Ssrc::from(ssrc))?;
        let (mid, rid) = (stream.mid(), stream.rid());
        let media = self.declared.values().find(|media| Mid::from(media.mid.as_str()) == mid)?;
        let layer = rid.and_then(|rid| media.rids.iter().position(|own| Rid::from(own.as_str()) == rid));
        Some((media.mid.clone(), layer.map(|layer| layer.min(MAX_LAYERS - 1))))
    }

    /// Asks the client for a key frame of a layer.
    pub fn request_keyframe(&mut self, mid: &str, layer: usize) {
        let Some(media) = self.declared.get(mid) else { return };
        let rid = media.rids.get(layer).map(|rid| Rid::from(rid.as_str()));
        let mid = Mid::from(mid);
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Whether this connection would take a datagram from an address that is not known yet.
    pub fn accepts(&self, now: Instant, path: &Path, datagram: &[u8]) -> bool {
        self.receive(path, datagram).is_some_and(|receive| self.rtc.accepts(&Input::Receive(now, receive)))
    }

    /// The client proved to be there, and wants to be reached there from now on.
    pub fn nominated(&mut self, path: Path) {
        self.nominated = Some(path);
    }

    /// A datagram came in.
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
    pub fn poll(
        &mut self,
        now: Instant,
        queue: &mut SendQueue,
    ) -> Result<Option<TransportEvent>, TransportError> {
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
                    if self.reports_ssrc.is_none()
                        && let Some(ssrc) = control_ssrc(&transmit.contents)
                    {
                        // Whoever else sends on this connection must know of it before the first one leaves: under
                        // one SSRC two senders would use nonces twice. It is only a report, so the next one will do.
                        self.reports_ssrc = Some(ssrc);
                        return Ok(Some(TransportEvent::Reports { ssrc }));
                    }
                    queue.push(path, &transmit.contents);
                }
                Output::Event(event) => {
                    if let Some(event) = self.event(now, event) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn packet_event(&self, packet: RtpPacket) -> TransportEvent {
        let header = &packet.header;
        TransportEvent::Packet {
            ssrc: *header.ssrc,
            packet: RawPacket {
                sequence: *packet.seq_no,
                timestamp: header.timestamp,
                marker: header.marker,
                codec: self.payload_types.codec(*header.payload_type),
                audio_level: header.ext_vals.audio_level.map(i8::unsigned_abs),
                dependency: header.ext_vals.user_values.get::<RawDependency>().map(|raw| raw.0.clone()),
                payload: packet.payload,
            },
        }
    }

    fn event(&self, now: Instant, event: Event) -> Option<TransportEvent> {
        match event {
            Event::Connected => Some(TransportEvent::Connected),
            Event::IceConnectionStateChange(state) => {
                Some(TransportEvent::Reachable(state != IceConnectionState::Disconnected))
            }
            Event::Closed => Some(TransportEvent::Closed),
            Event::ChannelOpen(channel, label) => Some(TransportEvent::ChannelOpen { label, channel }),
            Event::ChannelData(data) => Some(TransportEvent::Data { channel: data.id, bytes: data.data }),
            Event::RtpPacket(packet) => Some(self.packet_event(packet)),
            Event::SenderFeedback(feedback) => {
                let info = &feedback.sender_info;
                Some(TransportEvent::Clock {
                    mid: self.raw_mid(feedback.mid)?,
                    rid: feedback.rid.map(|rid| rid.to_string()),
                    anchor: ClockAnchor {
                        ntp: ntp_of(info.ntp_time),
                        rtp: info.rtp_time.numer() as u32,
                        received: feedback.received_at.min(now),
                    },
                })
            }
            _ => None,
        }
    }

    fn raw_mid(&self, mid: Mid) -> Option<String> {
        self.declared.keys().find(|own| Mid::from(own.as_str()) == mid).cloned()
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

/// SSRC of the sender of a control packet, which is not encrypted; `None` for everything else (RFC 5761 §4).
fn control_ssrc(datagram: &[u8]) -> Option<u32> {
    let [128..=191, 192..=223, _, _, s1, s2, s3, s4, ..] = *datagram else { return None };
    Some(u32::from_be_bytes([s1, s2, s3, s4]))
}

/// What str0m complained of; the connection is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection failed: {0}")]
pub struct TransportError(String);

fn ice(credentials: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.pwd.clone() }
}

fn add_codec(config: &mut RtcConfig, numbers: &Offered) {
    let codec = numbers.codec;
    let rtc_codec = match codec {
        // Unwrapping RED is ours, so to str0m it is Opus under another number.
        Codec::Opus | Codec::Red => RtcCodec::Opus,
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::H264 => RtcCodec::H264,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::Av1 => RtcCodec::Av1,
        Codec::H265 => RtcCodec::H265,
        Codec::Pcmu => RtcCodec::PCMU,
        Codec::Pcma => RtcCodec::PCMA,
    };
    let channels = match codec {
        Codec::Opus | Codec::Red => Some(2),
        _ => None,
    };
    config.codec_config().add_config(
        numbers.payload_type.into(),
        numbers.rtx.map(Into::into),
        rtc_codec,
        Frequency::new(codec.clock_rate()).expect("clock rates are not zero"),
        channels,
        FormatParams::default(),
    );
}

/// NTP time in 2^-32 seconds since 1900.
fn ntp_of(time: SystemTime) -> u64 {
    /// Seconds from 1900 to 1970.
    const EPOCH: u64 = 2_208_988_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(EPOCH) << 32) | fraction
}

/// Number of a header extension to its meaning. Written when an offer comes, read for each packet.
#[derive(Debug, Default)]
struct ExtensionTable([AtomicU8; 15]);

const MID: u8 = 1;
const RID: u8 = 2;
const REPAIRED_RID: u8 = 3;
const TRANSPORT_CC: u8 = 4;
const AUDIO_LEVEL: u8 = 5;
const DEPENDENCY: u8 = 6;

/// A dependency descriptor as it came: reading it takes the descriptors that came before.
#[derive(Debug)]
struct RawDependency(Arc<[u8]>);

impl ExtensionTable {
    fn set(&self, extensions: &[(u8, String)]) {
        for (id, name) in extensions {
            let meaning = match name.as_str() {
                uri::MID => MID,
                uri::RID => RID,
                uri::REPAIRED_RID => REPAIRED_RID,
                uri::TRANSPORT_CC => TRANSPORT_CC,
                uri::AUDIO_LEVEL => AUDIO_LEVEL,
                uri::DEPENDENCY => DEPENDENCY,
                _ => continue,
            };
            if let Some(slot) = self.0.get(usize::from(*id)) {
                slot.store(meaning, Ordering::Relaxed);
            }
        }
    }
}

/// One number of the table, in the form that str0m takes.
#[derive(Debug)]
struct ExtensionSlot {
    id: u8,
    table: Arc<ExtensionTable>,
}

impl ExtensionSerializer for ExtensionSlot {
    fn write_to(&self, _buf: &mut [u8], _values: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        let text = || std::str::from_utf8(buf).ok();
        match self.table.0[usize::from(self.id)].load(Ordering::Relaxed) {
            MID => values.mid = text().map(Mid::from),
            RID => values.rid = text().map(Rid::from),
            REPAIRED_RID => values.rid_repair = text().map(Rid::from),
            TRANSPORT_CC => {
                let [high, low, ..] = *buf else { return false };
                values.transport_cc = Some(u16::from_be_bytes([high, low]));
            }
            AUDIO_LEVEL => {
                let [level, ..] = *buf else { return false };
                values.audio_level = Some(-((level & 0x7f).cast_signed()));
                values.voice_activity = Some(level & 0x80 != 0);
            }
            DEPENDENCY => values.user_values.set(RawDependency(buf.into())),
            _ => return false,
        }
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        true
    }
}
