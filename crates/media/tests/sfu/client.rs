//! A LiveKit client without sockets: str0m's own session descriptions, media and data.
//!
//! str0m shares no code with what it is connected to here in descriptions and in the sending of packets, so that what
//! it understands and decrypts is right.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_media::ids::PeerHandle;
use plenum_media::sdp::uri;
use plenum_media::shard::Side;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::crypto::from_feature_flags;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, KeyframeRequest, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{Extension, RawPacket};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::layered::{self, Dependency, DependencySerializer, LayeredCamera};
use crate::picture::Picture;
use crate::source::Source;
use crate::svc::Mode;

/// Simulcast layers, lowest first.
const RIDS: [&str; 3] = ["q", "h", "f"];

/// Somebody in the room.
pub(crate) struct Client {
    pub(crate) identity: String,
    pub(crate) peer: PeerHandle,
    pub(crate) publisher: Connection,
    pub(crate) subscriber: Connection,
    /// The first connection serves both directions, and the other is not used.
    pub(crate) has_one_connection: bool,
    /// Signal messages that came.
    pub(crate) heard: Vec<Response>,
    /// Signal messages to be sent.
    pub(crate) requests: VecDeque<Request>,
    /// The server has closed the signal connection.
    pub(crate) closed: bool,
    /// Does nothing any more, as after its machine was switched off.
    pub(crate) dead: bool,
    pub(crate) sources: Vec<Source>,
    /// Requests for key frames that were followed.
    pub(crate) answered: usize,
    pending: Option<SdpPendingOffer>,
    next_cid: u32,
}

/// One of the two connections.
pub(crate) struct Connection {
    pub(crate) rtc: Rtc,
    /// What the client takes for its address, and what the server sees of it behind address translation.
    inside: SocketAddr,
    pub(crate) outside: SocketAddr,
    pub(crate) deadline: Instant,
    pub(crate) received: Vec<Received>,
    /// Control packets that came in and that went out.
    pub(crate) reports: Vec<(Instant, Rtcp)>,
    pub(crate) sent_reports: Vec<Rtcp>,
    /// Retransmissions that came in.
    pub(crate) repaired: usize,
    /// Those of layered streams: dependency descriptor and payload.
    pub(crate) repeated: Vec<(Option<Dependency>, Vec<u8>)>,
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) channels: HashMap<ChannelId, String>,
    pub(crate) asked: Vec<(Instant, KeyframeRequest)>,
}

/// A media packet, decrypted.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) mid: Mid,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) dependency: Option<Dependency>,
    pub(crate) payload: Arc<[u8]>,
}

impl Received {
    pub(crate) fn picture(&self) -> Picture {
        Picture::parse(&self.payload).expect("the payload is what the camera has made")
    }
}

impl Client {
    pub(crate) fn new(now: Instant, identity: &str, peer: PeerHandle) -> Self {
        let number = u8::try_from(peer.key).expect("few people");
        let connection = |side: u16| {
            let port = 40_000 + side;
            Connection::new(now, ([10, 0, 0, number], port).into(), ([198, 51, 100, number], port).into())
        };
        Self {
            identity: identity.to_owned(),
            peer,
            publisher: connection(0),
            subscriber: connection(1),
            has_one_connection: false,
            heard: Vec::new(),
            requests: VecDeque::new(),
            closed: false,
            dead: false,
            sources: Vec::new(),
            answered: 0,
            pending: None,
            next_cid: 0,
        }
    }

