//! What the owner of a room and the owner of its connections tell each other.

use std::sync::Arc;
use std::time::Duration;

use crate::bwe::Bitrate;
use crate::downtrack::{DownConfig, Format, Wanted};
use crate::ids::{DownKey, IceCredentials, PeerHandle, RoomId, SourceKey};
use crate::ingest::UpMedia;
use crate::sdp::PayloadTypes;
use crate::transport::Remote;

/// Which of a participant's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The client sends media on it.
    Publisher,
    /// We send media on it.
    Subscriber,
}

/// Our ends of a participant's connections.
#[derive(Debug, Clone)]
pub enum Connections {
    /// One for each direction.
    Two {
        /// Credentials of the one that the client sends media on.
        publisher: IceCredentials,
        /// Credentials of the one that we send media on.
        subscriber: IceCredentials,
    },
    /// One for both directions; it goes by [`Side::Publisher`].
    One {
        /// Its credentials.
        credentials: IceCredentials,
        /// The client's payload types.
        payload_types: PayloadTypes,
    },
}

/// From a room to a shard.
#[derive(Debug, Clone)]
pub enum Command {
    /// Somebody comes: make their connections.
    AddPeer {
        /// Who.
        peer: PeerHandle,
        /// Where.
        room: RoomId,
        /// Our ends.
        connections: Connections,
        /// Every video may be paused where the connection has no room; else screens and the speaker stay.
        allow_pause: bool,
    },
    /// Somebody goes: their tracks go as well.
    RemovePeer {
        /// Who.
        peer: PeerHandle,
    },
    /// The publisher's offer was answered.
    Publish {
        /// Who.
        peer: PeerHandle,
        /// Its facts.
        update: PublishUpdate,
    },
    /// The subscriber has answered for the first time.
    Connect {
        /// Who.
        peer: PeerHandle,
        /// Its end.
        remote: Remote,
    },
    /// The client comes by another way: connectivity checks go by new credentials, all else stays.
    RestartIce {
        /// Who.
        peer: PeerHandle,
        /// On which connection.
        side: Side,
        /// Our new credentials.
        local: IceCredentials,
        /// The client's.
        remote: IceCredentials,
    },
    /// A track is there, on an m-line of the publisher.
    AddSource {
        /// Who publishes.
        peer: PeerHandle,
        /// The track.
        source: SourceKey,
        /// Its m-line, declared before.
        mid: String,
        /// Muted from the beginning.
        muted: bool,
    },
    /// A track is gone.
    RemoveSource {
        /// The track.
        source: SourceKey,
    },
    /// A track is muted or not.
    MuteSource {
        /// The track.
        source: SourceKey,
        /// Muted.
        muted: bool,
    },
    /// Begin to send a track to somebody.
    AddDown {
        /// To whom.
        peer: PeerHandle,
        /// How.
        config: DownConfig,
    },
    /// Stop that.
    RemoveDown {
        /// To whom.
        peer: PeerHandle,
        /// What.
        key: DownKey,
    },
    /// Something else is wanted, or nothing.
    SetDown {
        /// To whom.
        peer: PeerHandle,
        /// What.
        key: DownKey,
        /// What is wanted of it now.
        wanted: Wanted,
    },
    /// Send a track in another codec from now on.
    SwitchDown {
        /// To whom.
        peer: PeerHandle,
        /// What.
        key: DownKey,
        /// Where it comes from in that codec.
        source: SourceKey,
        /// How the subscriber takes that codec.
        format: Format,
        /// What is wanted of it now.
        wanted: Wanted,
    },
    /// Send somebody no more pictures than that, whatever their connection carries (a test hook of clients).
    LimitDown {
        /// Whom.
        peer: PeerHandle,
        /// No limit when absent.
        rate: Option<Bitrate>,
    },
    /// These receive a data track from now on, each under a handle of its own.
    SetDataTrack {
        /// Who publishes it.
        peer: PeerHandle,
        /// The publisher's handle.
        handle: u16,
        /// Who receives it; nobody when it ends.
        to: Vec<(PeerHandle, u16)>,
    },
    /// Send a data message.
    SendData {
        /// To whom.
        peers: Vec<PeerHandle>,
        /// On the ordered channel or the other.
        reliable: bool,
        /// The message.
        payload: Arc<[u8]>,
    },
}

/// Facts of a publisher's offer.
#[derive(Debug, Clone, Default)]
pub struct PublishUpdate {
    /// The client's end, for the first offer.
    pub remote: Option<Remote>,
    /// Numbers of header extensions.
    pub extensions: Vec<(u8, String)>,
    /// The offer has data channels.
    pub data: bool,
    /// M-lines that the client sends on.
    pub declare: Vec<UpMedia>,
    /// M-lines that are gone.
    pub remove: Vec<String>,
}

/// From a shard to a room.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where.
    pub room: RoomId,
    /// Who.
    pub peer: PeerHandle,
    /// What.
    pub kind: EventKind,
}

/// What happened to a peer.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A connection's handshakes are done.
    Connected(Side),
    /// Both data channels to the client are open.
    ChannelsOpen,
    /// A data message came in.
    Data {
        /// On the ordered channel.
        reliable: bool,
        /// The message.
        payload: Vec<u8>,
    },
    /// The peer is lost and was removed.
    Failed(Failure),
    /// Sound levels that have changed, from 0 to 1.
    Levels(Vec<(SourceKey, f32)>),
    /// Tracks to this peer that are paused (`true`), or go on, because of what its connection carries.
    Paused(Vec<(SourceKey, bool)>),
    /// How the connections do.
    Quality(Quality),
    /// A connection is not there ten seconds after both ends were told of each other. Said once.
    Stuck {
        /// Which.
        side: Side,
        /// What it lacks.
        stage: Stage,
    },
}

/// What a connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A connectivity check of the client.
    Ice,
    /// The DTLS handshake.
    Dtls,
}

/// Why a peer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nothing comes from the client any more.
    Unreachable,
    /// The client closed its connection.
    Closed,
    /// The connection broke a rule of its protocols.
    Protocol,
    /// The client does not take reliable data as fast as it comes.
    SlowData,
    /// A bug in this server, kept to this peer.
    Panic,
}

/// Measurements since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quality {
    /// Loss of what the subscriber is sent, from 0 to 1; the worst track.
    pub down_loss: f32,
    /// Jitter of what the subscriber is sent; the worst track.
    pub down_jitter: Duration,
    /// Loss of what the publisher sends, from 0 to 1, before repair; the worst stream.
    pub up_loss: f32,
    /// Jitter of what the publisher sends; the worst stream.
    pub up_jitter: Duration,
    /// Round trip of the subscriber's connection.
    pub rtt: Duration,
    /// Whether anything is sent to the subscriber.
    pub receiving: bool,
    /// Whether something should come from the publisher.
    pub publishing: bool,
    /// Whether anything did.
    pub arriving: bool,
}
