//! Body of a fuzz target: two people who are in a room, and whatever they say.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Command, Effect, Moment, Room, RoomOptions, ServerFacts};
use crate::ids::{NodeId, PeerHandle, RoomId, RoomName, ShardId};
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
    play.wait(Duration::from_secs(120));
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
                Effect::Signal { peer, message } => {
                    assert!(!self.closed.contains(&peer), "nothing is said to who is gone");
                    self.hear(peer, *message);
                }
                Effect::CloseSignal { peer } => _ = self.closed.insert(peer),
                Effect::Shard { command, .. } => self.tell(*command),
                Effect::Webhook(_) | Effect::Reply { .. } | Effect::Closed => {}
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
