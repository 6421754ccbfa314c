//! One media thread's connections, tracks and packets, without the thread.
//!
//! **After every call that changes something, take [`Shard::queue`] and [`Shard::poll_event`] empty.**

mod budget;
mod message;
mod peer;
mod subscribers;
mod turn;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

pub use message::{Command, Connections, Event, EventKind, Failure, PublishUpdate, Quality, Side, Stage};

use crate::counts::Counts;
use crate::egress::Origin;
use crate::fault::{self, Point};
use crate::ids::{IceCredentials, PeerHandle, ShardId, SourceKey};
use crate::ingest::{LevelMeter, Source};
use crate::rtp::{DatagramKind, stun_request};
use crate::sending::{Path, PathProtocol, SendQueue};
use crate::transport::{Certificate, LocalAddresses};
use peer::Peer;

/// Key frame requests, reports and waiting data are looked after this often.
const TICK: Duration = Duration::from_millis(50);
/// Time between reports of how connections do.
const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// A client that is silent for this long after ICE noticed is given up: 20 s after its last packet, LiveKit's time.
/// It may come by another way until then.
const UNREACHABLE_FOR: Duration = Duration::from_millis(6_500);
/// A connection that takes longer than this is told of: something is in its way.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Somebody who has stopped speaking keeps the rank of a speaker for this long: a pause is no change of speakers.
const SPEAKER_STAYS: Duration = Duration::from_secs(3);
/// Most paths that one connection may be reached on.
const MAX_PATHS: usize = 16;

/// What all connections of a shard share.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Its number.
    pub id: ShardId,
    /// The certificate.
    pub certificate: Certificate,
    /// The candidates' addresses.
    pub local: Arc<LocalAddresses>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was for a connection here.
    Taken,
    /// It is for another shard; this address belongs there.
    Foreign(ShardId),
    /// It is for nobody.
    Dropped(DropReason),
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Neither STUN, DTLS, RTP nor RTCP.
    Malformed,
    /// From an address that has not proved to be a client's.
    UnknownSource,
    /// A connectivity check that names no connection, or something that is not signed by its client.
    Unauthentic,
}

/// A published track and its publisher and subscribers.
struct Published {
    source: Source,
    peer: usize,
    /// Peer and index of the track there.
    subscribers: Vec<(usize, usize)>,
    level: f32,
    packets_seen: u64,
    /// Its publisher counts as speaking until then.
    speaks_until: Option<Instant>,
}

impl Published {
    fn origin(&self, now: Instant) -> Origin<'_> {
        Origin { source: &self.source, speaks: self.speaks_until.is_some_and(|until| now < until) }
    }
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
struct Route {
    peer: usize,
    side: Side,
}

/// A media thread's state.
pub struct Shard {
    config: ShardConfig,
    peers: Slab<Peer>,
    by_handle: HashMap<PeerHandle, usize>,
    published: Slab<Published>,
    by_source: HashMap<SourceKey, usize>,
    by_ufrag: HashMap<Box<[u8]>, Route>,
    by_path: HashMap<(PathProtocol, SocketAddr), Route>,
    paths: HashMap<(usize, Side), Vec<(PathProtocol, SocketAddr)>>,
    timers: BTreeSet<(Instant, usize, Side)>,
    next_tick: Instant,
    /// Peers whose packets wait, or who are being probed; looked after every [`crate::pacer::TICK`].
    pacing: Vec<usize>,
    next_pace: Option<Instant>,
    /// Peers that are to be asked for packets that are missing.
    asked: Vec<usize>,
    next_ask: Option<Instant>,
    next_levels: Instant,
    next_quality: Instant,
    events: VecDeque<Event>,
    lost: Vec<(usize, Failure)>,
    /// What is to be sent.
    pub queue: SendQueue,
    counts: Counts,
    /// Whether the last packet of a picture that came in was not its end.
    in_picture: bool,
    highest_layer: Option<usize>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.config.id).field("peers", &self.peers.len()).finish()
    }
}

impl Shard {
    /// A shard without peers.
    pub fn new(now: Instant, config: ShardConfig) -> Self {
        Self {
            config,
            peers: Slab::new(),
            by_handle: HashMap::new(),
            published: Slab::new(),
            by_source: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_path: HashMap::new(),
            paths: HashMap::new(),
            timers: BTreeSet::new(),
            next_tick: now,
            pacing: Vec::new(),
            next_pace: None,
            asked: Vec::new(),
            next_ask: None,
            next_levels: now,
            next_quality: now + QUALITY_INTERVAL,
            events: VecDeque::new(),
            lost: Vec::new(),
            queue: SendQueue::default(),
            counts: Counts::default(),
            in_picture: false,
            highest_layer: None,
            scratch: Vec::new(),
        }
    }