    pub(crate) fn connection(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Publisher => &mut self.publisher,
            Side::Subscriber => &mut self.subscriber,
        }
    }

    /// The connection on which media come.
    pub(crate) fn down(&self) -> &Connection {
        if self.has_one_connection { &self.publisher } else { &self.subscriber }
    }

    /// When something is to be done next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        let sources = self.sources.iter().filter(|s| s.on && s.accepted).map(|s| s.next);
        sources.chain([self.publisher.deadline, self.subscriber.deadline]).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.dead {
            return;
        }
        for source in &mut self.sources {
            while source.on && source.accepted && source.next <= now {
                source.send(now, &mut self.publisher.rtc);
            }
        }
    }

    /// A signal message came.
    pub(crate) fn hear(&mut self, message: Response) {
        match &message {
            Response::Offer(offer) => {
                let (id, offer) = (offer.id, SdpOffer::from_sdp_string(&offer.sdp).expect("str0m reads it"));
                let answer = self.subscriber.rtc.sdp_api().accept_offer(offer).expect("str0m takes it");
                self.requests.push_back(Request::Answer(proto::SessionDescription {
                    r#type: "answer".into(),
                    sdp: answer.to_sdp_string(),
                    id,
                    ..Default::default()
                }));
            }
            Response::Answer(answer) => {
                let answer = SdpAnswer::from_sdp_string(&answer.sdp).expect("str0m reads it");
                let pending = self.pending.take().expect("an answer follows an offer");
                self.publisher.rtc.sdp_api().accept_answer(pending, answer).expect("str0m takes it");
                self.sources.iter_mut().for_each(|source| source.accepted = true);
            }
            Response::MediaSectionsRequirement(required) => self.offer_lines(*required),
            _ => {}
        }
        self.heard.push(message);
    }

    /// Offers more lines to receive on, as a client with one connection does when it is asked.
    fn offer_lines(&mut self, required: proto::MediaSectionsRequirement) {
        let is_first = self.publisher.channels.is_empty();
        let mut api = self.publisher.rtc.sdp_api();
        let mut channels = Vec::new();
        if is_first {
            add_channels(&mut api, &mut channels);
        }
        for (kind, count) in
            [(MediaKind::Audio, required.num_audios), (MediaKind::Video, required.num_videos)]
        {
            for _ in 0..count {
                api.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        let Some((offer, pending)) = api.apply() else { return };
        self.publisher.channels.extend(channels);
        self.offer(&offer, pending);
    }

    /// Publishes a camera with three layers; returns its index among the sources.
    pub(crate) fn publish_camera(&mut self, now: Instant) -> usize {
        self.publish(now, proto::TrackSource::Camera, &RIDS)
    }

    /// Publishes one stream of pictures.
    pub(crate) fn publish_screen(&mut self, now: Instant) -> usize {
        self.publish(now, proto::TrackSource::ScreenShare, &[])
    }

    pub(crate) fn publish_microphone(&mut self, now: Instant) -> usize {
        self.publish(now, proto::TrackSource::Microphone, &[])
    }

    /// Publishes a camera whose only stream has layers inside.
    pub(crate) fn publish_layered(
        &mut self,
        now: Instant,
        codec: layered::Codec,
        mode: Mode,
        with_dependencies: bool,
    ) -> usize {
        self.publish_layers(now, proto::TrackSource::Camera, codec, mode, with_dependencies)
    }

    /// Publishes a screen whose only stream has layers inside.
    pub(crate) fn publish_layered_screen(&mut self, now: Instant, mode: Mode) -> usize {
        self.publish_layers(now, proto::TrackSource::ScreenShare, layered::Codec::Vp9, mode, true)
    }

    fn publish_layers(
        &mut self,
        now: Instant,
        source: proto::TrackSource,
        codec: layered::Codec,
        mode: Mode,
        with_dependencies: bool,
    ) -> usize {
        let index = self.publish(now, source, &[]);
        // As livekit-client announces it: the highest layer first.
        let sizes = [(640, 360), (320, 180), (160, 90)].into_iter().zip([2, 1, 0]);
        let layers = sizes.skip(3 - usize::from(mode.spatial)).map(|((width, height), quality)| {
            proto::VideoLayer { width, height, quality, ..Default::default() }
        });
        let layers: Vec<_> = layers.collect();
        for request in &mut self.requests {
            if let Request::AddTrack(request) = request {
                request.layers.clone_from(&layers);
                request.simulcast_codecs = vec![proto::SimulcastCodec {
                    codec: codec.name().into(),
                    cid: request.cid.clone(),
                    layers: layers.clone(),
                    video_layer_mode: proto::video_layer::Mode::MultipleSpatialLayersPerStream as i32,
                }];
            }
        }
        self.sources[index].layered = Some(LayeredCamera::new(codec, mode, with_dependencies));
        index
    }

    fn publish(&mut self, now: Instant, source: proto::TrackSource, rids: &[&str]) -> usize {
        let kind = if source == proto::TrackSource::Microphone { MediaKind::Audio } else { MediaKind::Video };
        self.next_cid += 1;
        let cid = format!("{}-{}", self.identity, self.next_cid);
        let sizes = [(160, 90), (320, 180), (640, 360)].into_iter().zip(0..).take(rids.len().max(1));
        let layer =
            |((width, height), quality)| proto::VideoLayer { quality, width, height, ..Default::default() };
        self.requests.push_back(Request::AddTrack(proto::AddTrackRequest {
            cid: cid.clone(),
            r#type: i32::from(kind == MediaKind::Video),
            source: source as i32,
            layers: if kind == MediaKind::Video { sizes.map(layer).collect() } else { Vec::new() },
            ..Default::default()
        }));
        let first = self.publisher.channels.is_empty();
        let mut api = self.publisher.rtc.sdp_api();
        let mut channels = Vec::new();
        if first {
            add_channels(&mut api, &mut channels);
        }
        let mut simulcast = Simulcast::new();
        rids.iter().for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        let simulcast = (!rids.is_empty()).then_some(simulcast);
        let mid =
            api.add_media(kind, Direction::SendOnly, Some("stream".into()), Some(cid.clone()), simulcast);
        let (offer, pending) = api.apply().expect("a new m-line needs an offer");
        self.publisher.channels.extend(channels);
        self.offer(&offer, pending);
        self.sources.push(Source::new(now, cid, kind, mid, rids));
        self.sources.len() - 1
    }

    /// Takes a source away, as livekit-client does: its m-line goes inactive.
    pub(crate) fn unpublish(&mut self, source: usize) {
        self.sources[source].on = false;
        let mut api = self.publisher.rtc.sdp_api();
        api.set_direction(self.sources[source].mid, Direction::Inactive);
        let (offer, pending) = api.apply().expect("a change needs an offer");
        self.offer(&offer, pending);
    }

    /// Begins an ICE restart of the publisher's connection, as clients do after they have resumed.
    pub(crate) fn restart_ice(&mut self) {
        let mut api = self.publisher.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().expect("a restart needs an offer");
        self.offer(&offer, pending);
    }

    fn offer(&mut self, offer: &SdpOffer, pending: SdpPendingOffer) {
        assert!(self.pending.is_none(), "one offer at a time");
        self.pending = Some(pending);
        self.requests.push_back(Request::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.to_sdp_string(),
            id: 1,
            ..Default::default()
        }));
    }

    /// Sends a data packet with this text.
    pub(crate) fn write(&mut self, reliable: bool, text: &str, to: &[&str]) {
        let packet = proto::DataPacket {
            destination_identities: to.iter().map(|identity| (*identity).to_owned()).collect(),
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: text.as_bytes().to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let label = if reliable { "_reliable" } else { "_lossy" };
        let channel = self.publisher.channels.iter().find(|(_, own)| *own == label).map(|(id, _)| *id);
        let mut channel = self.publisher.rtc.channel(channel.expect("made")).expect("open");
        let taken = channel.write(true, &prost::Message::encode_to_vec(&packet)).expect("of allowed size");
        assert!(taken, "there is room in the channel");
    }

    /// Data packets that came, as channel, sender and text.
    pub(crate) fn texts(&self) -> Vec<(&str, String, String)> {
        let read = |(label, bytes): &(String, Vec<u8>)| {
            let packet: proto::DataPacket = prost::Message::decode(bytes.as_slice()).expect("well-formed");
            let Some(proto::data_packet::Value::User(user)) = packet.value else { panic!("a user packet") };
            (packet.participant_identity, String::from_utf8(user.payload).expect("text"), label.clone())
        };
        let label = |label: &str| if label == "_reliable" { "reliable" } else { "lossy" };
        self.subscriber.messages.iter().map(read).map(|(who, text, own)| (label(&own), who, text)).collect()
    }

    /// The track of this source, as the server calls it.
    pub(crate) fn sid(&self, source: usize) -> String {
        let cid = &self.sources[source].cid;
        let named = |message: &Response| match message {
            Response::TrackPublished(published) if published.cid == *cid => published.track.clone(),
            _ => None,
        };
        self.heard.iter().find_map(named).expect("it is published").sid
    }
}

