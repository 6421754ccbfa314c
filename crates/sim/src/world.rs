//! Rooms, their media threads, their people and the network between them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::{Client, Incoming, Reception, Settings, Side, Signalling, join_request};
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
use slab::Slab;

use crate::link::{Conditions, InFlight};
use crate::person::{Links, Person};

/// A datagram on its way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Index of the client that it comes from or goes to.
    pub client: usize,
    /// Its connection.
    pub side: Side,
    /// To the server, not from it.
    pub up: bool,
    /// The client's address, as the server sees it.
    outside: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// SSRC and sequence number, which are not encrypted; `None` if it is no media.
    pub fn media(&self) -> Option<(u32, u16)> {
        let [first, kind, s1, s2, _, _, _, _, r1, r2, r3, r4, ..] = *self.bytes.as_slice() else {
            return None;
        };
        let is_media = (128..192).contains(&first) && !(192..224).contains(&kind);
        is_media.then(|| (u32::from_be_bytes([r1, r2, r3, r4]), u16::from_be_bytes([s1, s2])))
    }

    /// The payload type of a media packet.
    pub fn payload_type(&self) -> Option<u8> {
        self.media().map(|_| self.bytes[1] & 0x7f)
    }
}

/// Says of a datagram whether it is lost.
pub type Loss = Box<dyn FnMut(&Datagram) -> bool>;

/// Everything, in virtual time. Each media thread has a room of its own, [`World::room`] says who goes where.
pub struct World {
    /// The time.
    pub now: Instant,
    /// Media threads.
    pub shards: Vec<Shard>,
    /// Everybody who was not forgotten.
    pub clients: Slab<Person>,
    /// What the server dropped, by reason.
    pub dropped: HashMap<DropReason, usize>,
    /// What was posted to the server above.
    pub webhooks: Vec<proto::WebhookEvent>,
    /// Says which datagrams are lost besides those that a link loses.
    pub lose: Loss,
    /// The room that whoever comes next goes into.
    pub room: usize,
    /// How whoever comes next takes what is sent.
    pub reception: Reception,
    /// Whether whoever comes next remembers every packet.
    pub remember: bool,
    /// Whether cameras of whoever comes next send only what anybody wants.
    pub dynacast: bool,
    /// The link from whoever comes next, and the link to them.
    pub links: [Conditions; 2],
    rooms: Vec<Room>,
    /// Which thread an address belongs to, as the thread that it comes in at was taught.
    foreign: HashMap<(ShardId, SocketAddr), ShardId>,
    server: SocketAddr,
    started: Instant,
    rng: StdRng,
    flying: InFlight<Datagram>,
    came: u64,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// One media thread and its room.
    pub fn new() -> Self {
        Self::with_shards(1)
    }

    /// Several media threads behind one port: the network gives datagrams to any of them.
    pub fn with_shards(shards: u16) -> Self {
        let now = Instant::now();
        let server = SocketAddr::from(([203, 0, 113, 1], 7882));
        let certificate = Certificate::generate();
        let endpoint =
            LocalEndpoint { fingerprint: certificate.fingerprint(), udp: vec![server], tcp: Vec::new() };
        let keys = ApiKeys::new(BTreeMap::from([("key".to_owned(), "secret".to_owned())]));
        let facts =
            ServerFacts { codecs: Codec::ALL.to_vec(), ..ServerFacts::new("ND_test", endpoint, keys) };
        let facts = Arc::new(facts);
        let local = Arc::new(LocalAddresses { udp: vec![server], tcp: Vec::new() });
        let mut rng = StdRng::seed_from_u64(3);
        let mut room = |number: u16| {
            let mut moment = Moment { now, unix_ms: 0, rng: &mut rng };
            let name = RoomName::new(format!("room{number}")).expect("a good name");
            let id = RoomId(number.into());
            Room::new(&mut moment, id, name, &RoomOptions::default(), facts.clone()).0
        };
        let rooms = (0..shards).map(&mut room).collect();
        let shard = |number| {
            let config =
                ShardConfig { id: ShardId(number), certificate: certificate.clone(), local: local.clone() };
            Shard::new(now, config)
        };
        Self {
            now,
            shards: (0..shards).map(shard).collect(),
            clients: Slab::new(),
            dropped: HashMap::new(),
            webhooks: Vec::new(),
            lose: Box::new(|_| false),
            room: 0,
            reception: Reception::Whole,
            remember: true,
            dynacast: false,
            links: [Conditions::PERFECT; 2],
            rooms,
            foreign: HashMap::new(),
            server,
            started: now,
            rng,
            flying: InFlight::default(),
            came: 0,
        }
    }

