//! Somebody in a room: a client, what it sends, and a record of everything that came.
//!
//! The client is str0m, which shares no code with what it is connected to here in descriptions and in the sending of
//! packets, so that what it understands and decrypts is right.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::{
    Camera, Client, ClientError, Dependency, Event, LayerShape, Microphone, Picture, Received, Side,
};
use plenum_media::bwe::Bitrate;
use plenum_media::ids::{NodeId, PeerHandle, ShardId};
use proto::signal_response::Message as Response;
use str0m::media::MediaKind;
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;

use crate::layered::{self, LayeredCamera};
use crate::link::{Conditions, Link};
use crate::source::{Device, FRAME, SHAPES, Slides, Source, layered_request};
use crate::svc::Mode;
use crate::viewer::Viewer;

/// Somebody in a room.
pub struct Person {
    /// Their name.
    pub identity: String,
    /// The number of their room.
    pub room: usize,
    /// What the server calls their connections.
    pub peer: PeerHandle,
    /// The client.
    pub client: Client,
    /// Where their packets go through.
    pub links: Links,
    /// What the connection that the client offers has seen.
    pub publisher: Seen,
    /// What the connection that the server offers has seen.
    pub subscriber: Seen,
    /// Signal messages that came.
    pub heard: Vec<Response>,
    /// The server has closed the signal connection.
    pub closed: bool,
    /// Does nothing any more, as after its machine was switched off.
    pub dead: bool,
    /// What they publish.
    pub sources: Vec<Source>,
    /// What they see and hear.
    pub viewer: Viewer,
    /// Whether every packet is remembered, and not only what is seen and heard.
    pub(crate) remember: bool,
    /// Whether cameras send only what anybody wants.
    pub(crate) dynacast: bool,
    /// Data packets that came, as channel, sender and text.
    data: Vec<(&'static str, String, String)>,
}

/// The way from somebody, and the way to them.
#[derive(Debug)]
pub struct Links {
    /// From them.
    pub up: Link,
    /// To them.
    pub down: Link,
}

/// What one of the two connections has seen.
pub struct Seen {
    /// What the server sees of its address, behind address translation.
    pub outside: SocketAddr,
    /// Media packets that came.
    pub received: Vec<Received>,
    /// Control packets that came in.
    pub reports: Vec<Rtcp>,
    /// Control packets that went out.
    pub sent_reports: Vec<Rtcp>,
    /// Retransmissions that came in.
    pub repaired: usize,
    /// Those of layered streams: dependency descriptor and payload.
    pub repeated: Vec<(Option<Dependency>, Vec<u8>)>,
    /// Layers of which key frames were asked for.
    pub asked: Vec<(Instant, usize)>,
}

/// The picture that a packet is of.
pub fn picture(packet: &Received) -> Picture {
    Picture::parse(&packet.payload).expect("the payload is what the camera has made")
}

impl Person {
    /// Somebody who is about to join and sees, hears, and sends what is wanted. `outside` are the addresses of the two
    /// connections as the server sees them.
    pub fn new(identity: &str, client: Client, outside: [SocketAddr; 2]) -> Self {
        let [publisher, subscriber] = outside.map(Seen::new);
        Self {
            identity: identity.to_owned(),
            room: 0,
            peer: PeerHandle { node: NodeId(0), shard: ShardId(0), key: 0 },
            client,
            links: Links::new(identity, Conditions::PERFECT, Conditions::PERFECT),
            publisher,
            subscriber,
            heard: Vec::new(),
            closed: false,
            dead: false,
            sources: Vec::new(),
            viewer: Viewer::default(),
            remember: false,
            dynacast: true,
            data: Vec::new(),
        }
    }

    /// One of the two connections.
    pub fn seen(&mut self, side: Side) -> &mut Seen {
        match side {
            Side::Publisher => &mut self.publisher,
            Side::Subscriber => &mut self.subscriber,
        }
    }

    /// The connection on which media come.
    pub fn down(&self) -> &Seen {
        match self.client.down() {
            Side::Publisher => &self.publisher,
            Side::Subscriber => &self.subscriber,
        }
    }

    /// When [`Person::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        let sources = self.sources.iter().filter(|source| self.is_sending(source)).map(Source::next_timeout);
        let viewer = self.viewer.next_timeout().filter(|_| !self.remember);
        sources.chain([self.client.next_timeout()]).chain(viewer).min()
    }

    fn is_sending(&self, source: &Source) -> bool {
        source.on && self.client.is_accepted(source.track) && self.client.is_connected(Side::Publisher)
    }

