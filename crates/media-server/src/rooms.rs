//! Rooms as tasks, and the register of them.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use livekit_protocol::signal_request::Message as Request;
use plenum_media::ids::{Identity, NodeId, PeerHandle, RoomId, RoomName};
use plenum_media::room::{
    ApiCall, ApiError, ApiReply, Command, Effect, Moment, Room, RoomOptions, ServerFacts,
};
use plenum_media::shard;
use plenum_media::signalling::JoinParams;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};

use crate::metrics_names as names;
use crate::outbox::{Letter, Outbox, Outgoing};
use crate::tally::{Node, Tally};
use crate::thread::{Health, ShardHandle, ToShard};
use crate::webhook::{RoomWebhooks, Webhooks};

/// Messages that may wait for a room.
const INBOX: usize = 1_024;

/// To a room.
#[derive(Debug)]
pub(crate) enum RoomMessage {
    Join {
        params: Box<JoinParams>,
        outbox: Outbox,
        admitted: oneshot::Sender<Seat>,
    },
    /// Somebody goes on as the participant `sid`, if there is one to go on as.
    Resume {
        identity: Identity,
        sid: String,
        outbox: Outbox,
        admitted: oneshot::Sender<Seat>,
    },
    Signal {
        seat: Seat,
        request: Box<Request>,
    },
    SignalClosed {
        seat: Seat,
    },
    Media(shard::Event),
    Api {
        call: Box<ApiCall>,
        reply: oneshot::Sender<Result<ApiReply, ApiError>>,
    },
    Drain,
}

/// A participant's signal connection. A resumed session has a new one, and what comes on an earlier one counts no
/// more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    peer: PeerHandle,
    connection: u64,
}

impl Seat {
    /// Number of the participant in logs.
    pub(crate) fn participant(self) -> u64 {
        self.peer.key
    }
}

/// A way to a room.
#[derive(Clone, Debug)]
pub(crate) struct RoomHandle {
    id: RoomId,
    inbox: mpsc::Sender<RoomMessage>,
}

impl RoomHandle {
    /// Sends a message; `false` if the room is over.
    pub(crate) async fn send(&self, message: RoomMessage) -> bool {
        self.inbox.send(message).await.is_ok()
    }
}

/// There are as many rooms as there may be, the media threads have enough to do, or the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// All rooms of the server.
pub(crate) struct Rooms {
    by_name: Mutex<Register>,
    facts: Arc<ServerFacts>,
    node: Node,
    shards: Vec<ShardHandle>,
    health: Health,
    webhooks: Mutex<Option<Webhooks>>,
    next: AtomicU64,
    /// Dropped by each room when it is over.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

#[derive(Default)]
struct Register {
    rooms: HashMap<RoomName, RoomHandle>,
    draining: bool,
}

impl Rooms {
    pub(crate) fn new(
        facts: Arc<ServerFacts>,
        shards: Vec<ShardHandle>,
        health: Health,
        webhooks: Webhooks,
    ) -> (Arc<Self>, mpsc::Receiver<()>) {
        let (alive, all_over) = mpsc::channel(1);
        let rooms = Self {
            by_name: Mutex::new(Register::default()),
            node: Node::new(&facts.node_id),
            facts,
            shards,
            health,
            webhooks: Mutex::new(Some(webhooks)),
            next: AtomicU64::new(1),
            alive: Mutex::new(Some(alive)),
        };
        (Arc::new(rooms), all_over)
    }

    pub(crate) fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// For counts.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    fn register(&self) -> std::sync::MutexGuard<'_, Register> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room of that name, if it is there.
    pub(crate) fn get(&self, name: &RoomName) -> Option<RoomHandle> {
        self.register().rooms.get(name).cloned()
    }

    /// All rooms.
    pub(crate) fn all(&self) -> Vec<RoomHandle> {
        self.register().rooms.values().cloned().collect()
    }

    /// Whether a room that is not there may be made by somebody who joins; `granted`: the token says so.
    pub(crate) fn may_create(&self, granted: bool) -> bool {
        granted || self.facts.rooms.auto_create
    }

    /// Whether the room of that name is not there and cannot be made.
    pub(crate) fn is_full(&self, name: &RoomName) -> bool {
        let register = self.register();
        !self.takes_another(&register) && !register.rooms.contains_key(name)
    }

