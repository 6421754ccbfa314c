//! The truth table of grants: every grant against everything that it could allow or forbid, from a token, and changed
//! while its bearer is in.

use std::collections::BTreeSet;

use prost::Message as _;
use proto::data_packet::Value;
use proto::participant_info::Kind;

use super::*;
use crate::signalling::permission_of;

/// What somebody was able to do, in one word each.
type Deeds = BTreeSet<&'static str>;

/// What everybody can do whose token says nothing but the room.
const USUAL: &str = "camera microphone screen unnamed data named seen receive";

/// A grant, and what its bearer can do.
type Row = (&'static str, fn(&mut VideoGrant), &'static str);

const TABLE: &[Row] = &[
    ("nothing said", |_| {}, USUAL),
    ("canPublish: true", |g| g.can_publish = Some(true), USUAL),
    ("canPublish: false", |g| g.can_publish = Some(false), "seen receive"),
    (
        "canPublish: false, canPublishData: true",
        |g| (g.can_publish, g.can_publish_data) = (Some(false), Some(true)),
        "data named seen receive",
    ),
    (
        "canPublishData: false",
        |g| g.can_publish_data = Some(false),
        "camera microphone screen unnamed seen receive",
    ),
    (
        "canSubscribe: false",
        |g| g.can_subscribe = Some(false),
        "camera microphone screen unnamed data named seen",
    ),
    ("canPublishSources: microphone", |g| sources(g, &["microphone"]), "microphone data named seen receive"),
    (
        "canPublishSources: camera, screen_share",
        |g| sources(g, &["camera", "screen_share"]),
        "camera screen data named seen receive",
    ),
    ("canPublishSources: a name that is none", |g| sources(g, &["nonsense"]), "data named seen receive"),
    (
        "canPublishSources: microphone, canPublish: false",
        |g| {
            sources(g, &["microphone"]);
            g.can_publish = Some(false);
        },
        "seen receive",
    ),
    (
        "canUpdateOwnMetadata",
        |g| g.can_update_own_metadata = Some(true),
        "camera microphone screen unnamed data named seen receive metadata",
    ),
    ("hidden", |g| g.hidden = true, "camera microphone screen unnamed data receive"),
    (
        "recorder",
        |g| g.recorder = true,
        "camera microphone screen unnamed data named seen receive record private",
    ),
    ("agent", |g| g.agent = true, "camera microphone screen unnamed data named seen receive transcribe"),
    (
        "canSubscribeMetrics",
        |g| g.can_subscribe_metrics = Some(true),
        "camera microphone screen unnamed data named seen receive metrics",
    ),
    ("canManageAgentSession", |g| g.can_manage_agent_session = Some(true), USUAL),
    // Rights of the server API are none in the room.
    (
        "roomAdmin, roomCreate, roomList, roomRecord, ingressAdmin, destinationRoom",
        |g| {
            (g.room_admin, g.room_create, g.room_list) = (true, true, true);
            (g.room_record, g.ingress_admin) = (true, true);
            g.destination_room = "r2".into();
        },
        USUAL,
    ),
    (
        "everything off",
        |g| (g.can_publish, g.can_subscribe, g.can_publish_data) = (Some(false), Some(false), Some(false)),
        "seen",
    ),
];

fn sources(grant: &mut VideoGrant, names: &[&str]) {
    grant.can_publish_sources = names.iter().map(|name| (*name).to_owned()).collect();
}

fn grant_of(change: fn(&mut VideoGrant)) -> VideoGrant {
    let mut grant = VideoGrant::default();
    change(&mut grant);
    grant
}

fn words(text: &'static str) -> Deeds {
    text.split_whitespace().collect()
}

#[test]
fn a_token_allows_what_the_table_says_and_nothing_else() {
    for (name, change, expected) in TABLE {
        let mut room = Scene::new();
        let alice = room.enter("alice", grant_of(*change));
        assert_eq!(room.deeds(alice), words(expected), "{name}");
    }
}

