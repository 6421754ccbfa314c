//! One of a client's connections: str0m, and beside it the counting of what comes.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plenum_media::dtls::{self, KeySlot};
use plenum_media::sdp::{self, Codec, MediaType, uri};
use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::{Codec as RtcCodec, CodecConfig, FormatParams};
use str0m::media::{Direction, Frequency, KeyframeRequestKind, MediaKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RawPacket};
use str0m::{Candidate, Event as RtcEvent, Input, Output, Rtc, RtcConfig, RtcError};

use crate::client::ClientError;
use crate::counter::{Counter, Reception};
use crate::track::{Dependency, DependencySerializer, Packet};

/// A media packet that came and was decrypted.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it came.
    pub at: Instant,
    /// Its stream.
    pub ssrc: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// In ticks of the codec.
    pub timestamp: u32,
    /// The last packet of a picture.
    pub marker: bool,
    /// The dependency descriptor, where everything is taken whole.
    pub dependency: Option<Dependency>,
    /// Descriptor and content.
    pub payload: Arc<[u8]>,
}

/// What happened on a connection.
pub(crate) enum Happening {
    Connected,
    Closed,
    Packet(Received),
    KeyframeWanted { mid: Mid, rid: Option<Rid> },
    ChannelOpen(String),
    Data { label: String, bytes: Vec<u8> },
    Estimate(u64),
    Raw(Box<RawPacket>),
}

pub(crate) struct Connection {
    rtc: Rtc,
    /// Our candidates, the usual one first.
    local: Vec<SocketAddr>,
    keys: KeySlot,
    counter: Option<Counter>,
    pub(crate) srtp_profile: Option<&'static str>,
    pub(crate) deadline: Instant,
    pub(crate) channels: HashMap<ChannelId, String>,
    /// The offer that is out.
    pending: Option<SdpPendingOffer>,
    /// Candidates that came before a description.
    candidates: Option<Vec<Candidate>>,
    /// Lines for what the server sends, and those of them on which it does.
    spare: Vec<Mid>,
    busy: Vec<Mid>,
    /// Who begins the handshake, as the descriptions say.
    is_dtls_client: bool,
    /// By SSRC: what the server calls the track.
    pub(crate) tracks: HashMap<u32, String>,
    pub(crate) out: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) happened: VecDeque<Happening>,
}

/// Lines of an offer.
pub(crate) struct Changes<'a> {
    pub(crate) api: SdpApi<'a>,
    pub(crate) spare: &'a mut Vec<Mid>,
}

impl Connection {
    pub(crate) fn new(
        now: Instant,
        local: Vec<SocketAddr>,
        reception: Reception,
        feedback_ssrc: u32,
        options: &Options,
    ) -> Self {
        let mut config = RtcConfig::new()
            .set_crypto_provider(dtls::provider())
            .set_rtp_mode(true)
            .enable_raw_packets(options.raw)
            .clear_codecs();
        if let Some(estimate) = options.estimate {
            config = config.enable_bwe(Some(estimate.into()));
        }
        config.codec_config().enable_opus(true, options.robust_sound);
        let mut params = config.codec_config().params().to_vec();
        params.iter_mut().for_each(|sound| sound.set_fb_nack(options.robust_sound));
        *config.codec_config() = CodecConfig::new_from_payload_params(params);
        for (codec, rtc_codec) in
            [(Codec::Vp8, RtcCodec::Vp8), (Codec::Vp9, RtcCodec::Vp9), (Codec::Av1, RtcCodec::Av1)]
        {
            config.codec_config().add_config(
                codec.payload_type().into(),
                codec.rtx_payload_type().map(Into::into),
                rtc_codec,
                Frequency::NINETY_KHZ,
                None,
                FormatParams::default(),
            );
        }
        let dependency = Extension::with_serializer(uri::DEPENDENCY, DependencySerializer);
        let config = config.set_extension(12, dependency);
        let keys = KeySlot::shared();
        let mut rtc = keys.attach(|| config.build(now));
        for candidate in local.iter().filter_map(|address| Candidate::host(*address, Protocol::Udp).ok()) {
            rtc.add_local_candidate(candidate);
        }
        let counter = match reception {
            Reception::Whole => None,
            Reception::Counted { opened } => Some(Counter::new(now, opened, feedback_ssrc)),
        };
        Self {
            rtc,
            local,
            keys,
            counter,
            srtp_profile: None,
            deadline: now,
            channels: HashMap::new(),
            pending: None,
            candidates: Some(Vec::new()),
            spare: Vec::new(),
            busy: Vec::new(),
            is_dtls_client: false,
            tracks: HashMap::new(),
            out: VecDeque::new(),
            happened: VecDeque::new(),
        }
    }

