//! A media thread: a loop around a shard, its socket and its inbox.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use plenum_media::ids::{RoomId, ShardId};
use plenum_media::overload::Overload;
use plenum_media::sending::{Path, PathProtocol};
use plenum_media::shard::{self, DropReason, EventKind, Received, Shard, ShardConfig};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use crate::metrics_names as names;
use crate::rooms::RoomMessage;
use crate::socket::MediaSocket;
use crate::tally::Node;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// Messages that may wait for a thread.
const INBOX: usize = 8_192;
/// Batches and messages of one turn, so that neither side starves the other.
const BATCHES: usize = 8;
const MESSAGES: usize = 512;
/// Data messages that may wait for one busy room; beyond, they are dropped.
const PENDING_DATA: usize = 1_024;
/// Time for the rest of a picture to come in: its packets leave together then, in one message to each receiver instead of
/// one for each packet. Senders let packets of a picture go in bursts.
const REST_OF_PICTURE: Duration = Duration::from_micros(100);
/// How often a thread looks back on what it had to do; later if there is nothing to do.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Frames that may wait for a TCP client; beyond, frames are dropped as a network would.
pub(crate) const TCP_OUTBOX: usize = 512;

/// To a media thread.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// From a room.
    Command(Box<shard::Command>),
    /// A room's events go there from now on.
    Register { room: RoomId, events: mpsc::Sender<RoomMessage> },
    /// The room is over.
    Unregister { room: RoomId },
    /// A datagram that came in elsewhere: at another thread's socket, or over TCP. `teach`: a thread that wants to know
    /// whether its sender is really a client here.
    Datagram { path: Path, bytes: Box<[u8]>, teach: Option<ShardId> },
    /// The clients at this address are that thread's: it has taken a signed check from there.
    Learned { remote: SocketAddr, owner: ShardId },
    /// Somebody is there over TCP and says this. `accepted`: whether it is really a client's; from then on frames to it
    /// go to `frames`.
    TcpCheck {
        path: Path,
        bytes: Box<[u8]>,
        frames: mpsc::Sender<Box<[u8]>>,
        accepted: oneshot::Sender<bool>,
    },
    /// It is gone.
    TcpClosed { remote: SocketAddr },
    /// The end.
    Stop,
}

/// A way to a media thread.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    pub(crate) id: ShardId,
    inbox: mpsc::Sender<ToShard>,
    waker: Arc<Waker>,
}

impl std::fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardHandle").field(&self.id).finish()
    }
}

impl ShardHandle {
    /// Sends a message and waits while the inbox is full.
    pub(crate) async fn send(&self, message: ToShard) {
        if self.inbox.send(message).await.is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// Sends a message unless the inbox is full.
    pub(crate) fn try_send(&self, message: ToShard) -> bool {
        let taken = self.inbox.try_send(message).is_ok();
        let _ = self.waker.wake();
        taken
    }
}

/// How the media threads do.
#[derive(Debug, Clone)]
pub struct Health {
    /// One that has ended takes its rooms with it, and each new room may be given to it.
    ended: Arc<AtomicUsize>,
    /// Of each thread, the part of its time that it works, in thousandths; [`REFUSES`] on top if it takes no new rooms.
    busy: Arc<[AtomicU32]>,
}

/// Said on top of how busy a thread is.
const REFUSES: u32 = 1 << 16;
/// Threads that differ by no more have the same to do, in thousandths.
const ABOUT: u32 = 100;

impl Health {
    fn new(threads: usize) -> Self {
        Self { ended: Arc::default(), busy: (0..threads).map(|_| AtomicU32::new(0)).collect() }
    }

    /// `false` once a thread has ended, by a failure of the system, by a bug, or because the server was drained.
    pub fn is_healthy(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == 0
    }

    /// Whether no thread takes another room.
    pub fn is_overloaded(&self) -> bool {
        self.loads().all(|load| load >= REFUSES)
    }

    /// The thread for another room: one of those that have about the least to do, in turn, for measurements are a second
    /// old.
    pub(crate) fn place(&self, turn: usize) -> usize {
        let least = self.loads().min().unwrap_or_default();
        let is_free = |load: u32| load <= least + ABOUT;
        let free: Vec<usize> =
            self.loads().enumerate().filter(|(_, load)| is_free(*load)).map(|(index, _)| index).collect();
        free[turn % free.len()]
    }

    fn loads(&self) -> impl Iterator<Item = u32> {
        self.busy.iter().map(|busy| busy.load(Ordering::Relaxed))
    }