#[test]
fn rights_that_change_hold_at_once() {
    for (name, change, expected) in TABLE {
        let mut room = Scene::new();
        let alice = room.enter("alice", VideoGrant::default());
        assert_eq!(room.deeds(alice), words(USUAL));
        room.permit(grant_of(*change));
        assert_eq!(room.deeds(alice), words(expected), "{name}, given while in the room");
        room.permit(VideoGrant::default());
        assert_eq!(room.deeds(alice), words(USUAL), "{name}, taken away again");
    }
}

#[test]
fn what_is_forbidden_ends_what_is_under_way() {
    for (name, change, expected) in TABLE {
        let (mut room, expected) = (Scene::new(), words(expected));
        let alice = room.enter("alice", VideoGrant::default());
        room.publish_all(alice);
        room.permit(grant_of(*change));
        room.sim.answer(alice);
        let participant = &room.sim.room.participants[&room.alice()];
        let left: Deeds =
            participant.tracks.values().filter_map(|track| word_of(track.info.source)).collect();
        let allowed: Deeds = expected.intersection(&words("camera microphone")).copied().collect();
        assert_eq!(left, allowed, "{name}: what she still publishes");
        assert_eq!(participant.receives(&room.track), expected.contains("receive"), "{name}");
        let unseen = room.sim.room.participants[&room.bob()].subscriber.subscriptions.is_empty();
        let bob_gets = !unseen;
        assert_eq!(
            bob_gets,
            !allowed.is_empty() && expected.contains("seen"),
            "{name}: what others get of her"
        );
    }
}

#[test]
fn whoever_hides_leaves_for_the_others_and_comes_back() {
    let mut room = Scene::new();
    room.enter("alice", VideoGrant::default());
    let state_of = |messages: &[Response]| {
        updates(messages).iter().rfind(|info| info.identity == "alice").map(|info| info.state)
    };
    room.sim.take();
    room.permit(VideoGrant { hidden: true, ..VideoGrant::default() });
    assert_eq!(state_of(&room.sim.heard(room.bob)), Some(State::Disconnected as i32));
    room.permit(VideoGrant::default());
    assert_eq!(state_of(&room.sim.heard(room.bob)), Some(State::Active as i32));
}

#[test]
fn rights_of_a_refreshed_token_are_those_that_hold() {
    for (name, change, _) in TABLE {
        let mut room = Scene::new();
        let alice = room.enter("alice", VideoGrant::default());
        room.sim.take();
        room.permit(grant_of(*change));
        let token = room.sim.heard(alice).into_iter().rev().find_map(|message| match message {
            Response::RefreshToken(token) => Some(token),
            _ => None,
        });
        let held = &room.sim.room.participants[&room.alice()].permission;
        let Some(token) = token else {
            assert_eq!(*held, permission_of(&VideoGrant::default()), "{name}: nothing has changed");
            continue;
        };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let claims = crate::token::verify(&token, &keys, 1_000).expect("a good token");
        let video = claims.video.expect("with rights");
        assert_eq!(permission_of(&video), *held, "{name}");
        assert!(video.room_join && video.room == "r", "{name}");
        assert!(!video.room_admin && !video.room_create && !video.room_list && !video.room_record, "{name}");
    }
}

#[test]
fn who_is_there_for_others_neither_fills_a_room_nor_keeps_it() {
    let mut sim = Sim::new();
    sim.step(Command::Api {
        id: 1,
        call: ApiCall::Update(RoomOptions { max_participants: 1, ..RoomOptions::default() }),
    });
    let agent = sim.join_as("agent", VideoGrant { agent: true, ..VideoGrant::default() }, &[]);
    let recorder = sim.join_as("recorder", VideoGrant { recorder: true, ..VideoGrant::default() }, &[]);
    let alice = sim.join("alice");
    sim.take();
    let bob = sim.join_as("bob", VideoGrant::default(), &[]);
    let heard = sim.heard(bob);
    assert_eq!(leaves(&heard).map(|(reason, _)| reason), Some(DisconnectReason::JoinFailure));
    for peer in [agent, recorder] {
        assert!(sim.room.by_peer.contains_key(&peer));
    }
    sim.signal(alice, Request::Leave(proto::LeaveRequest::default()));
    sim.take();
    sim.pass(Duration::from_secs(25));
    assert_eq!(webhooks(&sim.take()).last(), Some(&"room_finished"));
}

