//! Rooms in virtual time, with clients that only speak signalling.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto::participant_info::State;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::ids::{IceCredentials, NodeId};
use crate::sdp::{DownLine, Sending};
use crate::shard::{EventKind, Failure, Side};
use crate::signalling::authorize;
use crate::token::{Claims, VideoGrant};

/// A room and everything that it has said.
struct Sim {
    room: Room,
    now: Instant,
    unix_ms: u64,
    rng: StdRng,
    peers: u64,
    said: Vec<Effect>,
}

impl Sim {
    fn new() -> Self {
        Self::with_codecs(&Codec::DEFAULT)
    }

    fn with_codecs(codecs: &[Codec]) -> Self {
        Self::with(codecs, RoomDefaults::default())
    }

    fn with_defaults(rooms: RoomDefaults) -> Self {
        Self::with(&Codec::DEFAULT, rooms)
    }

    fn with(codecs: &[Codec], rooms: RoomDefaults) -> Self {
        let mut rng = StdRng::seed_from_u64(5);
        let udp = vec![([127, 0, 0, 1], 7882).into()];
        let endpoint = LocalEndpoint { fingerprint: "AB:CD".into(), udp, tcp: Vec::new() };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let facts = ServerFacts {
            limits: Limits { participants: 5, ..Limits::default() },
            codecs: codecs.to_vec(),
            rooms,
            ..ServerFacts::new("ND_test", endpoint, keys)
        };
        let now = Instant::now();
        let mut moment = Moment { now, unix_ms: 1_000_000, rng: &mut rng };
        let name = RoomName::new("r").expect("a good name");
        let (room, said) = Room::new(&mut moment, RoomId(1), name, &RoomOptions::default(), Arc::new(facts));
        Self { room, now, unix_ms: 1_000_000, rng, peers: 0, said }
    }

    fn step(&mut self, command: Command) {
        let mut moment = Moment { now: self.now, unix_ms: self.unix_ms, rng: &mut self.rng };
        self.said.extend(self.room.step(&mut moment, command));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.room.next_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.step(Command::Timeout);
        }
        self.now = end;
        self.unix_ms += time.as_millis() as u64;
    }

    fn join_as(&mut self, identity: &str, grant: VideoGrant, query: &[(&str, &str)]) -> PeerHandle {
        self.peers += 1;
        let peer = PeerHandle { node: NodeId(0), shard: ShardId(0), key: self.peers };
        let video = VideoGrant { room_join: true, room: "r".into(), ..grant };
        let claims =
            Claims { sub: identity.into(), exp: Some(9_999_999), video: Some(video), ..Claims::default() };
        let mut query: BTreeMap<_, _> =
            query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        query.entry("protocol".into()).or_insert_with(|| "17".into());
        let params = Box::new(authorize(&claims, &query).expect("may join"));
        self.step(Command::Join { params, peer });
        peer
    }

    /// Joins and connects.
    fn join(&mut self, identity: &str) -> PeerHandle {
        let peer = self.join_as(identity, VideoGrant::default(), &[]);
        self.answer(peer);
        self.event(peer, EventKind::Connected(Side::Subscriber));
        self.event(peer, EventKind::ChannelsOpen);
        peer
    }

    fn event(&mut self, peer: PeerHandle, kind: EventKind) {
        self.step(Command::Media(shard::Event { room: RoomId(1), peer, kind }));
    }

    fn signal(&mut self, peer: PeerHandle, request: Request) {
        self.step(Command::Signal { peer, request: Box::new(request) });
    }

    /// Everything said since the last look.
    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.said)
    }

    /// Signal messages to a peer since the last look; the rest is forgotten.
    fn heard(&mut self, peer: PeerHandle) -> Vec<Response> {
        let to = |effect| match effect {
            Effect::Signal { to, message } if to.contains(&peer) => Some(*message),
            _ => None,
        };
        self.take().into_iter().filter_map(to).collect()
    }

    /// Answers the last offer that the peer got, if it waits for an answer.
    fn answer(&mut self, peer: PeerHandle) {
        self.answer_with(peer, |sdp| sdp);
    }

    /// The same with a description that was changed.
    fn answer_with(&mut self, peer: PeerHandle, change: impl FnOnce(String) -> String) {
        let offer = self.said.iter().rev().find_map(|effect| match effect {
            Effect::Signal { to, message } if to.contains(&peer) => match &**message {
                Response::Offer(offer) => Some(offer.clone()),
                _ => None,
            },
            _ => None,
        });
        let Some(offer) = offer else { return };
        let sdp = offer
            .sdp
            .replace("a=setup:actpass", "a=setup:active")
            .replace("a=sendonly", "a=recvonly")
            .replace("a=ice-ufrag:00", &format!("a=ice-ufrag:c{}", peer.key));
        let sdp = change(sdp);
        let answer =
            proto::SessionDescription { r#type: "answer".into(), sdp, id: offer.id, ..Default::default() };
        self.signal(peer, Request::Answer(answer));
    }

    fn add_track(&mut self, peer: PeerHandle, cid: &str, source: proto::TrackSource) {
        let video = matches!(source, proto::TrackSource::Camera | proto::TrackSource::ScreenShare);
        let request = proto::AddTrackRequest {
            cid: cid.into(),
            r#type: i32::from(video),
            source: source as i32,
            layers: if video { layers() } else { Vec::new() },
            ..Default::default()
        };
        self.signal(peer, Request::AddTrack(request));
    }

    fn offer(&mut self, peer: PeerHandle, lines: &[(&str, MediaKind, Option<&str>)]) {
        let sdp = publisher_offer(peer, lines);
        let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id: 3, ..Default::default() };
        self.signal(peer, Request::Offer(offer));
    }

    /// Publishes a camera and returns its name.
    fn publish(&mut self, peer: PeerHandle, source: proto::TrackSource) -> String {
        self.add_track(peer, "cid", source);
        let kind = if source == proto::TrackSource::Camera { MediaKind::Video } else { MediaKind::Audio };
        self.offer(peer, &[("0", kind, Some("cid"))]);
        let identity = &self.room.by_peer[&peer];
        self.room.participants[identity].tracks.keys().next().expect("it was published").clone()
    }
}

