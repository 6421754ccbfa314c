//! Bodies of fuzz targets: two people who are in a room, whatever they say, and whatever the server API is asked.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;

use super::{ApiCall, Command, Effect, Moment, Room, RoomOptions, ServerFacts, TextLimits};
use crate::ids::{IceCredentials, Identity, NodeId, PeerHandle, RoomId, RoomName, ShardId};
use crate::sdp::{self, LocalEndpoint};
use crate::shard::{self, EventKind, Side};
use crate::signalling::{Incoming, authorize, decode};
use crate::token::{ApiKeys, Claims, VideoGrant};

/// Most lines of an input that are said.
const LINES: usize = 64;
/// The longest message that anybody may cause for anybody, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// Says the input in a room. The input is one binary frame, or lines of JSON; a line of the second person begins with
/// `2`. `$track` and `$person` in a line stand for the first person's latest track and for the first person.
pub fn fuzz(input: &[u8]) {
    let mut play = Play::new();
    if let Ok((Some(request), _)) = decode(Incoming::Binary(input)) {
        play.say(0, request);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        for line in text.lines().take(LINES) {
            let (who, line) = line.strip_prefix('2').map_or((0, line), |rest| (1, rest));
            let line = line.replace("$track", &play.track).replace("$person", &play.person);
            if let Ok((Some(request), _)) = decode(Incoming::Text(line.trim())) {
                play.say(who, request);
            }
        }
    }
    play.resume();
    play.wait(Duration::from_secs(120));
}

/// Body of the fuzz target `api`: calls of the server API in a room of two. The input is lines of a method's name and JSON
/// (`$track` as in [`fuzz`]), or a byte for the method and protobuf.
pub fn fuzz_api(input: &[u8]) {
    let mut play = Play::new();
    play.publish();
    if let Some((nth, body)) = input.split_first()
        && let Some(call) = call(METHODS[usize::from(*nth) % METHODS.len()], Body::Binary(body))
    {
        play.ask(call);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        for line in text.lines().take(LINES) {
            let line = line.replace("$track", &play.track);
            let (method, body) = line.split_once(' ').unwrap_or((&line, "{}"));
            if let Some(call) = call(method, Body::Json(body)) {
                play.ask(call);
            }
        }
    }
    play.wait(Duration::from_secs(120));
}

const METHODS: [&str; 15] = [
    "CreateRoom",
    "ListRooms",
    "DeleteRoom",
    "ListParticipants",
    "GetParticipant",
    "RemoveParticipant",
    "MutePublishedTrack",
    "UpdateParticipant",
    "SendData",
    "UpdateRoomMetadata",
    "UpdateSubscriptions",
    "PerformRpc",
    "CreateDispatch",
    "DeleteDispatch",
    "ListDispatch",
];

/// A request in one of Twirp's two formats.
#[derive(Clone, Copy)]
enum Body<'a> {
    Binary(&'a [u8]),
    Json(&'a str),
}

impl Body<'_> {
    fn read<T: prost::Message + Default + DeserializeOwned>(self) -> Option<T> {
        match self {
            Self::Binary(bytes) => T::decode(bytes).ok(),
            Self::Json(text) => serde_json::from_str(text).ok(),
        }
    }
}

fn call(method: &str, body: Body<'_>) -> Option<ApiCall> {
    let identity = || body.read::<proto::RoomParticipantIdentity>().map(|request| request.identity);
    Some(match method {
        "CreateRoom" => {
            let options = RoomOptions::from_request(&body.read()?, &TextLimits::default());
            ApiCall::Update(options.ok()?)
        }
        "ListRooms" => ApiCall::Room,
        "DeleteRoom" => ApiCall::Delete,
        "ListParticipants" => ApiCall::ListParticipants,
        "GetParticipant" => ApiCall::GetParticipant(identity()?),
        "RemoveParticipant" => ApiCall::RemoveParticipant(identity()?),
        "MutePublishedTrack" => ApiCall::MuteTrack(body.read()?),
        "UpdateParticipant" => ApiCall::UpdateParticipant(Box::new(body.read()?)),
        "SendData" => ApiCall::SendData(Box::new(body.read()?)),
        "UpdateRoomMetadata" => {
            ApiCall::UpdateMetadata(body.read::<proto::UpdateRoomMetadataRequest>()?.metadata)
        }
        "UpdateSubscriptions" => ApiCall::UpdateSubscriptions(Box::new(body.read()?)),
        "PerformRpc" => ApiCall::PerformRpc(Box::new(body.read()?)),
        "CreateDispatch" => ApiCall::CreateDispatch(Box::new(body.read()?)),
        "DeleteDispatch" => {
            ApiCall::DeleteDispatch(body.read::<proto::DeleteAgentDispatchRequest>()?.dispatch_id)
        }
        "ListDispatch" => ApiCall::ListDispatch(body.read::<proto::ListAgentDispatchRequest>()?.dispatch_id),
        _ => return None,
    })
}

/// A room and what was seen of it.
struct Play {
    room: Room,
    now: Instant,
    rng: StdRng,
    track: String,
    person: String,
    closed: HashSet<PeerHandle>,
    ssrcs: HashSet<(PeerHandle, u32)>,
    /// Calls so far, and those without an answer.
    calls: u64,
    waiting: HashSet<u64>,
}