#[test]
fn kinds_of_tokens_are_kinds_of_participants() {
    let kinds = [
        ("standard", Kind::Standard),
        ("egress", Kind::Egress),
        ("ingress", Kind::Ingress),
        ("sip", Kind::Sip),
        ("agent", Kind::Agent),
        ("connector", Kind::Connector),
        ("bridge", Kind::Bridge),
        ("", Kind::Standard),
    ];
    for (name, kind) in kinds {
        let video = VideoGrant { room_join: true, room: "r".into(), ..VideoGrant::default() };
        let claims = Claims {
            sub: "alice".into(),
            kind: name.into(),
            kind_details: vec!["cloud_agent".into(), "nonsense".into()],
            video: Some(video),
            ..Claims::default()
        };
        let params = authorize(&claims, &BTreeMap::new()).expect("may join");
        assert_eq!((params.kind, params.kind_details.as_slice()), (kind, &[0][..]), "{name}");
    }
}

/// Bob publishes a microphone that only a recorder may hear, and another track for all; alice tries everything.
struct Scene {
    sim: Sim,
    bob: PeerHandle,
    /// Bob's track for all.
    track: String,
    /// And the one for nobody.
    private: String,
    tries: u32,
}

impl Scene {
    fn new() -> Self {
        let mut sim = Sim::new();
        let bob = sim.join("bob");
        sim.add_track(bob, "m", proto::TrackSource::Microphone);
        sim.add_track(bob, "c", proto::TrackSource::Camera);
        sim.offer(bob, &[("0", MediaKind::Audio, Some("m")), ("1", MediaKind::Video, Some("c"))]);
        let tracks = &sim.room.participants[&Identity::new("bob").expect("good")].tracks;
        let of = |source| {
            let mut all = tracks.iter().filter(|(_, track)| word_of(track.info.source) == Some(source));
            all.next().expect("published").0.clone()
        };
        let (track, private) = (of("microphone"), of("camera"));
        let everybody = proto::SubscriptionPermission {
            track_permissions: vec![proto::TrackPermission {
                participant_identity: "alice".into(),
                track_sids: vec![track.clone()],
                ..Default::default()
            }],
            ..Default::default()
        };
        sim.signal(bob, Request::SubscriptionPermission(everybody));
        Self { sim, bob, track, private, tries: 0 }
    }

    fn alice(&self) -> Identity {
        Identity::new("alice").expect("good")
    }

    fn bob(&self) -> Identity {
        Identity::new("bob").expect("good")
    }

    fn enter(&mut self, identity: &str, grant: VideoGrant) -> PeerHandle {
        let peer = self.sim.join_as(identity, grant, &[]);
        self.sim.answer(peer);
        self.sim.event(peer, EventKind::Connected(Side::Publisher));
        self.sim.event(peer, EventKind::Connected(Side::Subscriber));
        self.sim.event(peer, EventKind::ChannelsOpen);
        peer
    }

    /// Changes alice's rights by the server API.
    fn permit(&mut self, grant: VideoGrant) {
        let request = proto::UpdateParticipantRequest {
            identity: "alice".into(),
            permission: Some(permission_of(&grant)),
            ..Default::default()
        };
        self.sim.step(Command::Api { id: 7, call: ApiCall::UpdateParticipant(Box::new(request)) });
    }