    fn note(&self, thread: ShardId, overload: &Overload) {
        let thousandths = (overload.busy().clamp(0.0, 1.0) * 1_000.0) as u32;
        let refuses = if overload.refuses_rooms() { REFUSES } else { 0 };
        self.busy[usize::from(thread.0)].store(thousandths + refuses, Ordering::Relaxed);
    }

    /// To be kept by a thread for as long as it runs.
    fn watch(&self) -> Running {
        Running(self.clone())
    }
}

/// Counts its thread as ended when it is dropped, by a panic too.
struct Running(Health);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The media threads.
pub(crate) struct Threads {
    pub(crate) handles: Vec<ShardHandle>,
    pub(crate) joins: Vec<std::thread::JoinHandle<()>>,
    pub(crate) health: Health,
}

/// Makes the threads, one for each socket.
pub(crate) fn start(
    sockets: Vec<std::net::UdpSocket>,
    node: &Node,
    load_ceiling: f32,
    config: impl Fn(ShardId) -> ShardConfig,
) -> io::Result<Threads> {
    let mut parts = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (inbox, messages) = mpsc::channel(INBOX);
        let handle = ShardHandle { id: ShardId(index as u16), inbox, waker };
        parts.push((handle, poll, messages, MediaSocket::new(socket)?));
    }
    let handles: Vec<ShardHandle> = parts.iter().map(|(handle, ..)| handle.clone()).collect();
    let health = Health::new(handles.len());
    let mut joins = Vec::new();
    for (handle, poll, messages, socket) in parts {
        let mut worker = Worker {
            id: handle.id,
            shard: Shard::new(Instant::now(), config(handle.id)),
            socket,
            messages,
            all: handles.clone(),
            rooms: HashMap::new(),
            tcp: HashMap::new(),
            foreign: HashMap::new(),
            pending: VecDeque::new(),
            node: node.clone(),
            datagrams: Datagrams::default(),
            measured: Instant::now(),
            worked: Duration::ZERO,
            overload: Overload::new(load_ceiling),
            health: health.clone(),
            stopped: false,
        };
        let name = format!("media-{}", handle.id.0);
        let running = health.watch();
        let run = move || {
            worker.run(poll);
            drop(running);
        };
        joins.push(std::thread::Builder::new().name(name).spawn(run)?);
    }
    Ok(Threads { handles, joins, health })
}

struct Worker {
    id: ShardId,
    shard: Shard,
    socket: MediaSocket,
    messages: mpsc::Receiver<ToShard>,
    all: Vec<ShardHandle>,
    rooms: HashMap<RoomId, mpsc::Sender<RoomMessage>>,
    tcp: HashMap<SocketAddr, mpsc::Sender<Box<[u8]>>>,
    /// Addresses whose connections another thread has, as that thread said; asked only about those that are not known
    /// here, so that nobody can lead another's packets away. Bounded.
    foreign: HashMap<SocketAddr, ShardId>,
    pending: VecDeque<shard::Event>,
    node: Node,
    datagrams: Datagrams,
    /// When it was last measured how much there is to do, and how long it has worked since.
    measured: Instant,
    worked: Duration,
    overload: Overload,
    health: Health,
    stopped: bool,
}

/// Counters of every turn.
struct Datagrams {
    received: metrics::Counter,
    sent: metrics::Counter,
    unsent: metrics::Counter,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            received: metrics::counter!(names::DATAGRAMS_RECEIVED),
            sent: metrics::counter!(names::DATAGRAMS_SENT),
            unsent: metrics::counter!(names::DATAGRAMS_UNSENT),
        }
    }
}

/// Addresses that a thread remembers to belong to others.
const MAX_FOREIGN: usize = 65_536;