    fn takes_another(&self, register: &Register) -> bool {
        !register.draining && register.rooms.len() < self.facts.limits.rooms && !self.health.is_overloaded()
    }

    /// The room of that name, made if it is not there; and whether it was made.
    pub(crate) fn get_or_create(
        self: &Arc<Self>,
        name: &RoomName,
        options: &RoomOptions,
    ) -> Result<(RoomHandle, bool), NoRoom> {
        let mut register = self.register();
        if let Some(room) = register.rooms.get(name).filter(|room| !room.inbox.is_closed()) {
            return Ok((room.clone(), false));
        }
        if !self.takes_another(&register) {
            return Err(NoRoom);
        }
        let id = RoomId(self.next.fetch_add(1, Ordering::Relaxed));
        let (inbox, messages) = mpsc::channel(INBOX);
        let handle = RoomHandle { id, inbox: inbox.clone() };
        register.rooms.insert(name.clone(), handle.clone());
        metrics::gauge!(names::ROOMS).set(register.rooms.len() as f64);
        drop(register);

        // A room lives whole on one media thread: the one with the least to do, or another of those that do nothing yet.
        let turn = id.0 as usize % self.shards.len();
        let shard = self.shards[self.health.place(turn)].clone();
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let (room, effects) = Room::new(&mut moment(&mut rng), id, name.clone(), options, self.facts.clone());
        // Named as the meeting names it, so that one search finds all lines of a meeting.
        let span = tracing::info_span!("room", room.id = name.as_str(), room.media_sid = room.sid());
        let task = RoomTask {
            room,
            shard,
            outboxes: HashMap::new(),
            replies: HashMap::new(),
            next_reply: 0,
            next_peer: id.0 << 32,
            next_connection: 0,
            webhooks: self.room_webhooks(),
            rng,
            rooms: self.clone(),
            name: name.clone(),
            tally: Tally::new(self.node.clone()),
            lost: VecDeque::new(),
            closed: false,
        };
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(tracing::Instrument::instrument(
            async move {
                task.run(inbox.downgrade(), messages, effects).await;
                drop(alive);
            },
            span,
        ));
        Ok((handle, true))
    }

    fn room_webhooks(&self) -> RoomWebhooks {
        let webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        webhooks.as_ref().map(Webhooks::for_room).unwrap_or_default()
    }

    /// No room will post webhooks any more.
    pub(crate) fn close_webhooks(&self) {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn forget(&self, name: &RoomName, id: RoomId) {
        let mut register = self.register();
        if register.rooms.get(name).is_some_and(|room| room.id == id) {
            register.rooms.remove(name);
        }
        metrics::gauge!(names::ROOMS).set(register.rooms.len() as f64);
    }

    /// Makes no more rooms.
    pub(crate) fn close(&self) {
        self.register().draining = true;
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends the rooms that are there; clients are told to come again.
    pub(crate) async fn drain(&self) {
        for room in self.all() {
            room.send(RoomMessage::Drain).await;
        }
    }
}

fn moment(rng: &mut StdRng) -> Moment<'_> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { now: Instant::now(), unix_ms: unix.as_millis() as u64, rng }
}

struct RoomTask {
    room: Room,
    shard: ShardHandle,
    /// The signal connection of each participant who has one.
    outboxes: HashMap<PeerHandle, (u64, Outbox)>,
    replies: HashMap<u64, oneshot::Sender<Result<ApiReply, ApiError>>>,
    next_reply: u64,
    next_peer: u64,
    next_connection: u64,
    webhooks: RoomWebhooks,
    rng: StdRng,
    rooms: Arc<Rooms>,
    name: RoomName,
    tally: Tally,
    /// Clients that do not take their messages.
    lost: VecDeque<PeerHandle>,
    closed: bool,
}

impl RoomTask {
    async fn run(
        mut self,
        events: mpsc::WeakSender<RoomMessage>,
        mut messages: mpsc::Receiver<RoomMessage>,
        effects: Vec<Effect>,
    ) {
        tracing::info!("Room opened");
        if let Some(events) = events.upgrade() {
            self.shard.send(ToShard::Register { room: self.room.id(), events }).await;
        }
        self.perform(effects).await;
        while !self.closed {
            let deadline = self.room.next_timeout();
            let command = tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.command(message),
                    None => break,
                },
                () = sleep_until(deadline) => Some(Command::Timeout),
            };
            if let Some(command) = command {
                self.step(command).await;
            }
            while let Some(peer) = self.lost.pop_front() {
                self.step(Command::SignalClosed { peer }).await;
            }
        }
        self.shard.send(ToShard::Unregister { room: self.room.id() }).await;
        self.rooms.forget(&self.name, self.room.id());
        tracing::info!("Room closed");
    }