use crate::sdp::MediaKind;

fn layers() -> Vec<proto::VideoLayer> {
    [(0, 160, 90), (1, 320, 180), (2, 640, 360)]
        .map(|(quality, width, height)| proto::VideoLayer { quality, width, height, ..Default::default() })
        .to_vec()
}

/// An offer of a client: written like ours to subscribers, with layers added.
fn publisher_offer(peer: PeerHandle, lines: &[(&str, MediaKind, Option<&str>)]) -> String {
    let credentials =
        IceCredentials { ufrag: format!("client{}", peer.key), pwd: "0123456789abcdefghijkl".into() };
    let endpoint = LocalEndpoint { fingerprint: "12:34".into(), udp: Vec::new(), tcp: Vec::new() };
    let lines: Vec<DownLine> = lines
        .iter()
        .map(|(mid, kind, track)| DownLine {
            mid: format!("m{mid}"),
            kind: *kind,
            codecs: match kind {
                MediaKind::Audio => vec![Codec::Red, Codec::Opus],
                MediaKind::Video => vec![Codec::Vp8, Codec::H264],
            },
            sending: track.map(|track| Sending {
                stream_id: "stream".into(),
                track_id: track.into(),
                ssrc: 77,
                rtx_ssrc: None,
                stereo: false,
            }),
            playout_delay: false,
        })
        .collect();
    let sdp = sdp::write_offer(&credentials, &endpoint, 1, 1, &lines);
    let layers = "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n";
    sdp.replace("a=rtpmap:125", &format!("{layers}a=rtpmap:125"))
}

use crate::sdp;

fn updates(messages: &[Response]) -> Vec<proto::ParticipantInfo> {
    let info = |message: &Response| match message {
        Response::Update(update) => update.participants.clone(),
        _ => Vec::new(),
    };
    messages.iter().flat_map(info).collect()
}

fn has_offer(messages: &[Response]) -> bool {
    messages.iter().any(|message| matches!(message, Response::Offer(_)))
}

fn leaves(messages: &[Response]) -> Option<(DisconnectReason, proto::leave_request::Action)> {
    messages.iter().find_map(|message| match message {
        Response::Leave(leave) => Some((leave.reason(), leave.action())),
        _ => None,
    })
}

fn webhooks(effects: &[Effect]) -> Vec<&str> {
    fn event(effect: &Effect) -> Option<&str> {
        if let Effect::Webhook(webhook) = effect { Some(&webhook.event) } else { None }
    }
    effects.iter().filter_map(event).collect()
}

fn commands(effects: &[Effect]) -> Vec<&shard::Command> {
    fn command(effect: &Effect) -> Option<&shard::Command> {
        if let Effect::Shard { command, .. } = effect { Some(command) } else { None }
    }
    effects.iter().filter_map(command).collect()
}

#[test]
fn the_first_message_is_a_complete_join() {
    let mut sim = Sim::new();
    sim.join("bob");
    sim.take();
    let alice = sim.join_as("alice", VideoGrant::default(), &[]);
    let heard = sim.heard(alice);
    let Response::Join(join) = &heard[0] else { panic!("{heard:?}") };
    let room = join.room.as_ref().expect("filled");
    assert!(room.sid.starts_with("RM_") && room.name == "r");
    let own = join.participant.as_ref().expect("filled");
    assert!(own.sid.starts_with("PA_") && own.version >= 1 && own.permission.is_some());
    assert_eq!(join.other_participants.len(), 1);
    assert!(join.ping_interval > 0 && join.ping_timeout > 0, "zero breaks clients");
    assert!(!join.server_info.as_ref().expect("filled").version.is_empty());
    assert!(join.subscriber_primary && join.sif_trailer.len() == 16);
    assert!(matches!(heard[1], Response::RefreshToken(_)));
    assert!(has_offer(&heard), "the first offer has data channels even without tracks");
}

