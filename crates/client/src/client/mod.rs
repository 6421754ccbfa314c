//! The participant.

mod event;
mod signals;

pub use event::{ClientError, Datagram, Event, Incoming, Settings, Side, user_payload};

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use rand::Rng;
use rand::RngExt as _;

use crate::camera::Camera;
use crate::connection::{Connection, Happening, Options};
use crate::counter::{Counter, Reception, Tally};
use crate::join::{Signalling, join_query};
use crate::track::{Packet, Stage, Track, TrackId};

/// Somebody in a room.
pub struct Client {
    settings: Settings,
    publisher: Connection,
    subscriber: Connection,
    /// Where the server was last heard, by side.
    remotes: [Option<SocketAddr>; 2],
    joined: bool,
    /// Others, by their sid.
    others: HashMap<String, proto::ParticipantInfo>,
    own_sid: String,
    tracks: Vec<Track>,
    wanted: Wanted,
    /// The first offer was made.
    has_channels: bool,
    /// Number of the last offer.
    offers: u32,
    start: Instant,
    ping: Option<(Duration, Instant)>,
    signals: VecDeque<Request>,
    events: VecDeque<Event>,
}

/// What is to be in the next offer besides tracks.
#[derive(Debug, Default)]
struct Wanted {
    offer: bool,
    audio_lines: u32,
    video_lines: u32,
    restart: bool,
}