    pub(crate) fn counter(&self) -> Option<&Counter> {
        self.counter.as_ref()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.rtc.is_connected()
    }

    /// Whether an offer is out.
    pub(crate) fn has_offered(&self) -> bool {
        self.pending.is_some()
    }

    /// Makes an offer of what `change` asks for; `None` if it asks for nothing.
    pub(crate) fn offer(&mut self, change: impl FnOnce(&mut Changes<'_>)) -> Option<String> {
        let busy = &self.busy;
        let idle: Vec<Mid> = self.spare.iter().copied().filter(|mid| !busy.contains(mid)).collect();
        let mut changes = Changes { api: self.rtc.sdp_api(), spare: &mut self.spare };
        change(&mut changes);
        // str0m takes a line out of use that the server has no use for yet, and makes no offer where nothing changes. Clients
        // of LiveKit keep such lines open for the next track, and offer again whenever they are asked.
        for mid in idle {
            changes.api.set_direction(mid, Direction::Inactive);
            changes.api.set_direction(mid, Direction::RecvOnly);
        }
        let (offer, pending) = changes.api.apply()?;
        self.pending = Some(pending);
        Some(offer.to_sdp_string())
    }

    /// The answer to the offer that is out.
    pub(crate) fn answered(
        &mut self,
        sdp: &str,
        tracks: &HashMap<String, String>,
    ) -> Result<(), ClientError> {
        // An answer that nobody waits for, such as a second one.
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|_| ClientError::Sdp)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        self.is_dtls_client = sdp.contains("a=setup:passive");
        self.described(sdp, tracks)
    }