#[test]
fn a_track_is_announced_before_it_is_offered_and_sent_after_it_was_accepted() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    let track = sim.publish(alice, proto::TrackSource::Camera);
    let to_bob: Vec<&Response> = sim
        .said
        .iter()
        .filter_map(|effect| match effect {
            Effect::Signal { to, message } if to.contains(&bob) => Some(&**message),
            _ => None,
        })
        .collect();
    let announced = to_bob.iter().position(|m| matches!(m, Response::Update(_))).expect("announced");
    let offered = to_bob.iter().position(|m| matches!(m, Response::Offer(_))).expect("offered");
    assert!(announced < offered);
    assert!(commands(&sim.said).iter().any(|c| matches!(c, shard::Command::AddSource { .. })));
    assert!(!commands(&sim.said).iter().any(|c| matches!(c, shard::Command::AddDown { .. })));
    assert!(webhooks(&sim.said).contains(&"track_published"));
    sim.answer(bob);
    let effects = sim.take();
    let config = commands(&effects)
        .into_iter()
        .find_map(|command| match command {
            shard::Command::AddDown { peer, config } if *peer == bob => Some(config.clone()),
            _ => None,
        })
        .expect("sent after the answer");
    assert_eq!((config.wanted.max_layer, config.payload_types.as_slice()), (2, &[(Codec::Vp8, 96)][..]));
    assert_eq!(config.rtx.map(|(_, payload_type)| payload_type), Some(97));
    let told = |message: &Response| matches!(message, Response::TrackSubscribed(t) if t.track_sid == track);
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::Signal { to, message } if to.contains(&alice) && told(message)))
    );
}

#[test]
fn an_offer_may_come_before_its_announcement() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.offer(alice, &[("0", MediaKind::Video, Some("cam")), ("1", MediaKind::Audio, Some("mic"))]);
    assert!(sim.heard(alice).iter().any(|m| matches!(m, Response::Answer(a) if a.id == 3)));
    sim.add_track(alice, "mic", proto::TrackSource::Microphone);
    sim.add_track(alice, "cam", proto::TrackSource::Camera);
    let tracks = updates(&sim.heard(alice)).pop().expect("told about itself").tracks;
    let mids: Vec<_> = tracks.iter().map(|t| (t.source, t.mid.as_str(), t.mime_type.as_str())).collect();
    assert!(mids.contains(&(1, "m0", "video/VP8")) && mids.contains(&(2, "m1", "audio/red")), "{mids:?}");
    let layers = &tracks.iter().find(|t| t.source == 1).expect("the camera").codecs[0].layers;
    assert_eq!(layers.iter().map(|l| l.rid.as_str()).collect::<Vec<_>>(), ["q", "h", "f"]);
}

#[test]
fn an_inactive_line_ends_its_track() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    sim.take();
    sim.offer(alice, &[("0", MediaKind::Video, None)]);
    sim.answer(bob);
    let effects = sim.take();
    assert!(webhooks(&effects).contains(&"track_unpublished"));
    assert!(commands(&effects).iter().any(|c| matches!(c, shard::Command::RemoveSource { .. })));
    assert!(commands(&effects).iter().any(|c| matches!(c, shard::Command::RemoveDown { .. })));
    // Published again on the same line: bob's line is used again.
    sim.add_track(alice, "again", proto::TrackSource::Camera);
    sim.offer(alice, &[("0", MediaKind::Video, Some("again"))]);
    let offer = sim
        .heard(bob)
        .into_iter()
        .find_map(|m| if let Response::Offer(offer) = m { Some(offer) } else { None })
        .expect("offered");
    assert_eq!(offer.sdp.matches("m=video").count(), 1, "{}", offer.sdp);
}

#[test]
fn only_one_offer_is_under_way() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    sim.add_track(alice, "cam", proto::TrackSource::Camera);
    sim.add_track(alice, "mic", proto::TrackSource::Microphone);
    sim.offer(alice, &[("0", MediaKind::Video, Some("cam"))]);
    sim.offer(alice, &[("0", MediaKind::Video, Some("cam")), ("1", MediaKind::Audio, Some("mic"))]);
    let offers = |effects: &[Effect]| {
        let to_bob = |e: &&Effect| matches!(e, Effect::Signal { to, message } if to.contains(&bob) && matches!(**message, Response::Offer(_)));
        effects.iter().filter(to_bob).count()
    };
    assert_eq!(offers(&sim.said), 1);
    sim.answer(bob);
    assert_eq!(offers(&sim.said), 2, "what changed meanwhile follows");
    sim.take();
    sim.pass(Duration::from_secs(16));
    let heard = sim.heard(bob);
    assert_eq!(leaves(&heard).map(|(_, action)| action), Some(proto::leave_request::Action::Reconnect));
}