    fn command(&mut self, message: RoomMessage) -> Option<Command> {
        Some(match message {
            RoomMessage::Join { params, outbox, admitted } => {
                self.next_peer += 1;
                let peer = PeerHandle { node: NodeId(0), shard: self.shard.id, key: self.next_peer };
                self.seat(peer, outbox, admitted)?;
                self.tally.coming(peer, params.protocol);
                Command::Join { params, peer }
            }
            RoomMessage::Resume { identity, sid, outbox, admitted } => {
                let peer = self.room.resumable(&identity, &sid)?;
                self.seat(peer, outbox, admitted)?;
                Command::Resume { peer }
            }
            RoomMessage::Signal { seat, request } => Command::Signal { peer: self.seated(seat)?, request },
            RoomMessage::SignalClosed { seat } => {
                let peer = self.seated(seat)?;
                self.outboxes.remove(&peer);
                Command::SignalClosed { peer }
            }
            RoomMessage::Media(event) => Command::Media(event),
            RoomMessage::Api { call, reply } => {
                self.next_reply += 1;
                self.replies.insert(self.next_reply, reply);
                Command::Api { id: self.next_reply, call: *call }
            }
            RoomMessage::Drain => Command::Drain,
        })
    }

    /// Gives a participant this signal connection; one from before is closed. `None` if it is gone already.
    fn seat(&mut self, peer: PeerHandle, outbox: Outbox, admitted: oneshot::Sender<Seat>) -> Option<()> {
        self.next_connection += 1;
        let connection = self.next_connection;
        admitted.send(Seat { peer, connection }).ok()?;
        self.outboxes.insert(peer, (connection, outbox));
        Some(())
    }

    /// Whose signal connection this is; `None` if it has another by now.
    fn seated(&self, seat: Seat) -> Option<PeerHandle> {
        let (connection, _) = self.outboxes.get(&seat.peer)?;
        (*connection == seat.connection).then_some(seat.peer)
    }

    async fn step(&mut self, command: Command) {
        let Self { room, rng, .. } = self;
        match catch_unwind(AssertUnwindSafe(|| room.step(&mut moment(rng), command))) {
            Ok(effects) => self.perform(effects).await,
            Err(_) => {
                // The room's state cannot be trusted any more. Its people come again and make a new one.
                tracing::error!("A room has failed and is closed");
                for (peer, _) in std::mem::take(&mut self.outboxes) {
                    let command = Box::new(shard::Command::RemovePeer { peer });
                    self.shard.send(ToShard::Command(command)).await;
                }
                self.closed = true;
            }
        }
    }

    /// Does what the room wants, in its order.
    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.tally.see(&effect);
            match effect {
                Effect::Signal { to, message } => {
                    let letter = Letter::new(*message);
                    for peer in to {
                        self.tell(peer, Outgoing::Message(letter.clone()));
                    }
                }
                Effect::CloseSignal { peer } => {
                    self.tell(peer, Outgoing::Close);
                    self.outboxes.remove(&peer);
                }
                Effect::Shard { command, .. } => self.shard.send(ToShard::Command(command)).await,
                Effect::Webhook(event) => self.webhooks.post(&event),
                Effect::Reply { id, result } => {
                    if let Some(reply) = self.replies.remove(&id) {
                        let _ = reply.send(result);
                    }
                }
                // Only counted.
                Effect::Rated { .. } => {}
                Effect::Closed => self.closed = true,
            }
        }
    }

    fn tell(&mut self, peer: PeerHandle, message: Outgoing) {
        let Some((_, outbox)) = self.outboxes.get(&peer) else { return };
        if outbox.send(message).is_err() {
            tracing::debug!(participant.id = peer.key, "A client does not take its messages and is cut off");
            self.outboxes.remove(&peer);
            self.lost.push_back(peer);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
