//! A room, its media thread, their clients and the network between them, in virtual time.
//!
//! Nothing here waits: time jumps to whatever comes next. Certificates and handshakes draw their own random numbers, so
//! tests say what comes out, not which bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::{Incoming, Reception, Side, Signalling, join_request};
use plenum_media::ids::{Identity, NodeId, PeerHandle, RoomId, RoomName, ShardId};
use plenum_media::room::{Command, Effect, Moment, Room, RoomOptions, ServerFacts};
use plenum_media::sdp::{Codec, LocalEndpoint};
use plenum_media::sending::{Path, PathProtocol};
use plenum_media::shard::{DropReason, Received, Shard, ShardConfig};
use plenum_media::signalling::authorize;
use plenum_media::token::{ApiKeys, Claims, VideoGrant};
use plenum_media::transport::{Certificate, LocalAddresses};
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::link::Link;
use crate::person::Person;

/// Time that a datagram travels.
const DELAY: Duration = Duration::from_millis(15);

/// A datagram on its way.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// Index of the client that it comes from or goes to.
    pub(crate) client: usize,
    pub(crate) side: Side,
    /// To the server, not from it.
    pub(crate) up: bool,
    /// The client's address, as the server sees it.
    outside: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Datagram {
    /// SSRC and sequence number, which are not encrypted; `None` if it is no media.
    pub(crate) fn media(&self) -> Option<(u32, u16)> {
        let [first, kind, s1, s2, _, _, _, _, r1, r2, r3, r4, ..] = *self.bytes.as_slice() else {
            return None;
        };
        let is_media = (128..192).contains(&first) && !(192..224).contains(&kind);
        is_media.then(|| (u32::from_be_bytes([r1, r2, r3, r4]), u16::from_be_bytes([s1, s2])))
    }

    /// The payload type of a media packet.
    pub(crate) fn payload_type(&self) -> Option<u8> {
        self.media().map(|_| self.bytes[1] & 0x7f)
    }
}