#[test]
fn rights_taken_away_end_what_they_allowed() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    let track = sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    sim.take();
    let permission = proto::ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_sources: vec![proto::TrackSource::Microphone as i32],
        ..Default::default()
    };
    let request = proto::UpdateParticipantRequest {
        room: "r".into(),
        identity: "alice".into(),
        permission: Some(permission.clone()),
        ..Default::default()
    };
    sim.step(Command::Api { id: 1, call: ApiCall::UpdateParticipant(Box::new(request.clone())) });
    sim.answer(bob);
    let heard = sim.heard(alice);
    assert!(heard.iter().any(|m| matches!(m, Response::TrackUnpublished(t) if t.track_sid == track)));
    assert!(heard.iter().any(|m| matches!(m, Response::RefreshToken(_))));
    // Not the camera, but the microphone.
    sim.add_track(alice, "cam2", proto::TrackSource::Camera);
    sim.add_track(alice, "mic", proto::TrackSource::Microphone);
    let heard = sim.heard(alice);
    let refused = |m: &Response| matches!(m, Response::RequestResponse(r) if r.reason() == proto::request_response::Reason::NotAllowed);
    assert_eq!(heard.iter().filter(|m| refused(m)).count(), 1);
    assert_eq!(heard.iter().filter(|m| matches!(m, Response::TrackPublished(_))).count(), 1);
    // No data either.
    sim.data(alice, b"x");
    assert!(commands(&sim.take()).is_empty());
    // And bob loses the right to listen.
    sim.offer(alice, &[("0", MediaKind::Audio, Some("mic"))]);
    sim.answer(bob);
    sim.take();
    let deaf = proto::ParticipantPermission { can_subscribe: false, ..permission };
    let request =
        proto::UpdateParticipantRequest { identity: "bob".into(), permission: Some(deaf), ..request };
    sim.step(Command::Api { id: 2, call: ApiCall::UpdateParticipant(Box::new(request)) });
    assert!(commands(&sim.take()).iter().any(|c| matches!(c, shard::Command::RemoveDown { .. })));
}

impl Sim {
    fn data(&mut self, peer: PeerHandle, payload: &[u8]) {
        use prost::Message as _;
        let packet = proto::DataPacket {
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: payload.to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        };
        self.event(peer, EventKind::Data { reliable: true, payload: packet.encode_to_vec() });
    }
}

#[test]
fn data_goes_to_all_others_once() {
    let mut sim = Sim::new();
    let (alice, bob, carol) = (sim.join("alice"), sim.join("bob"), sim.join("carol"));
    sim.take();
    sim.data(alice, b"hi");
    let effects = sim.take();
    let [shard::Command::SendData { peers, reliable: true, payload }] = &commands(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(peers, &[bob, carol]);
    let packet = <proto::DataPacket as prost::Message>::decode(&**payload).expect("well-formed");
    assert_eq!(packet.participant_identity, "alice");
}

#[test]
fn the_same_identity_again_replaces_the_first() {
    let mut sim = Sim::new();
    let (first, bob) = (sim.join("alice"), sim.join("bob"));
    sim.pass(Duration::from_millis(200));
    sim.take();
    let second = sim.join_as("alice", VideoGrant::default(), &[]);
    sim.pass(Duration::from_millis(200));
    let effects = sim.take();
    let to = |peer| {
        let message = move |e: &Effect| match e {
            Effect::Signal { to, message } if to.contains(&peer) => Some((**message).clone()),
            _ => None,
        };
        effects.iter().filter_map(message).collect::<Vec<_>>()
    };
    assert_eq!(
        leaves(&to(first)),
        Some((DisconnectReason::DuplicateIdentity, proto::leave_request::Action::Disconnect))
    );
    assert!(effects.iter().any(|e| matches!(e, Effect::CloseSignal { peer } if *peer == first)));
    let states: Vec<_> = updates(&to(bob)).iter().map(|info| (info.sid.clone(), info.state())).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0].1, State::Disconnected);
    assert_eq!(states[1].1, State::Joined);
    assert_ne!(states[0].0, states[1].0);
    assert!(matches!(to(second)[0], Response::Join(_)));
    // Late news of the first connection does not touch the second.
    sim.event(first, EventKind::Failed(Failure::Closed));
    sim.step(Command::SignalClosed { peer: first });
    assert_eq!(sim.room.participants.len(), 2);
}

#[test]
fn whoever_is_lost_goes() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    sim.step(Command::SignalClosed { peer: alice });
    sim.pass(Duration::from_secs(59));
    assert_eq!(sim.room.participants.len(), 2);
    sim.pass(Duration::from_secs(2));
    let left = updates(&sim.heard(bob)).pop().expect("told");
    assert_eq!((left.identity.as_str(), left.state()), ("alice", State::Disconnected));
    // Somebody who never connects.
    sim.join_as("carol", VideoGrant::default(), &[]);
    sim.answer(PeerHandle { node: NodeId(0), shard: ShardId(0), key: 3 });
    sim.pass(Duration::from_secs(31));
    assert_eq!(sim.room.participants.len(), 1);
    // And somebody whose network is gone.
    sim.take();
    sim.event(bob, EventKind::Failed(Failure::Unreachable));
    assert_eq!(leaves(&sim.heard(bob)).map(|(_, a)| a), Some(proto::leave_request::Action::Reconnect));
    sim.pass(Duration::from_secs(21));
    let effects = sim.take();
    assert!(effects.iter().any(|e| matches!(e, Effect::Closed)));
    assert_eq!(webhooks(&effects), ["room_finished"]);
}