    /// Comes into the room and waits until the connections stand.
    pub fn join(&mut self, identity: &str) -> usize {
        let index = self.enter(identity);
        self.until("both channels are open", 5, |world| {
            world.clients[index].client.channels(Side::Subscriber) >= 2
        });
        index
    }

    /// Comes back with a new signal connection.
    pub fn resume(&mut self, client: usize) {
        let Person { identity, peer, room, .. } = &self.clients[client];
        let identity = Identity::new(identity.as_str()).expect("a good name");
        let (room, resumed) = (*room, self.rooms[*room].resumable(&identity, ""));
        assert_eq!(resumed, Some(*peer), "the session is still there");
        let peer = *peer;
        self.step(room, Command::Resume { peer });
        self.settle();
    }

    /// Comes into the room.
    pub fn enter(&mut self, identity: &str) -> usize {
        self.enter_with(identity, &[])
    }

    /// The link to a client carries that much from now on; that from it carries everything.
    pub fn limit(&mut self, client: usize, kbps: u64) {
        let down = Conditions::kbps(kbps);
        self.set_links(client, Conditions { rate: None, ..down }, down);
    }

    /// The links from a client and to it are like this from now on.
    pub fn set_links(&mut self, client: usize, up: Conditions, down: Conditions) {
        let passed = self.passed();
        let person = &mut self.clients[client];
        person.links.up.change(passed, up);
        person.links.down.change(passed, down);
    }

    /// The translation of addresses on the way gives a client other ports, without telling it.
    pub fn rebind(&mut self, client: usize) {
        for side in [Side::Publisher, Side::Subscriber] {
            let seen = self.clients[client].seen(side);
            // Ports of both connections come in pairs.
            seen.outside.set_port(seen.outside.port() + 2);
        }
    }

    /// Comes into the room and says more in the query.
    pub fn enter_with(&mut self, identity: &str, more: &[(&str, &str)]) -> usize {
        self.came += 1;
        let shard = ShardId(u16::try_from(self.room).expect("few rooms"));
        let peer = PeerHandle { node: NodeId(0), shard, key: self.came };
        let room = format!("room{}", self.room);
        let video = VideoGrant { room_join: true, room, ..VideoGrant::default() };
        let claims = Claims { sub: identity.into(), video: Some(video), ..Claims::default() };
        let said = [("protocol", "17")].into_iter().chain(more.iter().copied());
        let query: BTreeMap<_, _> = said.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let signalling = match query.contains_key("join_request") {
            true => Signalling::OneConnection,
            false => Signalling::TwoConnections,
        };
        let params = Box::new(authorize(&claims, &query).expect("may join"));
        let index = self.newcomer(identity, peer, signalling);
        self.step(self.room, Command::Join { params, peer });
        self.settle();
        index
    }

    fn newcomer(&mut self, identity: &str, peer: PeerHandle, signalling: Signalling) -> usize {
        // Addresses are not used again, as long as there are not too many.
        let [.., high, low] = peer.key.to_be_bytes();
        let ports = [40_000, 40_001];
        let inside = ports.map(|port| SocketAddr::from(([10, 0, high, low], port)));
        let outside = ports.map(|port| SocketAddr::from(([198, 51, 100 + high, low], port)));
        let Self { reception, remember, dynacast, room, links: [up, down], .. } = *self;
        let settings =
            Settings { signalling, reception, robust_sound: true, raw: remember, ..Settings::new(inside) };
        let client = Client::new(self.now, settings, &mut self.rng);
        let links = Links::new(identity, up, down);
        let mut person = Person::new(identity, client, outside);
        (person.room, person.peer, person.links) = (room, peer, links);
        (person.remember, person.dynacast) = (remember, dynacast);
        self.clients.insert(person)
    }

    /// Comes into the room with one connection for both directions and waits until it stands.
    pub fn join_with_one(&mut self, identity: &str, settings: proto::ConnectionSettings) -> usize {
        let request = join_request(&proto::ConnectionSettings { auto_subscribe: true, ..settings });
        let index = self.enter_with(identity, &[("join_request", &request)]);
        self.until("they are active", 5, |world| world.active(index));
        index
    }

