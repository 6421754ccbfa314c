//! What does the control of a large room cost? `cargo bench -p plenum-media --bench room`
//!
//! Everybody is in, and nobody subscribes to anything unasked, as with Plenum's own web client.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_media::ids::{NodeId, PeerHandle, RoomId, RoomName, ShardId};
use plenum_media::room::{Command, Effect, Moment, Room, RoomOptions, ServerFacts};
use plenum_media::sdp::LocalEndpoint;
use plenum_media::shard::{Event, EventKind, Side};
use plenum_media::signalling::authorize;
use plenum_media::token::{ApiKeys, Claims, VideoGrant};
use prost::Message as _;
use proto::signal_request::Message as Request;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn main() {
    for people in [30, 300, 1_000] {
        let mut bench = Bench::new();
        let join = each(people, |number| bench.join(number));
        let publish = each(people, |number| bench.publish(number));
        let data = each(1_000, |_| bench.data());
        let unpublish = each(people, |number| bench.unpublish(number));
        report(&format!("{people} people: a join"), join);
        report(&format!("{people} people: a microphone is published"), publish);
        report(&format!("{people} people: a data packet for one"), data);
        report(&format!("{people} people: a microphone is taken away"), unpublish);
    }
}

fn each(times: u64, mut act: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    (1..=times).for_each(&mut act);
    start.elapsed() / u32::try_from(times).unwrap_or(u32::MAX)
}

#[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
fn report(what: &str, time: Duration) {
    println!("{what:<44} {:>10.1} µs", time.as_secs_f64() * 1e6);
}

struct Bench {
    room: Room,
    rng: StdRng,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        let udp = vec![([127, 0, 0, 1], 7882).into()];
        let endpoint = LocalEndpoint { fingerprint: "AB:CD".into(), udp, tcp: Vec::new() };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let facts = ServerFacts::new("ND_bench", endpoint, keys);
        let name = RoomName::new("bench").expect("a good name");
        let mut moment = Moment { now, unix_ms: 0, rng: &mut rng };
        let (room, _) = Room::new(&mut moment, RoomId(1), name, &RoomOptions::default(), Arc::new(facts));
        Self { room, rng, now }
    }

    fn step(&mut self, command: Command) -> Vec<Effect> {
        let mut moment = Moment { now: self.now, unix_ms: 0, rng: &mut self.rng };
        let effects = self.room.step(&mut moment, command);
        // The shell asks after every step.
        black_box(self.room.next_timeout());
        effects
    }

    fn signal(&mut self, number: u64, request: Request) -> Vec<Effect> {
        self.step(Command::Signal { peer: peer(number), request: Box::new(request) })
    }

    fn event(&mut self, number: u64, kind: EventKind) {
        black_box(self.step(Command::Media(Event { room: RoomId(1), peer: peer(number), kind })));
    }

    fn join(&mut self, number: u64) {
        let video = VideoGrant { room_join: true, room: "bench".into(), ..VideoGrant::default() };
        let claims = Claims { sub: format!("person-{number}"), video: Some(video), ..Claims::default() };
        let query = [("protocol", "17"), ("auto_subscribe", "0")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let params = Box::new(authorize(&claims, &query).expect("may join"));
        let effects = self.step(Command::Join { params, peer: peer(number) });
        let offer = effects.into_iter().find_map(|effect| match effect {
            Effect::Signal { message, .. } => match *message {
                proto::signal_response::Message::Offer(offer) => Some(offer),
                _ => None,
            },
            _ => None,
        });
        let offer = offer.expect("the first offer goes out at once");
        let sdp = offer.sdp.replace("a=setup:actpass", "a=setup:active").replace("a=ice-lite\r\n", "");
        let answer =
            proto::SessionDescription { r#type: "answer".into(), sdp, id: offer.id, ..Default::default() };
        self.signal(number, Request::Answer(answer));
        self.event(number, EventKind::Connected(Side::Subscriber));
        self.event(number, EventKind::ChannelsOpen);
    }

    fn publish(&mut self, number: u64) {
        let request = proto::AddTrackRequest {
            cid: "microphone".into(),
            source: proto::TrackSource::Microphone as i32,
            ..Default::default()
        };
        self.signal(number, Request::AddTrack(request));
        black_box(self.offer(number, "sendonly"));
    }

    fn unpublish(&mut self, number: u64) {
        black_box(self.offer(number, "inactive"));
    }

    fn offer(&mut self, number: u64, direction: &str) -> Vec<Effect> {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789abcdefghijkl\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n\
             a={direction}\r\na=rtcp-mux\r\na=msid:stream microphone\r\na=rtpmap:111 opus/48000/2\r\n\
             a=ssrc:77 cname:x\r\n"
        );
        let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id: 1, ..Default::default() };
        self.signal(number, Request::Offer(offer))
    }

    fn data(&mut self) {
        let packet = proto::DataPacket {
            destination_identities: vec!["person-2".into()],
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: vec![0; 100],
                ..Default::default()
            })),
            ..Default::default()
        };
        self.event(1, EventKind::Data { reliable: true, payload: packet.encode_to_vec() });
    }
}

fn peer(number: u64) -> PeerHandle {
    PeerHandle { node: NodeId(0), shard: ShardId(0), key: number }
}