#[test]
fn webhooks_come_in_order() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.publish(alice, proto::TrackSource::Camera);
    sim.signal(alice, Request::Leave(proto::LeaveRequest::default()));
    let effects = sim.take();
    assert_eq!(
        webhooks(&effects),
        ["room_started", "participant_joined", "track_published", "track_unpublished", "participant_left"]
    );
}

#[test]
fn hidden_participants_are_not_seen() {
    let mut sim = Sim::new();
    let bob = sim.join("bob");
    sim.take();
    let ghost = sim.join_as("ghost", VideoGrant { hidden: true, ..Default::default() }, &[]);
    sim.answer(ghost);
    sim.event(ghost, EventKind::ChannelsOpen);
    sim.publish(ghost, proto::TrackSource::Camera);
    let heard = sim.heard(bob);
    assert!(updates(&heard).is_empty() && !has_offer(&heard), "{heard:?}");
    let carol = sim.join_as("carol", VideoGrant::default(), &[]);
    let heard = sim.heard(carol);
    let Response::Join(join) = &heard[0] else { panic!("{heard:?}") };
    let seen: Vec<_> = join.other_participants.iter().map(|p| p.identity.as_str()).collect();
    assert_eq!(seen, ["bob"]);
}

#[test]
fn explicit_subscriptions_and_layers_are_honoured() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let bob = sim.join_as("bob", VideoGrant::default(), &[("auto_subscribe", "0"), ("adaptive_stream", "1")]);
    sim.answer(bob);
    sim.event(bob, EventKind::ChannelsOpen);
    sim.take();
    let track = sim.publish(alice, proto::TrackSource::Camera);
    assert!(!has_offer(&sim.heard(bob)));
    let subscribe = |subscribe| {
        Request::Subscription(proto::UpdateSubscription {
            track_sids: vec![track.clone()],
            subscribe,
            ..Default::default()
        })
    };
    sim.signal(bob, subscribe(true));
    sim.answer(bob);
    let effects = sim.take();
    let max = |effects: &[Effect]| {
        commands(effects).into_iter().find_map(|command| match command {
            shard::Command::AddDown { config, .. } => Some((config.wanted.max_layer, config.wanted.disabled)),
            shard::Command::SetDown { wanted, .. } => Some((wanted.max_layer, wanted.disabled)),
            _ => None,
        })
    };
    assert_eq!(max(&effects), Some((0, false)), "adaptive clients begin small");
    let mut set = |quality: proto::VideoQuality, width, height, disabled| {
        let settings = proto::UpdateTrackSettings {
            track_sids: vec![track.clone()],
            quality: quality as i32,
            width,
            height,
            disabled,
            ..Default::default()
        };
        sim.signal(bob, Request::TrackSetting(settings));
        max(&sim.take())
    };
    use proto::VideoQuality::{High, Low, Off};
    assert_eq!(set(High, 0, 0, false), Some((2, false)));
    assert_eq!(set(High, 300, 170, false), Some((1, false)), "320×180 covers it");
    assert_eq!(set(High, 390, 220, false), Some((1, false)), "within the tolerance");
    assert_eq!(set(Low, 500, 300, false), Some((2, false)), "sizes come before qualities");
    assert_eq!(set(Low, 0, 0, true), Some((0, true)));
    assert_eq!(set(Off, 0, 0, false), Some((0, true)));
    sim.signal(bob, subscribe(false));
    assert!(commands(&sim.take()).iter().any(|c| matches!(c, shard::Command::RemoveDown { .. })));
}

#[test]
fn publishers_choose_their_audience() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    let track = sim.publish(alice, proto::TrackSource::Microphone);
    sim.answer(bob);
    sim.take();
    let nobody = proto::SubscriptionPermission::default();
    sim.signal(alice, Request::SubscriptionPermission(nobody));
    let heard = sim.heard(bob);
    let told = |m: &Response, allowed| matches!(m, Response::SubscriptionPermissionUpdate(u) if u.track_sid == track && u.allowed == allowed);
    assert!(heard.iter().any(|m| told(m, false)));
    assert!(!sim.room.participants[&Identity::new("bob").expect("good")].receives(&track));
    sim.answer(bob);
    let bob_only = proto::SubscriptionPermission {
        track_permissions: vec![proto::TrackPermission {
            participant_identity: "bob".into(),
            all_tracks: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    sim.signal(alice, Request::SubscriptionPermission(bob_only));
    assert!(sim.heard(bob).iter().any(|m| told(m, true)));
    assert!(sim.room.participants[&Identity::new("bob").expect("good")].receives(&track));
}

#[test]
fn a_full_room_lets_nobody_in() {
    let mut sim = Sim::new();
    for name in ["a", "b", "c", "d", "e"] {
        sim.join(name);
    }
    let late = sim.join_as("f", VideoGrant::default(), &[]);
    let heard = sim.heard(late);
    assert_eq!(leaves(&heard).map(|(reason, _)| reason), Some(DisconnectReason::JoinFailure));
    // But somebody who is in may come again.
    let again = sim.join_as("a", VideoGrant::default(), &[]);
    assert!(matches!(sim.heard(again)[0], Response::Join(_)));
}

#[test]
fn speakers_are_told_to_those_who_listen() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Microphone);
    let source = *sim.room.by_source.keys().next().expect("published");
    sim.take();
    sim.event(alice, EventKind::Levels(vec![(source, 0.5)]));
    let heard = sim.heard(bob);
    let level = |heard: &[Response]| {
        heard.iter().find_map(|m| match m {
            Response::SpeakersChanged(changed) => changed.speakers.first().map(|s| (s.level, s.active)),
            _ => None,
        })
    };
    assert_eq!(level(&heard), Some((0.5, true)));
    let sid = sim.room.by_source[&source].1.clone();
    sim.signal(alice, Request::Mute(proto::MuteTrackRequest { sid, muted: true }));
    assert_eq!(level(&sim.heard(bob)), Some((0.0, false)), "muted is silent at once");
}

