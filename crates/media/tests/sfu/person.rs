//! Somebody in the room: a client, what it sends, and a record of everything that came.
//!
//! The client is str0m, which shares no code with what it is connected to here in descriptions and in the sending of
//! packets, so that what it understands and decrypts is right.

use std::net::SocketAddr;
use std::time::Instant;

use livekit_protocol as proto;
use plenum_client::{
    Camera, Client, Dependency, Event, Microphone, Picture, Received, Reception, Settings, Side, Signalling,
};
use plenum_media::ids::PeerHandle;
use proto::signal_response::Message as Response;
use rand::Rng;
use str0m::media::MediaKind;
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;

use crate::layered::{self, LayeredCamera};
use crate::source::{Device, FRAME, SHAPES, Source, layered_request};
use crate::svc::Mode;

/// Somebody in the room.
pub(crate) struct Person {
    pub(crate) identity: String,
    pub(crate) peer: PeerHandle,
    pub(crate) client: Client,
    pub(crate) publisher: Seen,
    pub(crate) subscriber: Seen,
    /// Signal messages that came.
    pub(crate) heard: Vec<Response>,
    /// The server has closed the signal connection.
    pub(crate) closed: bool,
    /// Does nothing any more, as after its machine was switched off.
    pub(crate) dead: bool,
    pub(crate) sources: Vec<Source>,
    /// Data packets that came, as channel, sender and text.
    data: Vec<(&'static str, String, String)>,
}

/// What one of the two connections has seen.
pub(crate) struct Seen {
    /// What the server sees of its address, behind address translation.
    pub(crate) outside: SocketAddr,
    pub(crate) received: Vec<Received>,
    /// Control packets that came in and that went out.
    pub(crate) reports: Vec<Rtcp>,
    pub(crate) sent_reports: Vec<Rtcp>,
    /// Retransmissions that came in.
    pub(crate) repaired: usize,
    /// Those of layered streams: dependency descriptor and payload.
    pub(crate) repeated: Vec<(Option<Dependency>, Vec<u8>)>,
    /// Layers of which key frames were asked for.
    pub(crate) asked: Vec<(Instant, usize)>,
}

/// The picture that a packet is of.
pub(crate) fn picture(packet: &Received) -> Picture {
    Picture::parse(&packet.payload).expect("the payload is what the camera has made")
}

impl Person {
    pub(crate) fn new(
        now: Instant,
        identity: &str,
        peer: PeerHandle,
        signalling: Signalling,
        reception: Reception,
        rng: &mut impl Rng,
    ) -> Self {
        let number = u8::try_from(peer.key).expect("few people");
        let ports = [40_000, 40_001];
        let inside = ports.map(|port| SocketAddr::from(([10, 0, 0, number], port)));
        let outside = ports.map(|port| SocketAddr::from(([198, 51, 100, number], port)));
        let settings = Settings { signalling, reception, raw: true, ..Settings::new(inside) };
        let [publisher, subscriber] = outside.map(Seen::new);
        Self {
            identity: identity.to_owned(),
            peer,
            client: Client::new(now, settings, rng),
            publisher,
            subscriber,
            heard: Vec::new(),
            closed: false,
            dead: false,
            sources: Vec::new(),
            data: Vec::new(),
        }
    }

    pub(crate) fn seen(&mut self, side: Side) -> &mut Seen {
        match side {
            Side::Publisher => &mut self.publisher,
            Side::Subscriber => &mut self.subscriber,
        }
    }

    /// The connection on which media come.
    pub(crate) fn down(&self) -> &Seen {
        match self.client.down() {
            Side::Publisher => &self.publisher,
            Side::Subscriber => &self.subscriber,
        }
    }

    /// When something is to be done next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        let sources = self.sources.iter().filter(|source| self.is_sending(source)).map(Source::next_timeout);
        sources.chain([self.client.next_timeout()]).min()
    }

    fn is_sending(&self, source: &Source) -> bool {
        source.on && self.client.is_accepted(source.track)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.dead {
            return;
        }
        for source in &mut self.sources {
            if source.on && self.client.is_accepted(source.track) {
                source.send(now, &mut self.client);
            }
        }
        self.client.handle_timeout(now).expect("the connection lives");
    }

    /// A signal message came.
    pub(crate) fn hear(&mut self, now: Instant, message: Response) {
        self.heard.push(message.clone());
        self.client.handle_signal(now, message).expect("str0m takes what the server describes");
    }

