//! A participant's connections and what belongs to them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use str0m::channel::ChannelId;

use super::STUCK_AFTER;
use super::budget::Budget;
use super::message::{Connections, Side, Stage};
use crate::counts::Counts;
use crate::egress::{Egress, Request};
use crate::ids::{IceCredentials, PeerHandle, RoomId};
use crate::ingest::Ingest;
use crate::sdp::PayloadTypes;
use crate::sending::{Path, SendQueue};
use crate::srtp::{SrtpReceiver, SrtpSender};
use crate::transport::{Certificate, DataSent, LocalAddresses, Remote, Transport, TransportError};

/// Reliable data that may wait for a client before it is given up, in bytes.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// What LiveKit's clients have a data channel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Messages that arrive, in order.
    Reliable,
    /// Messages that may be lost.
    Lossy,
    /// Packets of data tracks, which may be lost.
    Track,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Reliable, Self::Lossy, Self::Track];

    /// The label of its channel.
    fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
            Self::Track => "_data_track",
        }
    }
}

/// One connection of a peer.
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) credentials: IceCredentials,
    pub(super) connected: bool,
    /// When both ends knew of each other.
    pub(super) agreed_at: Option<Instant>,
    /// Whether a connectivity check has come.
    pub(super) is_checked: bool,
    /// Whether it was told that this connection is stuck.
    pub(super) is_stuck: bool,
    /// Whether we began the DTLS handshake.
    pub(super) we_are_client: bool,
    /// Opens what the client sends, once the handshake is done.
    pub(super) receiver: Option<SrtpReceiver>,
    pub(super) unreachable_since: Option<Instant>,
    /// The deadline under which this connection stands in the shard's timers.
    pub(super) timer: Option<Instant>,
}

/// A participant.
pub(super) struct Peer {
    pub(super) handle: PeerHandle,
    pub(super) room: RoomId,
    pub(super) publisher: Connection,
    /// `None` where one connection serves both directions.
    pub(super) subscriber: Option<Connection>,
    pub(super) ingest: Ingest,
    /// What protects reports to the publisher where it has a connection of its own; else [`Egress::sender`] does.
    pub(super) report_sender: Option<SrtpSender>,
    /// Whether the shard looks after what this peer is to be asked for.
    pub(super) is_asked: bool,
    pub(super) egress: Egress,
    /// Channels that the client has made.
    pub(super) incoming: HashMap<ChannelId, Lane>,
    /// Who receives its data tracks, and under which handles.
    pub(super) data_tracks: HashMap<u16, Vec<(PeerHandle, u16)>>,
    /// What this client may still send: media, messages, and packets of data tracks.
    pub(super) media_budget: Budget,
    pub(super) data_budget: Budget,
    pub(super) track_budget: Budget,
    /// Those to the client, by lane.
    channels: [Option<Channel>; Lane::ALL.len()],
    waiting: VecDeque<Arc<[u8]>>,
    waiting_bytes: usize,
}

/// A channel to the client.
#[derive(Debug, Clone, Copy)]
struct Channel {
    id: ChannelId,
    open: bool,
}

impl Connection {
    /// The client's end is known.
    pub(super) fn agree(&mut self, now: Instant, remote: &Remote) -> Result<(), TransportError> {
        self.agreed_at = self.agreed_at.or(Some(now));
        self.we_are_client = remote.we_are_client;
        self.transport.set_remote(remote)
    }

    /// What this connection lacks if it should be there for long. Said once.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<Stage> {
        let agreed_at = self.agreed_at.filter(|_| !self.connected && !self.is_stuck)?;
        self.is_stuck = now.saturating_duration_since(agreed_at) >= STUCK_AFTER;
        self.is_stuck.then_some(if self.is_checked { Stage::Dtls } else { Stage::Ice })
    }
}