#[test]
fn a_go_client_gets_its_first_answer_when_it_can_take_it() {
    for (sdk, after) in [("go", 50), ("js", 0)] {
        let mut sim = Sim::new();
        let alice = sim.join_as("alice", VideoGrant::default(), &[("sdk", sdk)]);
        sim.take();
        sim.offer(alice, &[("0", MediaKind::Video, None)]);
        let answers = |sim: &mut Sim| {
            sim.heard(alice).iter().filter(|message| matches!(message, Response::Answer(_))).count()
        };
        let at_once = answers(&mut sim);
        sim.pass(Duration::from_millis(after));
        assert_eq!((at_once, at_once + answers(&mut sim)), (usize::from(after == 0), 1), "{sdk}");
        sim.offer(alice, &[("0", MediaKind::Video, None)]);
        assert_eq!(answers(&mut sim), 1, "later ones at once");
    }
}

#[test]
fn bad_descriptions_end_only_their_own_session() {
    let mut sim = Sim::new();
    let (alice, _bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    let sdp = "v=0\r\nm=nonsense".to_owned();
    sim.signal(alice, Request::Offer(proto::SessionDescription { sdp, id: 1, ..Default::default() }));
    assert!(leaves(&sim.heard(alice)).is_some());
    assert_eq!(sim.room.participants.len(), 1);
}

#[test]
fn tokens_are_refreshed_and_carry_what_holds() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    sim.pass(Duration::from_secs(301));
    let token = sim
        .heard(alice)
        .into_iter()
        .find_map(|m| if let Response::RefreshToken(token) = m { Some(token) } else { None })
        .expect("refreshed");
    let claims = crate::token::verify(&token, &sim.room.facts.keys, sim.unix_ms / 1000).expect("valid");
    assert_eq!(claims.sub, "alice");
    let video = claims.video.expect("rights");
    assert!(video.room_join && video.room == "r" && !video.room_admin && !video.room_create);
}

#[test]
fn a_second_share_on_another_line_arrives() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    // The share ends; clients announce the next one before the offer that has a line for it.
    sim.offer(alice, &[("0", MediaKind::Video, None)]);
    sim.answer(bob);
    sim.add_track(alice, "again", proto::TrackSource::Camera);
    assert!(sim.room.participants[&Identity::new("alice").expect("good")].tracks.is_empty());
    sim.offer(alice, &[("0", MediaKind::Video, None), ("1", MediaKind::Video, Some("again"))]);
    let tracks = &sim.room.participants[&Identity::new("alice").expect("good")].tracks;
    assert_eq!(tracks.values().map(|track| track.info.mid.as_str()).collect::<Vec<_>>(), ["m1"]);
    sim.take();
    sim.answer(bob);
    assert!(
        sim.room.participants[&Identity::new("bob").expect("good")]
            .receives(tracks_of(&sim, "alice")[0].as_str())
    );
}

fn tracks_of(sim: &Sim, identity: &str) -> Vec<String> {
    sim.room.participants[&Identity::new(identity).expect("good")].tracks.keys().cloned().collect()
}

#[test]
fn whoever_is_not_active_neither_receives_nor_is_received() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.publish(alice, proto::TrackSource::Microphone);
    sim.take();
    // A client that never opens the data channels: nobody outside has heard of it.
    let eve = sim.join_as("eve", VideoGrant::default(), &[]);
    sim.answer(eve);
    sim.event(eve, EventKind::Connected(Side::Subscriber));
    sim.publish(eve, proto::TrackSource::Camera);
    let effects = sim.take();
    assert!(!webhooks(&effects).contains(&"participant_joined"));
    assert!(!commands(&effects).iter().any(|c| matches!(c, shard::Command::AddDown { .. })));
    assert!(
        !sim.room.participants[&Identity::new("alice").expect("good")].receives(&tracks_of(&sim, "eve")[0])
    );

    sim.event(eve, EventKind::ChannelsOpen);
    let down = |effects: &[Effect], to| {
        commands(effects).iter().any(|c| matches!(c, shard::Command::AddDown { peer, .. } if *peer == to))
    };
    assert!(down(&sim.said, eve), "what was agreed on before begins now");
    sim.answer(alice);
    assert!(down(&sim.said, alice));
}