/// Says of a datagram whether it is lost.
pub(crate) type Loss = Box<dyn FnMut(&Datagram) -> bool>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) room: Room,
    pub(crate) shard: Shard,
    pub(crate) clients: Vec<Person>,
    /// What the server dropped, by reason.
    pub(crate) dropped: HashMap<DropReason, usize>,
    pub(crate) webhooks: Vec<proto::WebhookEvent>,
    /// Says which datagrams are lost.
    pub(crate) lose: Loss,
    /// Links to clients that are no better than these.
    pub(crate) links: HashMap<usize, Link>,
    /// How whoever comes in next takes what is sent.
    pub(crate) reception: Reception,
    server: SocketAddr,
    started: Instant,
    rng: StdRng,
    flying: BTreeMap<(Instant, u64), Datagram>,
    flown: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let server = SocketAddr::from(([203, 0, 113, 1], 7882));
        let certificate = Certificate::generate();
        let endpoint =
            LocalEndpoint { fingerprint: certificate.fingerprint(), udp: vec![server], tcp: Vec::new() };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let facts =
            ServerFacts { codecs: Codec::ALL.to_vec(), ..ServerFacts::new("ND_test", endpoint, keys) };
        let local = Arc::new(LocalAddresses { udp: vec![server], tcp: Vec::new() });
        let mut rng = StdRng::seed_from_u64(3);
        let mut moment = Moment { now, unix_ms: 0, rng: &mut rng };
        let name = RoomName::new("room").expect("a good name");
        let (room, _) = Room::new(&mut moment, RoomId(1), name, &RoomOptions::default(), Arc::new(facts));
        Self {
            now,
            room,
            shard: Shard::new(now, ShardConfig { id: ShardId(0), certificate, local }),
            clients: Vec::new(),
            dropped: HashMap::new(),
            webhooks: Vec::new(),
            lose: Box::new(|_| false),
            links: HashMap::new(),
            reception: Reception::Whole,
            server,
            started: now,
            rng,
            flying: BTreeMap::new(),
            flown: 0,
        }
    }

    /// Comes into the room and waits until the connections stand.
    pub(crate) fn join(&mut self, identity: &str) -> usize {
        let index = self.enter(identity);
        self.until("both channels are open", 5, |world| {
            world.clients[index].client.channels(Side::Subscriber) >= 2
        });
        index
    }

    /// Comes back with a new signal connection.
    pub(crate) fn resume(&mut self, client: usize) {
        let Person { identity, peer, .. } = &self.clients[client];
        let identity = Identity::new(identity.as_str()).expect("a good name");
        let resumed = self.room.resumable(&identity, "");
        assert_eq!(resumed, Some(*peer), "the session is still there");
        let peer = *peer;
        self.step(Command::Resume { peer });
        self.settle();
    }

    /// Comes into the room.
    pub(crate) fn enter(&mut self, identity: &str) -> usize {
        self.enter_with(identity, &[])
    }

    /// The link to a client carries that much from now on.
    pub(crate) fn limit(&mut self, client: usize, kbps: f64) {
        let passed = self.now - self.started;
        self.links.entry(client).or_insert_with(|| Link::new(kbps)).set_rate(passed, kbps);
    }

    /// Comes into the room and says more in the query.
    pub(crate) fn enter_with(&mut self, identity: &str, more: &[(&str, &str)]) -> usize {
        let index = self.clients.len();
        let peer = PeerHandle { node: NodeId(0), shard: ShardId(0), key: index as u64 + 1 };
        let video = VideoGrant { room_join: true, room: "room".into(), ..VideoGrant::default() };
        let claims = Claims { sub: identity.into(), video: Some(video), ..Claims::default() };
        let said = [("protocol", "17")].into_iter().chain(more.iter().copied());
        let query: BTreeMap<_, _> = said.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let signalling = match query.contains_key("join_request") {
            true => Signalling::OneConnection,
            false => Signalling::TwoConnections,
        };
        let params = Box::new(authorize(&claims, &query).expect("may join"));
        let reception = self.reception;
        self.clients.push(Person::new(self.now, identity, peer, signalling, reception, &mut self.rng));
        self.step(Command::Join { params, peer });
        self.settle();
        index
    }

    /// Comes into the room with one connection for both directions and waits until it stands.
    pub(crate) fn join_with_one(&mut self, identity: &str, settings: proto::ConnectionSettings) -> usize {
        let request = join_request(&proto::ConnectionSettings { auto_subscribe: true, ..settings });
        let index = self.enter_with(identity, &[("join_request", &request)]);
        self.until("they are active", 5, |world| world.active(index));
        index
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn(end);
        }
    }

    /// Lets time pass until something holds, and returns how long that took.
    pub(crate) fn until(
        &mut self,
        what: &str,
        seconds: u64,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        let end = start + Duration::from_secs(seconds);
        while !holds(self) {
            assert!(self.now < end, "{what}: not within {seconds} s");
            self.turn(end);
        }
        self.now - start
    }

    pub(crate) fn signal(&mut self, client: usize, request: Request) {
        self.clients[client].client.say(request);
        self.settle();
    }

    /// Gives the server a datagram as if it came from that address.
    pub(crate) fn inject(&mut self, remote: SocketAddr, bytes: &[u8]) -> Received {
        let path = Path { protocol: PathProtocol::Udp, local: Some(self.server.ip()), remote };
        let received = self.shard.handle_datagram(self.now, path, bytes);
        if let Received::Dropped(reason) = received {
            *self.dropped.entry(reason).or_default() += 1;
        }
        self.settle();
        received
    }

    /// Our name of the connection on which that client receives.
    pub(crate) fn ufrag(&self, client: usize) -> String {
        let offer = |message: &Response| match message {
            Response::Offer(offer) => Some(offer.sdp.clone()),
            _ => None,
        };
        let sdp = self.clients[client].heard.iter().find_map(offer).expect("an offer came");
        let line = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:").map(str::to_owned));
        line.expect("with a name")
    }

    /// When everything began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Whether somebody is active, as they know it.
    pub(crate) fn active(&self, who: usize) -> bool {
        let states =
            self.clients.iter().flat_map(|client| &client.heard).filter_map(|message| match message {
                Response::Update(update) => Some(&update.participants),
                _ => None,
            });
        let own = states.flatten().filter(|info| info.identity == self.clients[who].identity);
        own.last().is_some_and(|info| info.state == proto::participant_info::State::Active as i32)
    }

    /// Goes to the next thing that happens, at most to `end`.
    fn turn(&mut self, end: Instant) {
        let clients = self.clients.iter().filter_map(Person::next_timeout);
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let others = [Some(self.shard.next_timeout()), self.room.next_timeout(), arrival];
        let next = clients.chain(others.into_iter().flatten()).min().unwrap_or(end).min(end);
        self.now = next.max(self.now);
        while self.flying.keys().next().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, datagram)) = self.flying.pop_first() {
                self.arrive(datagram);
            }
        }
        if self.shard.next_timeout() <= self.now {
            self.shard.handle_timeout(self.now);
        }
        if self.room.next_timeout().is_some_and(|at| at <= self.now) {
            self.step(Command::Timeout);
        }
        for client in &mut self.clients {
            if client.next_timeout().is_some_and(|at| at <= self.now) {
                client.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    fn arrive(&mut self, datagram: Datagram) {
        if (self.lose)(&datagram) {
            return;
        }
        if datagram.up {
            self.inject(datagram.outside, &datagram.bytes);
            return;
        }
        let (now, server) = (self.now, self.server);
        let client = &mut self.clients[datagram.client];
        let dead = client.dead || client.closed;
        // What goes to an address that the translation has given up is lost.
        if !dead && client.seen(datagram.side).outside == datagram.outside {
            let incoming = Incoming { remote: server, received: now, bytes: &datagram.bytes };
            let handled = client.client.handle_datagram(now, datagram.side, &incoming);
            handled.expect("nothing that breaks the connection");
            self.collect(datagram.client);
        }
    }

    fn step(&mut self, command: Command) {
        let passed = self.now - self.started;
        let unix_ms = 1_700_000_000_000 + passed.as_millis() as u64;
        let mut moment = Moment { now: self.now, unix_ms, rng: &mut self.rng };
        for effect in self.room.step(&mut moment, command) {
            match effect {
                Effect::Signal { to, message } => {
                    for client in self.clients.iter_mut().filter(|c| to.contains(&c.peer) && !c.dead) {
                        client.hear(self.now, (*message).clone());
                    }
                }
                Effect::CloseSignal { peer } => {
                    self.clients.iter_mut().filter(|c| c.peer == peer).for_each(|c| c.closed = true);
                }
                Effect::Shard { command, .. } => self.shard.handle_command(self.now, *command),
                Effect::Webhook(event) => self.webhooks.push(*event),
                Effect::Reply { .. } | Effect::Closed => {}
            }
        }
    }

    /// Carries everything on that does not need time.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.shard.poll_event() {
                quiet = false;
                self.step(Command::Media(event));
            }
            for index in 0..self.clients.len() {
                while let Some(request) = self.clients[index].client.poll_signal() {
                    quiet = false;
                    let peer = self.clients[index].peer;
                    self.step(Command::Signal { peer, request: Box::new(request) });
                }
                self.collect(index);
            }
            if quiet {
                break;
            }
        }
        let down: Vec<(Vec<u8>, SocketAddr)> =
            self.shard.queue.iter().map(|(bytes, path)| (bytes.to_vec(), path.remote)).collect();
        self.shard.queue.clear();
        for (bytes, outside) in down {
            let at = |side| {
                self.clients.iter().position(|client| match side {
                    Side::Publisher => client.publisher.outside == outside,
                    Side::Subscriber => client.subscriber.outside == outside,
                })
            };
            let found =
                [Side::Publisher, Side::Subscriber].into_iter().find_map(|side| Some((at(side)?, side)));
            if let Some((client, side)) = found {
                self.fly(Datagram { client, side, up: false, outside, bytes });
            }
        }
    }

    fn collect(&mut self, client: usize) {
        let person = &mut self.clients[client];
        // Whoever was told that it is out has closed its connections.
        if person.dead || person.closed {
            return;
        }
        person.note(self.now);
        let mut flying = Vec::new();
        while let Some(datagram) = person.client.poll_datagram() {
            let outside = person.seen(datagram.side).outside;
            flying.push(Datagram { client, side: datagram.side, up: true, outside, bytes: datagram.bytes });
        }
        flying.into_iter().for_each(|datagram| self.fly(datagram));
    }

    fn fly(&mut self, datagram: Datagram) {
        let passed = self.now - self.started;
        let delay = match self.links.get_mut(&datagram.client) {
            None => DELAY,
            Some(link) if datagram.up => link.delay,
            // IP and UDP come on top.
            Some(link) => match link.send(passed, datagram.bytes.len() as u32 + 28) {
                Some(arrival) => arrival - passed,
                None => return,
            },
        };
        self.flown += 1;
        self.flying.insert((self.now + delay, self.flown), datagram);
    }
}