    /// Leaves the room, as clients do.
    pub fn leave(&mut self, client: usize) {
        let now = self.now;
        self.clients[client].client.leave(now);
        self.settle();
        let Person { room, peer, .. } = self.clients[client];
        self.step(room, Command::SignalClosed { peer });
        self.settle();
    }

    /// Takes somebody out of the world who has left; its place is given to somebody else.
    pub fn forget(&mut self, client: usize) {
        self.clients.remove(client);
        self.flying.retain(|datagram| datagram.client != client);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn(end);
        }
    }

    /// Lets time pass until something holds, and returns how long that took.
    pub fn until(&mut self, what: &str, seconds: u64, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let start = self.now;
        let end = start + Duration::from_secs(seconds);
        while !holds(self) {
            assert!(self.now < end, "{what}: not within {seconds} s");
            self.turn(end);
        }
        self.now - start
    }

    /// A client says something to the server.
    pub fn signal(&mut self, client: usize, request: Request) {
        self.clients[client].client.say(request);
        self.settle();
    }

    /// Gives the server a datagram as if it came from that address.
    pub fn inject(&mut self, remote: SocketAddr, bytes: &[u8]) -> Received {
        let path = Path { protocol: PathProtocol::Udp, local: Some(self.server.ip()), remote };
        let received = self.receive(path, bytes);
        if let Received::Dropped(reason) = received {
            *self.dropped.entry(reason).or_default() += 1;
        }
        self.settle();
        received
    }

    /// As the media threads do it: whoever gets a datagram of another passes it on, and is taught to.
    fn receive(&mut self, path: Path, bytes: &[u8]) -> Received {
        let door = ShardId(door_of(path.remote) % self.shards.len() as u16);
        let (now, shards) = (self.now, &mut self.shards);
        let received = shards[usize::from(door.0)].handle_datagram(now, path, bytes);
        let owner = match received {
            Received::Foreign(owner) => Some(owner),
            Received::Dropped(DropReason::UnknownSource) => self.foreign.get(&(door, path.remote)).copied(),
            Received::Taken | Received::Dropped(_) => None,
        };
        let Some(owner) = owner else { return received };
        let Some(shard) = shards.get_mut(usize::from(owner.0)) else { return received };
        let passed_on = shard.handle_datagram(now, path, bytes);
        if passed_on == Received::Taken {
            self.foreign.insert((door, path.remote), owner);
        }
        passed_on
    }

    /// The media threads send nobody a layer of pictures above that; no bound for `None`.
    pub fn limit_layers(&mut self, highest: Option<usize>) {
        self.shards.iter_mut().for_each(|shard| shard.limit_layers(self.now, highest));
    }

    /// Our name of the connection on which that client receives.
    pub fn ufrag(&self, client: usize) -> String {
        let offer = |message: &Response| match message {
            Response::Offer(offer) => Some(offer.sdp.clone()),
            _ => None,
        };
        let sdp = self.clients[client].heard.iter().find_map(offer).expect("an offer came");
        let line = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:").map(str::to_owned));
        line.expect("with a name")
    }

    /// When everything began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Time since then.
    pub fn passed(&self) -> Duration {
        self.now - self.started
    }

    /// Whether somebody is active, as they know it.
    pub fn active(&self, who: usize) -> bool {
        let Person { identity, heard, .. } = &self.clients[who];
        let states = heard.iter().filter_map(|message| match message {
            Response::Update(update) => Some(&update.participants),
            _ => None,
        });
        let mut own = states.flatten().filter(|info| info.identity == *identity);
        own.next_back().is_some_and(|info| info.state == proto::participant_info::State::Active as i32)
    }

    /// Goes to the next thing that happens, at most to `end`.
    fn turn(&mut self, end: Instant) {
        let clients = self.clients.iter().filter_map(|(_, client)| client.next_timeout());
        let arrival = self.flying.next_arrival().map(|at| self.started + at);
        let shards = self.shards.iter().map(Shard::next_timeout);
        let rooms = self.rooms.iter().filter_map(Room::next_timeout);
        let next = clients.chain(shards).chain(rooms).chain(arrival).min().unwrap_or(end).min(end);
        self.now = next.max(self.now);
        while let Some((_, datagram)) = self.flying.pop(self.passed()) {
            self.arrive(datagram);
        }
        for shard in &mut self.shards {
            if shard.next_timeout() <= self.now {
                shard.handle_timeout(self.now);
            }
        }
        for room in 0..self.rooms.len() {
            if self.rooms[room].next_timeout().is_some_and(|at| at <= self.now) {
                self.step(room, Command::Timeout);
            }
        }
        for (_, client) in &mut self.clients {
            if client.next_timeout().is_some_and(|at| at <= self.now) {
                client.handle_timeout(self.now).expect("the connection lives");
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
        let Some(client) = self.clients.get_mut(datagram.client) else { return };
        let dead = client.dead || client.closed;
        // What goes to an address that the translation has given up is lost.
        if !dead && client.seen(datagram.side).outside == datagram.outside {
            let incoming = Incoming { remote: server, received: now, bytes: &datagram.bytes };
            let handled = client.client.handle_datagram(now, datagram.side, &incoming);
            handled.expect("nothing that breaks the connection");
            self.collect(datagram.client);
        }
    }

    fn step(&mut self, room: usize, command: Command) {
        let unix_ms = 1_700_000_000_000 + self.passed().as_millis() as u64;
        let mut moment = Moment { now: self.now, unix_ms, rng: &mut self.rng };
        for effect in self.rooms[room].step(&mut moment, command) {
            match effect {
                Effect::Signal { to, message } => {
                    let meant = |client: &Person| to.contains(&client.peer) && !client.dead;
                    for (_, client) in self.clients.iter_mut().filter(|(_, client)| meant(client)) {
                        let taken = client.hear(self.now, (*message).clone());
                        taken.expect("str0m takes what the server describes");
                    }
                }
                Effect::CloseSignal { peer } => {
                    let clients = self.clients.iter_mut().filter(|(_, c)| c.peer == peer);
                    clients.for_each(|(_, client)| client.closed = true);
                }
                // Each room is whole on the media thread of its number.
                Effect::Shard { command, .. } => self.shards[room].handle_command(self.now, *command),
                Effect::Webhook(event) => self.webhooks.push(*event),
                Effect::Reply { .. } | Effect::Rated { .. } | Effect::Closed => {}
            }
        }
    }

    /// Carries everything on that does not need time.
    fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for number in 0..self.shards.len() {
                while let Some(event) = self.shards[number].poll_event() {
                    quiet = false;
                    self.step(number, Command::Media(event));
                }
            }
            let clients: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
            for index in clients {
                while let Some(request) = self.clients[index].client.poll_signal() {
                    quiet = false;
                    let Person { peer, room, .. } = self.clients[index];
                    self.step(room, Command::Signal { peer, request: Box::new(request) });
                }
                self.collect(index);
            }
        }
        for number in 0..self.shards.len() {
            let queue = &mut self.shards[number].queue;
            let down: Vec<_> = queue.iter().map(|(bytes, path)| (bytes.to_vec(), path.remote)).collect();
            queue.clear();
            for (bytes, outside) in down {
                if let Some((client, side)) = self.owner_of(outside) {
                    self.fly(Datagram { client, side, up: false, outside, bytes });
                }
            }
        }
    }

    /// Who has that address.
    fn owner_of(&self, outside: SocketAddr) -> Option<(usize, Side)> {
        self.clients.iter().find_map(|(index, client)| match outside {
            own if own == client.publisher.outside => Some((index, Side::Publisher)),
            own if own == client.subscriber.outside => Some((index, Side::Subscriber)),
            _ => None,
        })
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
        /// IP and UDP.
        const OVERHEAD: u32 = 28;
        let passed = self.passed();
        let Some(person) = self.clients.get_mut(datagram.client) else { return };
        let link = if datagram.up { &mut person.links.up } else { &mut person.links.down };
        // Handshakes draw their own random numbers, for their lengths and for when they try again. So that everything else
        // repeats, only media and their control take part in what the link does.
        let is_media = matches!(datagram.bytes.first(), Some(128..=191));
        let arrival = match is_media {
            false => Some(passed + link.conditions().delay),
            true => link.send(passed, datagram.bytes.len() as u32 + OVERHEAD),
        };
        if let Some(arrival) = arrival {
            self.flying.push(arrival, datagram);
        }
    }
}

/// What a kernel might choose a thread by: something of the address and something of the port.
fn door_of(address: SocketAddr) -> u16 {
    let host = match address {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(v6) => v6.ip().octets()[15],
    };
    u16::from(host) + address.port() % 256
}