#[test]
fn a_data_packet_that_is_too_long_with_its_senders_name_goes_to_nobody() {
    let mut sim = Sim::new();
    let (alice, _bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    sim.data(alice, &vec![0; 65_525]);
    assert!(commands(&sim.take()).is_empty());
    sim.data(alice, &vec![0; 65_000]);
    assert_eq!(commands(&sim.take()).len(), 1);
    let request = proto::SendDataRequest { topic: Some("t".repeat(70_000)), ..Default::default() };
    sim.step(Command::Api { id: 1, call: ApiCall::SendData(Box::new(request)) });
    let refused = |e: &Effect| matches!(e, Effect::Reply { result: Err(ApiError::InvalidArgument(_)), .. });
    assert!(sim.take().iter().any(refused));
}

#[test]
fn nobody_speaks_on_a_track_that_was_taken_away() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Microphone);
    let source = *sim.room.by_source.keys().next().expect("published");
    sim.event(alice, EventKind::Levels(vec![(source, 0.5)]));
    sim.take();
    let permission = proto::ParticipantPermission { can_subscribe: true, ..Default::default() };
    let request = proto::UpdateParticipantRequest {
        identity: "alice".into(),
        permission: Some(permission),
        ..Default::default()
    };
    sim.step(Command::Api { id: 1, call: ApiCall::UpdateParticipant(Box::new(request)) });
    let silent = |m: &Response| matches!(m, Response::SpeakersChanged(c) if !c.speakers[0].active);
    assert!(sim.heard(bob).iter().any(silent));
}

#[test]
fn a_good_connection_is_told_too_and_to_those_who_come_later() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Microphone);
    sim.answer(bob);
    sim.take();
    let good = crate::shard::Quality { rtt: Duration::from_millis(30), ..Default::default() };
    sim.event(alice, EventKind::Quality(good));
    let excellent = |m: &Response| {
        let Response::ConnectionQuality(update) = m else { return false };
        update.updates.iter().any(|u| u.quality() == proto::ConnectionQuality::Excellent)
    };
    assert!(sim.heard(bob).iter().any(excellent));
    sim.event(alice, EventKind::Quality(good));
    assert!(!sim.heard(bob).iter().any(excellent), "only changes are told");
    let carol = sim.join("carol");
    sim.answer(carol);
    assert!(sim.heard(carol).iter().any(excellent));
}

#[test]
fn a_room_that_is_deleted_says_so_to_each_once() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    sim.take();
    sim.step(Command::Api { id: 1, call: ApiCall::Delete });
    let effects = sim.take();
    let to_bob = |e: &&Effect| matches!(e, Effect::Signal { to, .. } if to.contains(&bob));
    assert_eq!(effects.iter().filter(to_bob).count(), 1, "{effects:?}");
    assert_eq!(
        webhooks(&effects),
        ["track_unpublished", "participant_left", "participant_left", "room_finished"]
    );
}

#[test]
fn announcements_are_bounded() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    let announce = |stream: String, cid: String| {
        let codec = proto::SimulcastCodec { cid, ..Default::default() };
        Request::AddTrack(proto::AddTrackRequest {
            cid: "cid".into(),
            stream,
            simulcast_codecs: vec![codec],
            source: proto::TrackSource::Microphone as i32,
            ..Default::default()
        })
    };
    let refused = |m: &Response| matches!(m, Response::RequestResponse(r) if r.reason() != proto::request_response::Reason::Ok);
    sim.signal(alice, announce("s".repeat(65), String::new()));
    assert!(sim.heard(alice).iter().any(refused));
    sim.signal(alice, announce(String::new(), "c".repeat(10_000)));
    assert!(sim.heard(alice).iter().any(refused));
    // Trying again with the same name is no second track.
    for _ in 0..50 {
        sim.signal(alice, announce(String::new(), String::new()));
    }
    assert!(!sim.heard(alice).iter().any(refused));
}

#[test]
fn a_track_that_is_offered_while_somebody_becomes_active_is_not_lost() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let bob = sim.join_as("bob", VideoGrant::default(), &[("auto_subscribe", "0")]);
    sim.answer(bob);
    let track = sim.publish(alice, proto::TrackSource::Microphone);
    sim.take();
    // The second offer is under way when the channels open: the first answer knows nothing of its track.
    let subscribe =
        proto::UpdateSubscription { track_sids: vec![track], subscribe: true, ..Default::default() };
    sim.signal(bob, Request::Subscription(subscribe));
    sim.event(bob, EventKind::ChannelsOpen);
    sim.answer(bob);
    let effects = sim.take();
    let down = |c: &&shard::Command| matches!(c, shard::Command::AddDown { peer, .. } if *peer == bob);
    assert!(commands(&effects).iter().any(down), "{effects:?}");
}