    /// Records what happened, and gives cameras the key frames that are asked for.
    pub(crate) fn note(&mut self, now: Instant) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Packet(packet) => {
                    let down = self.client.down();
                    self.seen(down).received.push(packet);
                }
                Event::KeyframeWanted { track, layer } => {
                    self.publisher.asked.push((now, layer));
                    let wanted = self.sources.iter_mut().filter(|source| source.track == track);
                    wanted.for_each(|source| source.refresh(layer));
                }
                Event::Data { reliable, packet } => {
                    let Some(proto::data_packet::Value::User(user)) = packet.value else {
                        panic!("a user packet")
                    };
                    let text = String::from_utf8(user.payload).expect("text");
                    let channel = if reliable { "reliable" } else { "lossy" };
                    self.data.push((channel, packet.participant_identity, text));
                }
                Event::Raw(side, raw) => self.seen(side).note(*raw),
                _ => {}
            }
        }
    }

    /// Publishes a camera with three layers; returns its index among the sources.
    pub(crate) fn publish_camera(&mut self, now: Instant) -> usize {
        self.publish_video(now, proto::TrackSource::Camera, 3)
    }

    /// Publishes one stream of pictures.
    pub(crate) fn publish_screen(&mut self, now: Instant) -> usize {
        self.publish_video(now, proto::TrackSource::ScreenShare, 1)
    }

    fn publish_video(&mut self, now: Instant, source: proto::TrackSource, layers: usize) -> usize {
        let camera = Camera::new(now, &SHAPES[..layers], FRAME);
        self.publish(now, camera.request(source), camera.rids(), Device::Camera(camera))
    }

    pub(crate) fn publish_microphone(&mut self, now: Instant) -> usize {
        let microphone = Microphone::new(now, 15);
        self.publish(now, microphone.request(), &[], Device::Microphone(microphone))
    }

    /// Publishes a camera whose only stream has layers inside.
    pub(crate) fn publish_layered(
        &mut self,
        now: Instant,
        codec: layered::Codec,
        mode: Mode,
        with_dependencies: bool,
    ) -> usize {
        let camera = LayeredCamera::new(codec, mode, with_dependencies);
        self.publish_layers(now, proto::TrackSource::Camera, camera)
    }

    /// Publishes a screen whose only stream has layers inside.
    pub(crate) fn publish_layered_screen(&mut self, now: Instant, mode: Mode) -> usize {
        let camera = LayeredCamera::new(layered::Codec::Vp9, mode, true);
        self.publish_layers(now, proto::TrackSource::ScreenShare, camera)
    }

    fn publish_layers(&mut self, now: Instant, source: proto::TrackSource, camera: LayeredCamera) -> usize {
        let request = layered_request(source, &camera);
        self.publish(now, request, &[], Device::Layered { camera: Box::new(camera), next: now })
    }

    fn publish(
        &mut self,
        now: Instant,
        request: proto::AddTrackRequest,
        rids: &[&str],
        device: Device,
    ) -> usize {
        let track = self.client.publish(now, request, rids);
        self.sources.push(Source::new(track, device));
        self.sources.len() - 1
    }

    /// Takes a source away.
    pub(crate) fn unpublish(&mut self, now: Instant, source: usize) {
        self.sources[source].on = false;
        self.client.unpublish(now, self.sources[source].track);
    }

    /// Sends a data packet with this text.
    pub(crate) fn write(&mut self, now: Instant, reliable: bool, text: &str, to: &[&str]) {
        let packet = proto::DataPacket {
            destination_identities: to.iter().map(|identity| (*identity).to_owned()).collect(),
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: text.as_bytes().to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let taken = self.client.send_data(now, reliable, &packet).expect("the connection lives");
        assert!(taken, "the channel is open and has room");
    }

    /// Data packets that came, as channel, sender and text.
    pub(crate) fn texts(&self) -> &[(&'static str, String, String)] {
        &self.data
    }

    /// The track of this source, as the server calls it.
    pub(crate) fn sid(&self, source: usize) -> String {
        self.client.sid(self.sources[source].track).expect("it is published").to_owned()
    }
}

impl Seen {
    fn new(outside: SocketAddr) -> Self {
        Self {
            outside,
            received: Vec::new(),
            reports: Vec::new(),
            sent_reports: Vec::new(),
            repaired: 0,
            repeated: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn note(&mut self, raw: RawPacket) {
        match raw {
            RawPacket::RtcpRx(report) => self.reports.push(report),
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