/// Adds the channels of LiveKit's clients.
fn add_channels(api: &mut SdpApi<'_>, channels: &mut Vec<(ChannelId, String)>) {
    for (label, reliable) in [("_reliable", true), ("_lossy", false)] {
        let reliability =
            if reliable { Reliability::Reliable } else { Reliability::MaxRetransmits { retransmits: 0 } };
        let config =
            ChannelConfig { label: label.into(), ordered: reliable, reliability, ..ChannelConfig::default() };
        channels.push((api.add_channel_with_config(config), label.to_owned()));
    }
}

impl Connection {
    fn new(now: Instant, inside: SocketAddr, outside: SocketAddr) -> Self {
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::new(from_feature_flags()))
            .set_rtp_mode(true)
            .enable_raw_packets(true)
            .clear_codecs();
        let mut add = |pt: u8, rtx: Option<u8>, codec, rate, channels| {
            config.codec_config().add_config(
                pt.into(),
                rtx.map(Into::into),
                codec,
                rate,
                channels,
                FormatParams::default(),
            );
        };
        add(96, Some(97), Codec::Vp8, Frequency::NINETY_KHZ, None);
        add(98, Some(99), Codec::Vp9, Frequency::NINETY_KHZ, None);
        add(35, Some(36), Codec::Av1, Frequency::NINETY_KHZ, None);
        add(111, None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2));
        let dependency = Extension::with_serializer(uri::DEPENDENCY, DependencySerializer);
        let mut rtc = config.set_extension(12, dependency).build(now);
        rtc.add_local_candidate(Candidate::host(inside, "udp").expect("a good address"));
        Self {
            rtc,
            inside,
            outside,
            deadline: now,
            received: Vec::new(),
            reports: Vec::new(),
            sent_reports: Vec::new(),
            repaired: 0,
            repeated: Vec::new(),
            messages: Vec::new(),
            channels: HashMap::new(),
            asked: Vec::new(),
        }
    }

    /// A datagram came in. [`Connection::drain`] must follow: str0m keeps one packet for it.
    pub(crate) fn handle(&mut self, now: Instant, server: SocketAddr, datagram: &[u8]) {
        let receive = Receive::new(Protocol::Udp, server, self.inside, datagram).expect("well-formed");
        self.rtc.handle_input(Input::Receive(now, receive)).expect("nothing that breaks the connection");
    }

    /// What is to be sent now.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        // What was changed by other means takes effect with the next input.
        self.rtc.handle_input(Input::Timeout(now)).expect("time does no harm");
        let mut datagrams = Vec::new();
        loop {
            match self.rtc.poll_output().expect("the connection lives") {
                Output::Timeout(at) => {
                    self.deadline = at.max(now + Duration::from_millis(1));
                    return datagrams;
                }
                Output::Transmit(transmit) => datagrams.push(transmit.contents.to_vec()),
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mid = self.rtc.direct_api().stream_rx(&ssrc).expect("a stream that is known").mid();
                self.received.push(Received {
                    at: now,
                    mid,
                    ssrc: *ssrc,
                    sequence: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    dependency: packet.header.ext_vals.user_values.get::<Dependency>().cloned(),
                    payload: packet.payload,
                });
            }
            Event::KeyframeRequest(request) => self.asked.push((now, request)),
            Event::ChannelOpen(id, label) => _ = self.channels.insert(id, label),
            Event::ChannelData(data) => {
                self.messages.push((self.channels[&data.id].clone(), data.data));
            }
            Event::RawPacket(raw) => match *raw {
                RawPacket::RtcpRx(report) => self.reports.push((now, report)),
                RawPacket::RtcpTx(report) => self.sent_reports.push(report),
                RawPacket::RtpRx(header, payload) => match *header.payload_type {
                    97 => self.repaired += 1,
                    36 | 99 => {
                        let dependency = header.ext_vals.user_values.get::<Dependency>().cloned();
                        self.repeated.push((dependency, payload));
                    }
                    _ => {}
                },
                RawPacket::RtpTx(..) => {}
            },
            _ => {}
        }
    }

    /// What came in on an m-line, by sequence number.
    pub(crate) fn stream(&self, ssrc: u32) -> Vec<Received> {
        let mut packets: Vec<Received> = self.received.iter().filter(|p| p.ssrc == ssrc).cloned().collect();
        packets.sort_by_key(|packet| packet.sequence);
        packets
    }

    /// The only stream of pictures, or of sound, that came in.
    pub(crate) fn only(&self, kind: MediaKind) -> Vec<Received> {
        let fits = |p: &&Received| (Picture::parse(&p.payload).is_some()) == (kind == MediaKind::Video);
        let ssrcs: std::collections::BTreeSet<u32> =
            self.received.iter().filter(fits).map(|p| p.ssrc).collect();
        assert_eq!(ssrcs.len(), 1, "one stream");
        ssrcs.first().map(|ssrc| self.stream(*ssrc)).unwrap_or_default()
    }
}