    fn publish_all(&mut self, peer: PeerHandle) {
        self.sim.add_track(peer, "c", proto::TrackSource::Camera);
        self.sim.add_track(peer, "m", proto::TrackSource::Microphone);
        self.sim.offer(peer, &[("0", MediaKind::Video, Some("c")), ("1", MediaKind::Audio, Some("m"))]);
        self.sim.answer(self.bob);
        assert_eq!(self.sim.room.participants[&self.alice()].tracks.len(), 2);
    }

    /// Everything that alice can do.
    fn deeds(&mut self, alice: PeerHandle) -> Deeds {
        let mut deeds = Deeds::new();
        self.tries += 1;
        let sources = [
            proto::TrackSource::Camera,
            proto::TrackSource::Microphone,
            proto::TrackSource::ScreenShare,
            proto::TrackSource::Unknown,
        ];
        for source in sources {
            self.sim.take();
            let cid = format!("{source:?}");
            self.sim.add_track(alice, &cid, source);
            let announced = self
                .sim
                .heard(alice)
                .iter()
                .any(|m| matches!(m, Response::TrackPublished(t) if t.cid == cid));
            deeds.extend(word_of(source as i32).filter(|_| announced));
        }
        let text = Value::User(proto::UserPacket { payload: b"hello".to_vec(), ..Default::default() });
        if let Some(packet) = self.data(alice, self.bob, text) {
            deeds.insert("data");
            deeds.extend((packet.participant_identity == "alice").then_some("named"));
        }
        let transcription = Value::Transcription(proto::Transcription::default());
        deeds.extend(self.data(alice, self.bob, transcription).map(|_| "transcribe"));
        let metrics = Value::Metrics(proto::MetricsBatch::default());
        deeds.extend(self.data(self.bob, alice, metrics).map(|_| "metrics"));

        let metadata = format!("mine {}", self.tries);
        let own = proto::UpdateParticipantMetadata { metadata: metadata.clone(), ..Default::default() };
        self.sim.signal(alice, Request::UpdateMetadata(own));
        let participant = &self.sim.room.participants[&self.alice()];
        deeds.extend((participant.info.metadata == metadata).then_some("metadata"));
        deeds.extend(participant.receives(&self.track).then_some("receive"));
        deeds.extend(participant.receives(&self.private).then_some("private"));
        deeds.extend(self.sim.room.info.active_recording.then_some("record"));

        self.sim.take();
        let name = proto::UpdateParticipantRequest {
            identity: "alice".into(),
            name: format!("Alice {}", self.tries),
            ..Default::default()
        };
        self.sim.step(Command::Api { id: 8, call: ApiCall::UpdateParticipant(Box::new(name)) });
        let seen = updates(&self.sim.heard(self.bob)).iter().any(|info| info.identity == "alice");
        deeds.extend(seen.then_some("seen"));
        deeds
    }

    /// Sends a packet, and returns it as the other gets it.
    fn data(&mut self, from: PeerHandle, to: PeerHandle, value: Value) -> Option<proto::DataPacket> {
        self.sim.take();
        let payload = proto::DataPacket { value: Some(value), ..Default::default() }.encode_to_vec();
        self.sim.event(from, EventKind::Data { reliable: true, payload });
        let effects = self.sim.take();
        let arrived = commands(&effects).into_iter().find_map(|command| match command {
            shard::Command::SendData { peers, payload, .. } if peers.contains(&to) => Some(payload.clone()),
            _ => None,
        });
        arrived.map(|payload| proto::DataPacket::decode(&*payload).expect("well-formed"))
    }
}

fn word_of(source: i32) -> Option<&'static str> {
    match proto::TrackSource::try_from(source).expect("a source") {
        proto::TrackSource::Camera => Some("camera"),
        proto::TrackSource::Microphone => Some("microphone"),
        proto::TrackSource::ScreenShare => Some("screen"),
        proto::TrackSource::Unknown => Some("unnamed"),
        proto::TrackSource::ScreenShareAudio => None,
    }
}