impl Worker {
    fn run(&mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(64);
        if let Err(error) = poll.registry().register(self.socket.source(), SOCKET, Interest::READABLE) {
            tracing::error!(%error, "A media thread cannot watch its socket");
            return;
        }
        let mut more = false;
        sleep_exactly();
        while !self.stopped {
            let now = Instant::now();
            let wait = if more || !self.pending.is_empty() {
                if more { Duration::ZERO } else { Duration::from_millis(5) }
            } else {
                self.shard.next_timeout().saturating_duration_since(now)
            };
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "A media thread cannot wait for its socket");
                return;
            }
            let mut woken = Instant::now();
            // Readiness is told once, so everything is read until there is nothing, over as many turns as it takes.
            more = self.receive();
            if !more && self.shard.expects_more() {
                let before = Instant::now();
                std::thread::sleep(REST_OF_PICTURE);
                woken += before.elapsed();
                more = self.receive();
            }
            more |= self.take_messages();
            let now = Instant::now();
            if self.shard.next_timeout() <= now {
                self.shard.handle_timeout(now);
            }
            self.deliver_events();
            self.flush();
            let done = Instant::now();
            self.worked += done - woken;
            if done - self.measured >= MEASURE_INTERVAL {
                self.measure(done);
            }
        }
    }

    /// Looks back on the last second.
    fn measure(&mut self, now: Instant) {
        let passed = now - std::mem::replace(&mut self.measured, now);
        let worked = std::mem::take(&mut self.worked);
        let before = (self.overload.refuses_rooms(), self.overload.highest_layer());
        self.overload.measured(now, worked.as_secs_f32() / passed.as_secs_f32());
        let after = (self.overload.refuses_rooms(), self.overload.highest_layer());
        if after != before {
            tracing::warn!(
                thread = self.id.0,
                busy = self.overload.busy(),
                takes_rooms = !after.0,
                highest_layer = after.1,
                "How much a media thread has to do has changed what it does"
            );
        }
        self.shard.limit_layers(now, self.overload.highest_layer());
        self.health.note(self.id, &self.overload);
        self.node.add_counts(&self.shard.take_counts());
        self.node.set_busy(self.id, self.overload.busy());
    }

    fn receive(&mut self) -> bool {
        for _ in 0..BATCHES {
            let Self { socket, shard, all, foreign, id, .. } = self;
            let mut received = 0;
            let now = Instant::now();
            let result = socket.receive(|path, datagram| {
                received += 1;
                match shard.handle_datagram(now, path, datagram) {
                    Received::Taken => {}
                    Received::Foreign(owner) => {
                        let known = foreign.get(&path.remote) == Some(&owner);
                        forward(all, owner, path, datagram, (!known).then_some(*id));
                    }
                    Received::Dropped(DropReason::UnknownSource) => match foreign.get(&path.remote) {
                        Some(owner) => forward(all, *owner, path, datagram, None),
                        None => dropped(DropReason::UnknownSource),
                    },
                    Received::Dropped(reason) => dropped(reason),
                }
            });
            self.datagrams.received.increment(received);
            match result {
                // What has come in leaves in the same turn.
                Ok(true) => self.flush(),
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(%error, "Receiving from the media port failed");
                    return false;
                }
            }
        }
        true
    }

    fn take_messages(&mut self) -> bool {
        for _ in 0..MESSAGES {
            let Ok(message) = self.messages.try_recv() else { return false };
            let now = Instant::now();
            match message {
                ToShard::Command(command) => self.shard.handle_command(now, *command),
                ToShard::Register { room, events } => _ = self.rooms.insert(room, events),
                ToShard::Unregister { room } => _ = self.rooms.remove(&room),
                ToShard::Datagram { path, bytes, teach } => {
                    match self.shard.handle_datagram(now, path, &bytes) {
                        Received::Taken => {
                            let student = teach.and_then(|student| self.all.get(usize::from(student.0)));
                            if let Some(student) = student {
                                student.try_send(ToShard::Learned { remote: path.remote, owner: self.id });
                            }
                        }
                        // Only a thread's own socket passes on; from another thread it would go round.
                        Received::Foreign(_) => dropped(DropReason::Unauthentic),
                        Received::Dropped(reason) => dropped(reason),
                    }
                }
                ToShard::Learned { remote, owner } => {
                    if self.foreign.len() >= MAX_FOREIGN
                        && let Some(other) = self.foreign.keys().next().copied()
                    {
                        self.foreign.remove(&other);
                    }
                    self.foreign.insert(remote, owner);
                }
                ToShard::TcpCheck { path, bytes, frames, accepted } => {
                    let received = self.shard.handle_datagram(now, path, &bytes);
                    match received {
                        Received::Taken => _ = self.tcp.insert(path.remote, frames),
                        Received::Foreign(_) => dropped(DropReason::Unauthentic),
                        Received::Dropped(reason) => dropped(reason),
                    }
                    let _ = accepted.send(received == Received::Taken);
                }
                ToShard::TcpClosed { remote } => _ = self.tcp.remove(&remote),
                ToShard::Stop => self.stopped = true,
            }
        }
        true
    }

    fn deliver_events(&mut self) {
        let mut data_waiting: HashMap<RoomId, usize> = HashMap::new();
        for event in self.pending.iter().filter(|event| matches!(event.kind, EventKind::Data { .. })) {
            *data_waiting.entry(event.room).or_default() += 1;
        }
        while let Some(event) = self.shard.poll_event() {
            if matches!(event.kind, EventKind::Data { .. }) {
                // One room's flood takes no place from another room.
                let waiting = data_waiting.entry(event.room).or_default();
                if *waiting >= PENDING_DATA {
                    metrics::counter!(names::DATA_DROPPED).increment(1);
                    continue;
                }
                *waiting += 1;
            }
            if let EventKind::Quality(quality) = &event.kind {
                self.node.observe_quality(quality);
            }
            self.pending.push_back(event);
        }
        // In order for each room: once one event of a room has to wait, those after it wait too.
        let mut busy: Vec<RoomId> = Vec::new();
        let mut waiting = VecDeque::new();
        for event in self.pending.drain(..) {
            let Some(events) = self.rooms.get(&event.room) else { continue };
            if busy.contains(&event.room) {
                waiting.push_back(event);
                continue;
            }
            let room = event.room;
            if let Err(TrySendError::Full(RoomMessage::Media(event))) =
                events.try_send(RoomMessage::Media(event))
            {
                busy.push(room);
                waiting.push_back(event);
            }
        }
        self.pending = waiting;
    }

    fn flush(&mut self) {
        if self.shard.queue.is_empty() {
            return;
        }
        self.shard.queue.gather();
        let (sent, unsent) = self.socket.send(&self.shard.queue);
        self.datagrams.sent.increment(sent);
        self.datagrams.unsent.increment(unsent);
        if !self.tcp.is_empty() {
            for (bytes, path) in self.shard.queue.iter() {
                if path.protocol == PathProtocol::Tcp
                    && let Some(frames) = self.tcp.get(&path.remote)
                {
                    let _ = frames.try_send(bytes.into());
                }
            }
        }
        self.shard.queue.clear();
    }
}