    /// Time has passed: sends what is due, and asks for key frames.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.dead {
            return Ok(());
        }
        let sending: Vec<usize> =
            (0..self.sources.len()).filter(|nth| self.is_sending(&self.sources[*nth])).collect();
        for source in sending {
            self.sources[source].send(now, &mut self.client)?;
        }
        if !self.remember {
            for ssrc in self.viewer.poll_keyframes(now) {
                self.client.request_keyframe(now, ssrc);
            }
        }
        self.client.handle_timeout(now)
    }

    /// A signal message came.
    pub fn hear(&mut self, now: Instant, message: Response) -> Result<(), ClientError> {
        if let (Response::SubscribedQualityUpdate(update), true) = (&message, self.dynacast) {
            self.set_wanted(update);
        }
        self.heard.push(message.clone());
        self.client.handle_signal(now, message)
    }

    /// Records what happened, and gives cameras the key frames that are asked for.
    pub fn note(&mut self, now: Instant) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Packet(packet) => {
                    let down = self.client.down();
                    if self.remember {
                        self.seen(down).received.push(packet);
                    } else {
                        self.viewer.push(&packet);
                    }
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

    /// Cameras are made to fit into what the link from them carries.
    pub fn set_carried(&mut self, rate: Bitrate) {
        self.sources.iter_mut().for_each(|source| source.set_carried(rate));
    }

    /// The server says which layers of a camera anybody wants.
    fn set_wanted(&mut self, update: &proto::SubscribedQualityUpdate) {
        let wanted = update.subscribed_codecs.iter().flat_map(|codec| &codec.qualities);
        let layers =
            wanted.filter(|quality| quality.enabled).map(|quality| quality.quality as usize + 1).max();
        let client = &self.client;
        let meant = |source: &&mut Source| client.sid(source.track) == Some(update.track_sid.as_str());
        self.sources.iter_mut().filter(meant).for_each(|source| source.set_wanted(layers.unwrap_or(0)));
    }

    /// Publishes a camera of 150, 500 and 1,700 kbit/s whose key frames have three times the packets of other pictures.
    pub fn publish_hd(&mut self, now: Instant, epoch: Instant) -> usize {
        /// 30 pictures a second.
        const INTERVAL: Duration = Duration::from_nanos(33_333_333);
        let camera = Camera::new(now, &LayerShape::HD, INTERVAL).with_key_weight(3).with_epoch(epoch);
        let request = camera.request(proto::TrackSource::Camera);
        self.publish(now, request, camera.rids(), Device::Camera(camera))
    }

    /// Publishes a microphone of 32 kbit/s whose packets repeat what came before.
    pub fn publish_voice(&mut self, now: Instant, epoch: Instant) -> usize {
        let microphone = Microphone::new(now, 80).with_epoch(epoch).with_redundancy();
        self.publish(now, microphone.request(), &[], Device::Microphone(microphone))
    }

    /// Publishes slides: a new page of 40 kB every 8 s, little between.
    pub fn publish_slides(&mut self, now: Instant, epoch: Instant) -> usize {
        let slides = Slides::new(now, epoch);
        let request = slides.camera.request(proto::TrackSource::ScreenShare);
        self.publish(now, request, slides.camera.rids(), Device::Slides(slides))
    }

    /// Publishes a camera with three layers; returns its index among the sources.
    pub fn publish_camera(&mut self, now: Instant) -> usize {
        self.publish_video(now, proto::TrackSource::Camera, 3)
    }

    /// Publishes one stream of pictures.
    pub fn publish_screen(&mut self, now: Instant) -> usize {
        self.publish_video(now, proto::TrackSource::ScreenShare, 1)
    }

    fn publish_video(&mut self, now: Instant, source: proto::TrackSource, layers: usize) -> usize {
        let camera = Camera::new(now, &SHAPES[..layers], FRAME);
        self.publish(now, camera.request(source), camera.rids(), Device::Camera(camera))
    }

    /// Publishes a microphone.
    pub fn publish_microphone(&mut self, now: Instant) -> usize {
        let microphone = Microphone::new(now, 15);
        self.publish(now, microphone.request(), &[], Device::Microphone(microphone))
    }

    /// Publishes a camera whose only stream has layers inside.
    pub fn publish_layered(
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
    pub fn publish_layered_screen(&mut self, now: Instant, mode: Mode) -> usize {
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
    pub fn unpublish(&mut self, now: Instant, source: usize) {
        self.sources[source].on = false;
        self.client.unpublish(now, self.sources[source].track);
    }

    /// Sends a data packet with this text.
    pub fn write(&mut self, now: Instant, reliable: bool, text: &str, to: &[&str]) {
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
    pub fn texts(&self) -> &[(&'static str, String, String)] {
        &self.data
    }

    /// The track of this source, as the server calls it.
    pub fn sid(&self, source: usize) -> String {
        self.client.sid(self.sources[source].track).expect("it is published").to_owned()
    }
}

impl Links {
    /// Links without anything on them, whose chance depends on nothing but who it is.
    pub fn new(identity: &str, up: Conditions, down: Conditions) -> Self {
        let seed = seed_of(identity);
        Self { up: Link::new(up, seed), down: Link::new(down, !seed) }
    }
}

/// The chance of somebody's links, whoever else is there (FNV-1a).
fn seed_of(identity: &str) -> u64 {
    identity.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
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
    pub fn stream(&self, ssrc: u32) -> Vec<Received> {
        let mut packets: Vec<Received> = self.received.iter().filter(|p| p.ssrc == ssrc).cloned().collect();
        packets.sort_by_key(|packet| packet.sequence);
        packets
    }

    /// The only stream of pictures, or of sound, that came in.
    pub fn only(&self, kind: MediaKind) -> Vec<Received> {
        let fits = |p: &&Received| (Picture::parse(&p.payload).is_some()) == (kind == MediaKind::Video);
        let ssrcs: std::collections::BTreeSet<u32> =
            self.received.iter().filter(fits).map(|p| p.ssrc).collect();
        assert_eq!(ssrcs.len(), 1, "one stream");
        ssrcs.first().map(|ssrc| self.stream(*ssrc)).unwrap_or_default()
    }
}