    /// Takes the server's offer and gives the answer.
    pub(crate) fn answer(
        &mut self,
        sdp: &str,
        tracks: &HashMap<String, String>,
    ) -> Result<String, ClientError> {
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|_| ClientError::Sdp)?;
        let answer = self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
        self.is_dtls_client = answer.contains("a=setup:active");
        self.described(sdp, tracks)?;
        Ok(answer)
    }

    /// The server's description, by either way.
    fn described(&mut self, sdp: &str, tracks: &HashMap<String, String>) -> Result<(), ClientError> {
        for candidate in self.candidates.take().into_iter().flatten() {
            self.rtc.add_remote_candidate(candidate);
        }
        let session = sdp::parse(sdp).map_err(|_| ClientError::Sdp)?;
        self.tracks.clear();
        self.busy.clear();
        for media in &session.media {
            let sends = media.direction.sends() && media.kind != MediaType::Application;
            let track = tracks.get(&media.mid).or(media.track_id.as_ref());
            // livekit-server calls lines `sendonly` on which it has nothing to send.
            if let Some(track) = track.filter(|_| sends) {
                self.busy.push(media.mid.as_str().into());
                self.tracks.extend(media.ssrcs.iter().map(|ssrc| (*ssrc, track.clone())));
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.learn(&session);
        }
        Ok(())
    }

    /// A candidate of the server.
    pub(crate) fn add_candidate(&mut self, candidate: &str) {
        /// A server has a handful.
        const MAX_CANDIDATES: usize = 64;
        // Names that only a browser resolves, and protocols that are not spoken here.
        let Ok(candidate) = Candidate::from_sdp_string(candidate) else { return };
        match &mut self.candidates {
            Some(waiting) if waiting.len() < MAX_CANDIDATES => waiting.push(candidate),
            Some(_) => {}
            None => self.rtc.add_remote_candidate(candidate),
        }
    }

    /// Sends a packet of ours on a line.
    pub(crate) fn write(&mut self, now: Instant, mid: Mid, rid: Option<Rid>, packet: Packet) {
        let rtp = packet.into_rtp(now);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, rid) {
            stream.write_rtp(rtp);
        }
    }

    /// Sends a message; `false` if there is no such channel, or no room in it.
    pub(crate) fn write_data(&mut self, label: &str, bytes: &[u8]) -> bool {
        let id = self.channels.iter().find(|(_, own)| *own == label).map(|(id, _)| *id);
        let channel = id.and_then(|id| self.rtc.channel(id));
        channel.is_some_and(|mut channel| channel.write(true, bytes).unwrap_or(false))
    }

    pub(crate) fn request_keyframe(&mut self, now: Instant, remote: Option<SocketAddr>, ssrc: u32) {
        if let Some(counter) = &mut self.counter {
            if let (Some(report), Some(remote)) = (counter.request_keyframe(ssrc), remote) {
                self.out.push_back((remote, report));
            }
        } else if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.deadline = now;
    }

    /// A datagram came in. [`Connection::drain`] must follow: str0m keeps one packet for it.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), ClientError> {
        if let Some(counter) = &mut self.counter {
            match datagram {
                [128..=191, 192..=223, ..] => counter.handle_control(now, datagram),
                [128..=191, ..] => {
                    let received = counter.handle(now, datagram);
                    self.happened.extend(received.map(Happening::Packet));
                    return Ok(());
                }
                _ => {}
            }
        }
        // What is none of the protocols was damaged on the way.
        let Ok(receive) = Receive::new(Protocol::Udp, remote, self.reached(remote), datagram) else {
            return Ok(());
        };
        Ok(self.rtc.handle_input(Input::Receive(now, receive))?)
    }

    /// The candidate that a packet from there is taken to have arrived at: on one machine, the address is the same.
    fn reached(&self, remote: SocketAddr) -> SocketAddr {
        let same = self.local.iter().find(|own| own.ip() == remote.ip());
        *same.or(self.local.first()).expect("a connection has an address")
    }

    /// Takes everything that is to be done now.
    pub(crate) fn drain(&mut self, now: Instant) -> Result<(), ClientError> {
        // What was changed by other means takes effect with the next input.
        self.rtc.handle_input(Input::Timeout(now))?;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.deadline = at.max(now + Duration::from_millis(1));
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.out.push_back((transmit.destination, transmit.contents.to_vec()));
                }
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    /// Feedback of our own that is due.
    pub(crate) fn report(&mut self, now: Instant, remote: SocketAddr) {
        if let Some(counter) = &mut self.counter {
            counter.handle_timeout(now, |bytes| self.out.push_back((remote, bytes)));
        }
    }

    fn event(&mut self, now: Instant, event: RtcEvent) {
        let happened = match event {
            RtcEvent::Connected => {
                if let Some(keys) = self.keys.take() {
                    self.srtp_profile = Some(keys.profile());
                    if let Some(counter) = &mut self.counter {
                        counter.set_keys(keys.contexts(self.is_dtls_client));
                    }
                }
                Happening::Connected
            }
            RtcEvent::Closed => Happening::Closed,
            RtcEvent::RtpPacket(packet) => Happening::Packet(Received {
                at: now,
                ssrc: *packet.header.ssrc,
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                dependency: packet.header.ext_vals.user_values.get::<Dependency>().cloned(),
                payload: packet.payload,
            }),
            RtcEvent::KeyframeRequest(request) => {
                Happening::KeyframeWanted { mid: request.mid, rid: request.rid }
            }
            RtcEvent::ChannelOpen(id, label) => {
                self.channels.insert(id, label.clone());
                Happening::ChannelOpen(label)
            }
            RtcEvent::ChannelData(data) => match self.channels.get(&data.id) {
                Some(label) => Happening::Data { label: label.clone(), bytes: data.data },
                None => return,
            },
            RtcEvent::EgressBitrateEstimate(
                BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. },
            ) => Happening::Estimate(estimate.as_u64()),
            RtcEvent::RawPacket(raw) => Happening::Raw(raw),
            _ => return,
        };
        self.happened.push_back(happened);
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) {
        let _ = self.rtc.close();
    }
}

impl Changes<'_> {
    /// Adds the channels of LiveKit's clients.
    pub(crate) fn add_channels(&mut self) {
        for (label, reliable) in [("_reliable", true), ("_lossy", false)] {
            let reliability =
                if reliable { Reliability::Reliable } else { Reliability::MaxRetransmits { retransmits: 0 } };
            self.api.add_channel_with_config(ChannelConfig {
                label: label.into(),
                ordered: reliable,
                reliability,
                ..ChannelConfig::default()
            });
        }
    }

    /// Adds lines to receive on.
    pub(crate) fn add_lines(&mut self, kind: MediaKind, count: u32) {
        /// More than anybody is seen by in one room.
        const MAX_LINES: usize = 1_000;
        for _ in 0..count {
            if self.spare.len() < MAX_LINES {
                let mid = self.api.add_media(kind, Direction::RecvOnly, None, None, None);
                self.spare.push(mid);
            }
        }
    }
}

/// What is the same for both connections of a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) raw: bool,
    pub(crate) estimate: Option<u64>,
    pub(crate) robust_sound: bool,
}

impl From<RtcError> for ClientError {
    fn from(error: RtcError) -> Self {
        Self::Connection(error.to_string())
    }
}