#[test]
fn a_browser_that_takes_no_line_twice_comes_again_before_it_has_too_many() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let track = sim.publish(alice, proto::TrackSource::Camera);
    let bob = sim.join_as("bob", VideoGrant::default(), &[("browser", "Safari")]);
    sim.answer(bob);
    sim.event(bob, EventKind::ChannelsOpen);
    for flip in 0..400 {
        for subscribe in [false, true] {
            sim.take();
            let track_sids = vec![track.clone()];
            let request = proto::UpdateSubscription { track_sids, subscribe, ..Default::default() };
            sim.signal(bob, Request::Subscription(request));
            sim.answer(bob);
            if let Some((_, action)) = leaves(&sim.heard(bob)) {
                assert_eq!(action, proto::leave_request::Action::Reconnect);
                assert!(flip > 200, "not every few minutes: after {flip} turns of a page");
                return;
            }
        }
    }
    panic!("its lines only become more");
}

#[test]
fn clients_are_told_the_port_of_their_own_thread() {
    let endpoint = LocalEndpoint {
        fingerprint: "AB:CD".into(),
        udp: vec![([192, 0, 2, 1], 7882).into(), ([192, 0, 2, 2], 7882).into()],
        tcp: Vec::new(),
    };
    let keys = ApiKeys::new(BTreeMap::new());
    let facts = ServerFacts::new("ND_test", endpoint, keys);
    let ports = |facts: &ServerFacts, shard| {
        facts.endpoint_of(ShardId(shard)).udp.iter().map(SocketAddr::port).collect::<Vec<_>>()
    };
    assert_eq!(ports(&facts, 1), [7882, 7882], "one for all");
    let facts = ServerFacts { udp_ports: vec![7882, 7883], ..facts };
    assert_eq!((ports(&facts, 0), ports(&facts, 1)), (vec![7882, 7882], vec![7883, 7883]));
}

mod backup;
mod calls;
mod codecs;
mod data_tracks;
mod dynacast;
mod grants;
mod news;
mod resume;

/// The relay that somebody was told of, and whether it has to be used.
fn told_relay(heard: &[Response]) -> (Vec<String>, String, bool) {
    let (servers, configuration) = heard
        .iter()
        .find_map(|message| match message {
            Response::Join(join) => Some((&join.ice_servers, &join.client_configuration)),
            Response::Reconnect(again) => Some((&again.ice_servers, &again.client_configuration)),
            _ => None,
        })
        .expect("the first message of a session");
    let forced = configuration.as_ref().expect("always there").force_relay;
    let (urls, username) =
        servers.first().map(|server| (server.urls.clone(), server.username.clone())).unwrap_or_default();
    (urls, username, forced == proto::ClientConfigSetting::Enabled as i32)
}

fn with_relay(tls: Option<(&str, u16)>) -> Sim {
    let mut sim = Sim::new();
    let secret = crate::turn::Secret::new(&[1; 32]);
    let plain = [([192, 0, 2, 1], 3478).into()];
    let announcement = crate::turn::Announcement::new(&plain, tls, secret);
    Arc::get_mut(&mut sim.room.facts).expect("the room alone has them").turn = Some(announcement);
    sim
}

const UDP_RELAY: &str = "turn:192.0.2.1:3478?transport=udp";
const TLS_RELAY: &str = "turns:turn.example.org:443?transport=tcp";

#[test]
fn nobody_is_told_of_a_relay_that_is_not_there() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    assert_eq!(told_relay(&sim.heard(alice)), (Vec::new(), String::new(), false));
}

#[test]
fn credentials_for_the_relay_are_fresh_whenever_a_session_begins_or_goes_on() {
    let mut sim = with_relay(Some(("turn.example.org", 443)));
    let alice = sim.join("alice");
    let (urls, username, forced) = told_relay(&sim.heard(alice));
    assert_eq!((urls, forced), (vec![UDP_RELAY.to_owned(), TLS_RELAY.to_owned()], false));
    let sid = sim.room.participants[&Identity::new("alice").expect("a name")].info.sid.clone();
    assert_eq!(username, format!("{}:{sid}", 1_000 + 4 * 3_600));
    sim.pass(Duration::from_secs(50));
    sim.step(Command::SignalClosed { peer: alice });
    sim.step(Command::Resume { peer: alice });
    let (urls, username, forced) = told_relay(&sim.heard(alice));
    assert_eq!((urls.len(), forced), (2, false));
    assert_eq!(username, format!("{}:{sid}", 1_050 + 4 * 3_600));
}

#[test]
fn who_asks_for_tls_is_told_of_nothing_else_and_made_to_use_it() {
    let tls =
        proto::simulate_scenario::Scenario::SwitchCandidateProtocol(proto::CandidateProtocol::Tls as i32);
    let ask = Request::Simulate(proto::SimulateScenario { scenario: Some(tls) });
    let again = |mut sim: Sim| {
        let alice = sim.join("alice");
        sim.signal(alice, ask.clone());
        let alice = sim.join("alice");
        let (urls, _, forced) = told_relay(&sim.heard(alice));
        (urls, forced)
    };
    assert_eq!(again(with_relay(Some(("turn.example.org", 443)))), (vec![TLS_RELAY.to_owned()], true));
    // Without TLS there is TCP, which needs no relay.
    let tcp = UDP_RELAY.replace("udp", "tcp");
    assert_eq!(again(with_relay(None)), (vec![UDP_RELAY.to_owned(), tcp], false));
}