    /// Number of peers.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Sends nobody a layer of pictures above that, for there is too much to do; no bound for `None`.
    pub fn limit_layers(&mut self, now: Instant, highest: Option<usize>) {
        if std::mem::replace(&mut self.highest_layer, highest) == highest {
            return;
        }
        for (_, peer) in &mut self.peers {
            peer.egress.limit_layers(now, highest);
        }
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        Counts { sent: std::mem::take(&mut self.queue.sent), ..std::mem::take(&mut self.counts) }
    }

    /// Whether more of a picture is about to come, as the packet that came in last was not the end of it. Those who
    /// gather what leaves may wait a moment for it. Said once.
    pub fn expects_more(&mut self) -> bool {
        std::mem::take(&mut self.in_picture)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Shard::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Instant {
        let tick =
            if self.peers.is_empty() { self.next_tick + Duration::from_secs(1) } else { self.next_tick };
        let timer = self.timers.first().map(|(at, _, _)| *at);
        [timer, self.next_pace, self.next_ask].into_iter().flatten().fold(tick, Instant::min)
    }

    /// A datagram came in.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Received {
        let Some(kind) = DatagramKind::of(datagram) else { return Received::Dropped(DropReason::Malformed) };
        let known = self.by_path.get(&(path.protocol, path.remote)).copied();
        let check = if kind == DatagramKind::Stun { stun_request(datagram) } else { None };
        let route = match (known, check) {
            // A path that was used by an earlier connection may belong to a new one: the check says to which.
            (known, Some(check)) => match self.by_ufrag.get(check.ufrag).copied() {
                Some(route) => {
                    if !self.peers[route.peer].connection(route.side).transport.accepts(now, &path, datagram)
                    {
                        return Received::Dropped(DropReason::Unauthentic);
                    }
                    self.learn(path, route, known);
                    self.peers[route.peer].connection(route.side).is_checked = true;
                    if check.nominates {
                        let requests = self.peers[route.peer].nominated(route.side, path);
                        self.serve(now, route.peer, requests);
                    }
                    route
                }
                None => {
                    return match IceCredentials::shard_of(check.ufrag) {
                        Some(shard) if shard != self.config.id => Received::Foreign(shard),
                        _ => Received::Dropped(DropReason::Unauthentic),
                    };
                }
            },
            (Some(route), None) => route,
            (None, None) => return Received::Dropped(DropReason::UnknownSource),
        };
        let taken = self.guarded(route.peer, |shard| {
            fault::point(Point::Datagram);
            match kind {
                DatagramKind::Rtp => shard.handle_media(now, route, path, datagram),
                DatagramKind::Rtcp => shard.handle_report(now, route, path, datagram),
                DatagramKind::Stun | DatagramKind::Dtls => {
                    let connection = shard.peers[route.peer].connection(route.side);
                    let handled = connection.transport.handle(now, &path, datagram);
                    shard.drain_or_lose(now, route, handled);
                    true
                }
            }
        });
        self.bury();
        if taken.unwrap_or(true) { Received::Taken } else { Received::Dropped(DropReason::Unauthentic) }
    }

    /// Remembers that a path leads to a connection.
    fn learn(&mut self, path: Path, route: Route, known: Option<Route>) {
        let key = (path.protocol, path.remote);
        if known.is_some_and(|known| known.peer == route.peer && known.side == route.side) {
            return;
        }
        if let Some(known) = known
            && let Some(paths) = self.paths.get_mut(&(known.peer, known.side))
        {
            paths.retain(|own| *own != key);
        }
        let paths = self.paths.entry((route.peer, route.side)).or_default();
        paths.push(key);
        if paths.len() > MAX_PATHS {
            let oldest = paths.remove(0);
            self.by_path.remove(&oldest);
        }
        self.by_path.insert(key, route);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, peer, side)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(owner) = self.peers.get_mut(peer) else { continue };
            owner.connection(side).timer = None;
            self.guarded(peer, |shard| {
                let handled = shard.peers[peer].connection(side).transport.handle_timeout(now);
                shard.drain_or_lose(now, Route { peer, side }, handled);
            });
        }
        if self.next_pace.is_some_and(|at| now >= at) {
            self.pace(now);
        }
        if self.next_ask.is_some_and(|at| now >= at) {
            self.ask(now);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        self.bury();
    }

    /// The room wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.command(now, command);
        self.bury();
    }
}

/// Whether a window of sound levels ends now.
fn due(next: &mut Instant, now: Instant, interval: Duration) -> bool {
    let due = now >= *next;
    if due {
        *next = now + interval;
    }
    due
}

/// Length of a window of sound levels.
const LEVELS: Duration = LevelMeter::WINDOW;