impl Peer {
    pub(super) fn new(
        now: Instant,
        handle: PeerHandle,
        room: RoomId,
        connections: Connections,
        allow_pause: bool,
        certificate: &Certificate,
        local: &Arc<LocalAddresses>,
    ) -> Self {
        let connection = |credentials: IceCredentials| Connection {
            transport: Transport::new(now, certificate, &credentials, local.clone()),
            credentials,
            connected: false,
            agreed_at: None,
            is_checked: false,
            is_stuck: false,
            we_are_client: false,
            receiver: None,
            unreachable_since: None,
            timer: None,
        };
        let (publisher, mut subscriber, payload_types) = match connections {
            Connections::Two { publisher, subscriber } => {
                (connection(publisher), Some(connection(subscriber)), PayloadTypes::ours())
            }
            Connections::One { credentials, payload_types } => (connection(credentials), None, payload_types),
        };
        // Before the first offer, so that the client finds them when data channels come up. On a connection of both
        // directions the client makes them.
        let channels = Lane::ALL.map(|lane| {
            let transport = &mut subscriber.as_mut()?.transport;
            let id = transport.open_channel(lane.label(), lane == Lane::Reliable);
            Some(Channel { id, open: false })
        });
        Self {
            handle,
            room,
            publisher,
            subscriber,
            ingest: Ingest::new(now, payload_types),
            report_sender: None,
            is_asked: false,
            egress: Egress::new(!allow_pause),
            incoming: HashMap::new(),
            data_tracks: HashMap::new(),
            media_budget: Budget::of_media(now),
            data_budget: Budget::of_messages(now),
            track_budget: Budget::of_deliveries(now),
            channels,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    pub(super) fn connection(&mut self, side: Side) -> &mut Connection {
        match (side, &mut self.subscriber) {
            (Side::Subscriber, Some(subscriber)) => subscriber,
            (Side::Subscriber, None) | (Side::Publisher, _) => &mut self.publisher,
        }
    }

    /// The connection that we send media and data on.
    pub(super) fn down_side(&self) -> Side {
        if self.subscriber.is_some() { Side::Subscriber } else { Side::Publisher }
    }

    /// The handshake of a connection is done: its keys are used from now on.
    pub(super) fn secure(&mut self, side: Side) {
        let connection = self.connection(side);
        connection.connected = true;
        let Some(keys) = connection.transport.take_keys() else { return };
        let (sender, receiver) = keys.contexts(connection.we_are_client);
        connection.receiver = Some(receiver);
        // One sender for a connection, so that no index of its keys is used twice.
        if side == self.down_side() {
            self.egress.set_sender(sender);
        } else {
            self.report_sender = Some(sender);
        }
    }

    /// Tells the publisher what is due.
    pub(super) fn report(&mut self, now: Instant, queue: &mut SendQueue, counts: &mut Counts) {
        let sender = match self.subscriber {
            Some(_) => self.report_sender.as_mut(),
            None => self.egress.sender(),
        };
        if let Some(sender) = sender {
            counts.asked += self.ingest.report(now, sender, queue);
        }
    }

    /// The connections that there are.
    pub(super) fn sides(&self) -> impl Iterator<Item = Side> + use<> {
        std::iter::once(Side::Publisher).chain(self.subscriber.is_some().then_some(Side::Subscriber))
    }

    /// A channel is open. Returns whether now both for messages to the client are.
    pub(super) fn channel_open(&mut self, side: Side, label: &str, id: ChannelId) -> bool {
        let Some(lane) = Lane::ALL.into_iter().find(|lane| lane.label() == label) else { return false };
        if side == Side::Publisher {
            self.incoming.insert(id, lane);
        }
        if side != self.down_side() {
            return false;
        }
        let both =
            |peer: &Self| [Lane::Reliable, Lane::Lossy].into_iter().all(|lane| peer.channel(lane).is_some());
        let before = both(self);
        self.channels[lane as usize].get_or_insert(Channel { id, open: false }).open = true;
        !before && both(self)
    }

    /// The channel to the client, once it is open.
    fn channel(&self, lane: Lane) -> Option<ChannelId> {
        self.channels[lane as usize].filter(|channel| channel.open).map(|channel| channel.id)
    }

    /// Sends a packet of a data track, if the client takes it now.
    pub(super) fn send_track_packet(&mut self, packet: &[u8]) {
        if let Some(channel) = self.channel(Lane::Track) {
            let _ = self.connection(Side::Subscriber).transport.send_data(channel, packet);
        }
    }

    /// Sends a message. `false` if the peer is too slow and must be given up.
    pub(super) fn send_data(&mut self, reliable: bool, payload: &Arc<[u8]>) -> bool {
        if !reliable {
            // Lossy means just that.
            if let Some(lossy) = self.channel(Lane::Lossy) {
                let _ = self.connection(Side::Subscriber).transport.send_data(lossy, payload);
            }
            return true;
        }
        if self.waiting_bytes + payload.len() > MAX_WAITING {
            return false;
        }
        self.waiting_bytes += payload.len();
        self.waiting.push_back(payload.clone());
        self.flush_data();
        true
    }

    /// Sends what waits, as far as the client takes it.
    pub(super) fn flush_data(&mut self) {
        let Some(reliable) = self.channel(Lane::Reliable) else { return };
        while let Some(payload) = self.waiting.pop_front() {
            let transport = &mut self.connection(Side::Subscriber).transport;
            if transport.send_data(reliable, &payload) == DataSent::Full {
                self.waiting.push_front(payload);
                return;
            }
            self.waiting_bytes -= payload.len();
        }
    }

    pub(super) fn has_waiting_data(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A path on which the client proved to be: packets go there, unless reports already showed another. Returns what is
    /// needed because of that.
    pub(super) fn nominated(&mut self, side: Side, path: Path) -> Vec<Request> {
        self.connection(side).transport.nominated(path);
        if side == Side::Publisher {
            self.ingest.set_path(path);
        }
        if side == self.down_side() { self.egress.set_path(path) } else { Vec::new() }
    }
}