impl Client {
    /// Somebody who is about to join. `rng` gives the SSRCs of feedback on what is only counted.
    pub fn new(now: Instant, settings: Settings, rng: &mut impl Rng) -> Self {
        let Settings { raw, estimate, robust_sound, .. } = settings;
        let options = Options { raw, estimate, robust_sound };
        let mut connection = |address: SocketAddr| {
            let more = settings.more.iter().map(|ip| SocketAddr::new(*ip, address.port()));
            let local = std::iter::once(address).chain(more).collect();
            Connection::new(now, local, settings.reception, rng.random(), &options)
        };
        let [publisher, subscriber] = settings.addresses.map(&mut connection);
        Self {
            publisher,
            subscriber,
            settings,
            remotes: [None; 2],
            joined: false,
            others: HashMap::new(),
            own_sid: String::new(),
            tracks: Vec::new(),
            wanted: Wanted::default(),
            has_channels: false,
            offers: 0,
            start: now,
            ping: None,
            signals: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Path and query of the signal connection, without the access token.
    pub fn join_query(&self) -> String {
        join_query(self.settings.signalling, &self.settings.connection)
    }

    /// The side on which media come.
    pub fn down(&self) -> Side {
        match self.settings.signalling {
            Signalling::TwoConnections => Side::Subscriber,
            Signalling::OneConnection => Side::Publisher,
        }
    }

    /// Whether a connection stands.
    pub fn is_connected(&self, side: Side) -> bool {
        self.connection(side).is_connected()
    }

    /// Whether the connection on which media come stands, with both data channels: others see the client from then on.
    pub fn is_active(&self) -> bool {
        let down = self.connection(self.down());
        down.is_connected() && down.channels.len() >= 2
    }

    /// How media that come are encrypted, once the connection stands: `AEAD_AES_256_GCM`, …
    pub fn srtp_profile(&self) -> Option<&'static str> {
        self.connection(self.down()).srtp_profile
    }

    /// Open data channels of a connection.
    pub fn channels(&self, side: Side) -> usize {
        self.connection(side).channels.len()
    }

    /// The others, by their sid, with what they publish.
    pub fn others(&self) -> &HashMap<String, proto::ParticipantInfo> {
        &self.others
    }

    /// What the server calls this client: `PA_…`; empty before it has joined.
    pub fn own_sid(&self) -> &str {
        &self.own_sid
    }

    /// What the server calls the track of a stream that comes, where descriptions name its SSRC.
    pub fn track_of(&self, ssrc: u32) -> Option<&str> {
        self.connection(self.down()).tracks.get(&ssrc).map(String::as_str)
    }

    /// What was counted; nothing where everything is taken whole.
    pub fn tally(&self) -> Tally {
        let counter = self.connection(self.down()).counter();
        counter.map(|counter| counter.tally.clone()).unwrap_or_default()
    }

    /// What the server calls a track of this client.
    pub fn sid(&self, track: TrackId) -> Option<&str> {
        self.tracks.get(track.0)?.sid.as_deref()
    }

    /// What the client itself calls it.
    pub fn cid(&self, track: TrackId) -> Option<&str> {
        self.tracks.get(track.0).map(|track| track.request.cid.as_str())
    }

    /// Whether packets of a track may be sent.
    pub fn is_accepted(&self, track: TrackId) -> bool {
        self.tracks.get(track.0).is_some_and(|track| matches!(track.stage, Stage::Accepted(_)))
    }

    /// Publishes a track as `request` says; its `cid` is chosen here. `rids` are the simulcast layers, lowest first;
    /// none for a single stream.
    pub fn publish(&mut self, now: Instant, request: proto::AddTrackRequest, rids: &[&str]) -> TrackId {
        let id = TrackId(self.tracks.len());
        let request = proto::AddTrackRequest { cid: format!("track-{}", id.0 + 1), ..request };
        self.tracks.push(Track {
            request,
            rids: rids.iter().map(|rid| (*rid).into()).collect(),
            stage: Stage::New,
            sid: None,
        });
        self.wanted.offer = true;
        self.negotiate(now);
        id
    }

    /// Takes a track away, as livekit-client does: its m-line goes inactive.
    pub fn unpublish(&mut self, now: Instant, track: TrackId) {
        let Some(track) = self.tracks.get_mut(track.0) else { return };
        track.stage = match track.stage {
            Stage::Offered(mid) | Stage::Accepted(mid) => Stage::Ending(mid),
            Stage::New | Stage::Ended => Stage::Ended,
            Stage::Ending(mid) => Stage::Ending(mid),
        };
        self.wanted.offer = true;
        self.negotiate(now);
    }

    /// Sends a packet of a layer of a track. `false` if nothing may be sent on it yet, or any more.
    pub fn send(
        &mut self,
        now: Instant,
        track: TrackId,
        layer: usize,
        packet: Packet,
    ) -> Result<bool, ClientError> {
        let place = self.tracks.get(track.0).and_then(|track| track.layer(layer));
        let Some((mid, rid)) = place else { return Ok(false) };
        self.publisher.write(now, mid, rid, packet);
        self.settle(now, Side::Publisher)?;
        Ok(true)
    }

    /// Publishes a camera.
    pub fn publish_camera(&mut self, now: Instant, camera: &Camera) -> TrackId {
        self.publish(now, camera.request(proto::TrackSource::Camera), camera.rids())
    }

    /// Sends a message to everybody. `false` if the channel is not open, or full.
    pub fn send_user_data(
        &mut self,
        now: Instant,
        reliable: bool,
        payload: Vec<u8>,
    ) -> Result<bool, ClientError> {
        let value = proto::data_packet::Value::User(proto::UserPacket { payload, ..Default::default() });
        self.send_data(now, reliable, &proto::DataPacket { value: Some(value), ..Default::default() })
    }

    /// Sends a data packet. `false` if its channel is not open, or full.
    pub fn send_data(
        &mut self,
        now: Instant,
        reliable: bool,
        packet: &proto::DataPacket,
    ) -> Result<bool, ClientError> {
        let label = if reliable { "_reliable" } else { "_lossy" };
        let taken = self.publisher.write_data(label, &prost::Message::encode_to_vec(packet));
        self.settle(now, Side::Publisher)?;
        Ok(taken)
    }

    /// Opens the connection on which data leave, which else comes up with the first track.
    pub fn open_channels(&mut self, now: Instant) {
        self.wanted.offer = true;
        self.negotiate(now);
    }

    /// Asks for a key frame of a stream that comes.
    pub fn request_keyframe(&mut self, now: Instant, ssrc: u32) {
        let side = self.down();
        let remote = self.remotes[side as usize];
        self.connection_mut(side).request_keyframe(now, remote, ssrc);
    }

    /// Begins an ICE restart of the connection that the client offers, as after a resume.
    pub fn restart_ice(&mut self, now: Instant) {
        self.wanted.restart = true;
        self.wanted.offer = true;
        self.negotiate(now);
    }

    /// Says something else to the server.
    pub fn say(&mut self, request: Request) {
        self.signals.push_back(request);
    }

    /// Leaves the room.
    pub fn leave(&mut self, now: Instant) {
        self.signals.push_back(Request::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated as i32,
            ..Default::default()
        }));
        self.publisher.close();
        self.subscriber.close();
        // Nothing can go wrong any more that anybody would want to know.
        for side in [Side::Publisher, Side::Subscriber] {
            let _ = self.settle(now, side);
        }
    }

    /// A datagram came in.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        side: Side,
        incoming: &Incoming<'_>,
    ) -> Result<(), ClientError> {
        let is_media = matches!(incoming.bytes, [128..=191, kind, ..] if !(192..=223).contains(kind));
        let is_counted = self.settings.reception != Reception::Whole && is_media;
        // str0m's time must not go back.
        let at = if is_counted { incoming.received } else { now };
        self.remotes[side as usize] = Some(incoming.remote);
        self.connection_mut(side).handle(at, incoming.remote, incoming.bytes)?;
        if is_counted {
            self.collect(side);
            return Ok(());
        }
        self.settle(now, side)
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Instant {
        let counter = self.connection(self.down()).counter().and_then(Counter::next_timeout);
        let ping = self.ping.map(|(_, at)| at);
        let others = counter.into_iter().chain(ping);
        others.fold(self.publisher.deadline.min(self.subscriber.deadline), Instant::min)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        for side in [Side::Publisher, Side::Subscriber] {
            if self.connection(side).deadline <= now {
                self.settle(now, side)?;
            }
        }
        let side = self.down();
        let due = self.connection(side).counter().and_then(Counter::next_timeout);
        if let (Some(remote), true) = (self.remotes[side as usize], due.is_some_and(|at| at <= now)) {
            self.connection_mut(side).report(now, remote);
        }
        if let Some((interval, at)) = &mut self.ping
            && *at <= now
        {
            *at = now + *interval;
            // Any clock will do: the server gives it back.
            let timestamp = now.saturating_duration_since(self.start).as_millis() as i64 + 1;
            self.signals.push_back(Request::PingReq(proto::Ping { timestamp, rtt: 0 }));
        }
        Ok(())
    }

    /// The next message to the server.
    pub fn poll_signal(&mut self) -> Option<Request> {
        self.signals.pop_front()
    }

    /// The next datagram to be sent.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        [Side::Publisher, Side::Subscriber].into_iter().find_map(|side| {
            let (remote, bytes) = self.connection_mut(side).out.pop_front()?;
            Some(Datagram { side, remote, bytes })
        })
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn connection(&self, side: Side) -> &Connection {
        match side {
            Side::Publisher => &self.publisher,
            Side::Subscriber => &self.subscriber,
        }
    }

    fn connection_mut(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Publisher => &mut self.publisher,
            Side::Subscriber => &mut self.subscriber,
        }
    }

    /// Takes what a connection has to say.
    fn settle(&mut self, now: Instant, side: Side) -> Result<(), ClientError> {
        self.connection_mut(side).drain(now)?;
        self.collect(side);
        Ok(())
    }

    fn collect(&mut self, side: Side) {
        while let Some(happened) = self.connection_mut(side).happened.pop_front() {
            let event = match happened {
                Happening::Connected => Event::Connected(side),
                Happening::Closed => Event::Disconnected(side),
                Happening::Packet(packet) => Event::Packet(packet),
                Happening::ChannelOpen(label) => Event::ChannelOpen(side, label),
                Happening::Estimate(rate) => Event::Estimate(rate),
                Happening::Raw(raw) => Event::Raw(side, raw),
                Happening::KeyframeWanted { mid, rid } => {
                    let found = self.tracks.iter().position(|track| match track.stage {
                        Stage::Accepted(own) => own == mid,
                        _ => false,
                    });
                    let Some(index) = found else { continue };
                    Event::KeyframeWanted { track: TrackId(index), layer: self.tracks[index].place(rid) }
                }
                Happening::Data { label, bytes } => {
                    let Ok(packet) = prost::Message::decode(bytes.as_slice()) else { continue };
                    Event::Data { reliable: label == "_reliable", packet: Box::new(packet) }
                }
            };
            self.events.push_back(event);
        }
    }
}