impl Play {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        let udp = vec![([127, 0, 0, 1], 7882).into()];
        let endpoint = LocalEndpoint { fingerprint: "AB:CD".into(), udp, tcp: Vec::new() };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let codecs = crate::sdp::Codec::ALL.to_vec();
        let facts = ServerFacts { codecs, ..ServerFacts::new("ND_fuzz", endpoint, keys) };
        let mut moment = Moment { now, unix_ms: 1, rng: &mut rng };
        let name = RoomName::new("fuzz").expect("a good name");
        let (room, _) = Room::new(&mut moment, RoomId(1), name, &RoomOptions::default(), Arc::new(facts));
        let mut play = Self {
            room,
            now,
            rng,
            track: String::new(),
            person: String::new(),
            closed: HashSet::new(),
            ssrcs: HashSet::new(),
            calls: 0,
            waiting: HashSet::new(),
        };
        ["one", "two"].into_iter().enumerate().for_each(|(who, identity)| play.join(who, identity));
        play
    }

    fn join(&mut self, who: usize, identity: &str) {
        let video = VideoGrant { room_join: true, room: "fuzz".into(), ..VideoGrant::default() };
        let claims = Claims { sub: identity.into(), video: Some(video), ..Claims::default() };
        let query = BTreeMap::from([("protocol".to_owned(), "17".to_owned())]);
        let params = Box::new(authorize(&claims, &query).expect("may join"));
        self.step(Command::Join { params, peer: peer(who) });
        for kind in [EventKind::Connected(Side::Subscriber), EventKind::ChannelsOpen] {
            self.step(Command::Media(shard::Event { room: RoomId(1), peer: peer(who), kind }));
        }
    }

    fn say(&mut self, who: usize, request: Request) {
        self.step(Command::Signal { peer: peer(who), request: Box::new(request) });
    }

    /// The first person announces a microphone and offers it.
    fn publish(&mut self) {
        let source = proto::TrackSource::Microphone as i32;
        self.say(
            0,
            Request::AddTrack(proto::AddTrackRequest { cid: "c".into(), source, ..Default::default() }),
        );
        let credentials = IceCredentials { ufrag: "client".into(), pwd: "0123456789abcdefghijkl".into() };
        let endpoint = LocalEndpoint { fingerprint: "12:34".into(), udp: Vec::new(), tcp: Vec::new() };
        let sending = sdp::Sending {
            stream_id: "stream".into(),
            track_id: "c".into(),
            ssrc: 77,
            rtx_ssrc: None,
            stereo: false,
        };
        let codecs = vec![sdp::Codec::Opus];
        let line = sdp::DownLine {
            mid: "m".into(),
            kind: sdp::MediaKind::Audio,
            codecs,
            sending: Some(sending),
            playout_delay: false,
        };
        let sdp = sdp::write_offer(&credentials, &endpoint, 1, 1, &[line]);
        self.say(
            0,
            Request::Offer(proto::SessionDescription { r#type: "offer".into(), sdp, ..Default::default() }),
        );
    }

    /// Whoever is still there comes back with a new signal connection.
    fn resume(&mut self) {
        for identity in ["one", "two"] {
            let identity = Identity::new(identity).expect("a good name");
            if let Some(peer) = self.room.resumable(&identity, "") {
                self.closed.remove(&peer);
                self.step(Command::Resume { peer });
            }
        }
    }

    fn ask(&mut self, call: ApiCall) {
        self.calls += 1;
        let id = self.calls;
        self.waiting.insert(id);
        self.step(Command::Api { id, call });
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        // Ends with the room, or when there is nothing to wait for; a deadline that does not pass would be noticed.
        for _ in 0..1_000 {
            let Some(at) = self.room.next_timeout().filter(|at| *at <= end) else { return };
            self.now = at.max(self.now);
            self.step(Command::Timeout);
        }
        panic!("the room does not come to rest");
    }

    fn step(&mut self, command: Command) {
        let mut moment = Moment { now: self.now, unix_ms: 1, rng: &mut self.rng };
        for effect in self.room.step(&mut moment, command) {
            match effect {
                Effect::Signal { to, message } => {
                    for peer in to {
                        assert!(!self.closed.contains(&peer), "nothing is said to who is gone");
                        self.hear(peer, (*message).clone());
                    }
                }
                Effect::CloseSignal { peer } => _ = self.closed.insert(peer),
                Effect::Shard { command, .. } => self.tell(*command),
                Effect::Reply { id, .. } => assert!(self.waiting.remove(&id), "a call is answered once"),
                Effect::Webhook(_) | Effect::Rated { .. } | Effect::Closed => {}
            }
        }
    }

    fn hear(&mut self, to: PeerHandle, message: Response) {
        assert!(message.encoded_len() <= LONGEST, "a message of {} bytes", message.encoded_len());
        match message {
            Response::Offer(description) | Response::Answer(description) => {
                assert!(sdp::parse(&description.sdp).is_ok(), "{}", description.sdp);
            }
            Response::TrackPublished(published) if to == peer(0) => {
                self.track = published.track.map(|track| track.sid).unwrap_or_default();
            }
            Response::Join(join) if to == peer(0) => {
                self.person = join.participant.map(|participant| participant.sid).unwrap_or_default();
            }
            Response::RefreshToken(token) => assert!(!token.is_empty()),
            other => {
                let written = proto::SignalResponse { message: Some(other) }.encode_to_vec();
                assert!(proto::SignalResponse::decode(written.as_slice()).is_ok());
            }
        }
    }

    fn tell(&mut self, command: shard::Command) {
        if let shard::Command::AddDown { peer, config } = command {
            assert!(self.ssrcs.insert((peer, config.ssrc)), "an SSRC that was used on the connection before");
        }
    }
}

fn peer(who: usize) -> PeerHandle {
    PeerHandle { node: NodeId(0), shard: ShardId(0), key: who as u64 + 1 }
}