fn forward(all: &[ShardHandle], owner: ShardId, path: Path, datagram: &[u8], teach: Option<ShardId>) {
    match all.get(usize::from(owner.0)) {
        Some(handle) => {
            if !handle.try_send(ToShard::Datagram { path, bytes: datagram.into(), teach }) {
                metrics::counter!(names::DATAGRAMS_DROPPED, "reason" => "busy").increment(1);
            }
        }
        None => dropped(DropReason::Unauthentic),
    }
}

/// Lets short sleeps of this thread end when they should: by default Linux adds up to 50 µs.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

fn dropped(reason: DropReason) {
    let reason = match reason {
        DropReason::Malformed => "malformed",
        DropReason::UnknownSource => "unknown_source",
        DropReason::Unauthentic => "unauthentic",
    };
    metrics::counter!(names::DATAGRAMS_DROPPED, "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use plenum_media::transport::Certificate;

    use super::*;
    use crate::{BindScope, socket};

    fn threads() -> Threads {
        let sockets = socket::bind(BindScope::Loopback, 0, 2).expect("a free port");
        let certificate = Certificate::generate();
        let config = |id| ShardConfig { id, certificate: certificate.clone(), local: Arc::default() };
        start(sockets, &Node::new("ND_test"), 1.0, config).expect("threads")
    }

    #[tokio::test]
    async fn one_thread_that_ends_is_noticed() {
        let Threads { handles, joins, health } = threads();
        assert!(health.is_healthy());
        handles[1].send(ToShard::Stop).await;
        let mut joins = joins.into_iter();
        let first = joins.next().expect("two threads");
        joins.next().expect("two threads").join().expect("it ends quietly");
        assert!(!health.is_healthy());
        handles[0].send(ToShard::Stop).await;
        first.join().expect("it ends quietly");
    }

    #[test]
    fn rooms_go_where_there_is_the_least_to_do() {
        let health = Health::new(3);
        let place = |turns: usize| (0..turns).map(|turn| health.place(turn)).collect::<Vec<_>>();
        assert_eq!(place(4), [0, 1, 2, 0]);
        let load = |thread: u16, busy: f32| {
            let mut overload = Overload::new(0.8);
            let start = Instant::now();
            (0..10).for_each(|second| overload.measured(start + Duration::from_secs(second), busy));
            health.note(ShardId(thread), &overload);
        };
        load(1, 0.5);
        assert_eq!(place(3), [0, 2, 0]);
        load(0, 0.3);
        load(2, 0.95);
        assert_eq!(place(3), [0, 0, 0]);
        assert!(!health.is_overloaded());
        load(0, 0.9);
        load(1, 0.9);
        assert!(health.is_overloaded());
    }

    #[test]
    fn so_is_one_that_panics() {
        let health = Health::new(1);
        let running = health.watch();
        let thread = std::thread::spawn(move || {
            let _running = running;
            panic!("a bug in the media thread");
        });
        assert!(thread.join().is_err());
        assert!(!health.is_healthy());
    }
}
