//! The record of one room: everything that holds about it and its people, and what is still to be done (outbox).
//!
//! It is one protobuf message in one key, written by compare-and-set. The field numbers are a stored format: never
//! reuse one.

use std::collections::BTreeMap;

use plenum_protocol::plugnmeet::{ClientType, RoomMetadata, UserMetadata};

/// Unix time in milliseconds.
pub type UnixMs = u64;

/// Writes that a record remembers: a writer that got no answer looks for its own among them, and others are quick.
const NONCES_LEN_MAX: usize = 8;

/// A room and all its people.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Room {
    /// Own counter, +1 per write; names messages and settles lost answers.
    #[prost(uint64, tag = "1")]
    pub v: u64,
    /// Random per write, the newest last: tells whether a write without an answer was mine, also when others wrote on
    /// top of it since.
    #[prost(uint64, repeated, tag = "21")]
    pub nonces: Vec<u64>,
    /// Worker-stream sequence of the last applied command; one at or below it was done. See [`Position`].
    #[prost(uint64, tag = "3")]
    pub applied: u64,
    /// When the stream was made that `applied` counts in.
    #[prost(uint64, tag = "22")]
    pub applied_stream: UnixMs,
    /// [`crate::RoomId`].
    #[prost(string, tag = "4")]
    pub room_id: String,
    /// UUID of this run of the room.
    #[prost(string, tag = "5")]
    pub sid: String,
    /// Number of this run, told to clients as `db_table_id`.
    #[prost(uint64, tag = "6")]
    pub run: u64,
    /// Where in its life the room is.
    #[prost(enumeration = "Phase", tag = "7")]
    pub phase: i32,
    /// When the room was created.
    #[prost(uint64, tag = "8")]
    pub created_at: UnixMs,
    /// When media started; 0: not yet.
    #[prost(uint64, tag = "9")]
    pub started_at: UnixMs,
    /// When `ended` was decided.
    #[prost(uint64, tag = "10")]
    pub ended_at: UnixMs,
    /// Seconds without anybody online after which the room ends.
    #[prost(uint32, tag = "11")]
    pub empty_timeout_s: u32,
    /// 0: unlimited.
    #[prost(uint32, tag = "12")]
    pub max_participants: u32,
    /// Settings and features, as clients see them.
    #[prost(message, optional, boxed, tag = "13")]
    pub metadata: Option<Box<RoomMetadata>>,
    /// By user id.
    #[prost(btree_map = "string, message", tag = "14")]
    pub people: BTreeMap<String, Person>,
    /// Ids that may not come back.
    #[prost(string, repeated, tag = "15")]
    pub blocked: Vec<String>,
    /// Since when nobody is online; 0: somebody is.
    #[prost(uint64, tag = "16")]
    pub empty_since: UnixMs,
    /// What is still to be done, oldest first.
    #[prost(message, repeated, tag = "17")]
    pub outbox: Vec<Effect>,
    /// Number of the next effect of this record.
    #[prost(uint64, tag = "18")]
    pub next_effect: u64,
    /// How many different people have been online.
    #[prost(uint32, tag = "19")]
    pub joined_total: u32,
    /// Made by the landing page's host (not through the SDK's API).
    #[prost(bool, tag = "20")]
    pub from_landing_page: bool,
}

/// Place of a command in the worker stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the stream was made: one that is made anew counts from 1 again.
    pub stream: UnixMs,
    /// Sequence in it.
    pub sequence: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.stream, self.sequence)
    }
}

/// Where in its life a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Phase {
    /// Nobody has been here yet.
    Created = 0,
    /// Media has started.
    Active = 1,
    /// Joins are refused; the last messages are on their way.
    Ending = 2,
    /// Over; the record is deleted a little later.
    Ended = 3,
}

/// One person's seat.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Person {
    /// UUID of this seat; a new join token makes a new one.
    #[prost(string, tag = "1")]
    pub sid: String,
    /// As others see it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Hosts the meeting.
    #[prost(bool, tag = "3")]
    pub is_admin: bool,
    /// Not listed to others.
    #[prost(bool, tag = "4")]
    pub is_hidden: bool,
    /// As clients see it; also carries presenter, hand, locks and waiting.
    #[prost(message, optional, boxed, tag = "5")]
    pub metadata: Option<Box<UserMetadata>>,
    /// Presence.
    #[prost(enumeration = "Presence", tag = "6")]
    pub presence: i32,
    /// Counts changes of what this person may do on the broker; a connection with another value is replaced.
    #[prost(uint64, tag = "7")]
    pub rights: u64,
    /// First time online; 0: never.
    #[prost(uint64, tag = "8")]
    pub joined_at: UnixMs,
    /// Last time online again.
    #[prost(uint64, tag = "9")]
    pub reconnected_at: UnixMs,
    /// Last time gone.
    #[prost(uint64, tag = "10")]
    pub disconnected_at: UnixMs,
    /// The one connection that holds the seat.
    #[prost(message, optional, tag = "11")]
    pub connection: Option<Connection>,
    /// When the newest token of this person ends; without a seat taken, the person goes then.
    #[prost(uint64, tag = "12")]
    pub token_ends_at: UnixMs,
    /// plugNmeet's client type.
    #[prost(enumeration = "ClientType", tag = "13")]
    pub client_type: i32,
    /// The page that holds the seat, when it named itself; another page of the same person is refused.
    #[prost(string, tag = "14")]
    pub page: String,
    /// Pages that lost the seat to a later one, oldest first: one that wakes up does not take it back.
    #[prost(string, repeated, tag = "17")]
    pub pages_replaced: Vec<String>,
    /// When something about this person has to be decided: pending → closed, disconnected → offline, offline → gone.
    #[prost(uint64, tag = "15")]
    pub deadline: UnixMs,
    /// The durable's messages belong to an older page: start it anew at each connect until one is up.
    #[prost(bool, tag = "16")]
    pub fresh_durable: bool,
    /// Random; media tokens of this person carry it, and a new one follows whenever whoever is in media has to leave: a
    /// participant with another one is of before.
    #[prost(string, tag = "18")]
    pub media_seat: String,
}

/// Whether a person is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Presence {
    /// Has a token, was never here.
    Added = 0,
    /// Connected.
    Online = 1,
    /// Lost a moment ago; may come back unnoticed.
    Disconnected = 2,
    /// Gone; media is removed a little later.
    Offline = 3,
}

/// A broker connection, as the auth callout and the connection events name it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Connection {
    /// The broker's id.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The connection's number on that broker.
    #[prost(uint64, tag = "2")]
    pub client: u64,
    /// Pending → up → closed, never back.
    #[prost(enumeration = "ConnectionState", tag = "3")]
    pub state: i32,
    /// The person's `rights` when this connection was let in.
    #[prost(uint64, tag = "4")]
    pub rights: u64,
}

/// See [`Connection::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ConnectionState {
    /// Let in by the callout, not yet heard of.
    Pending = 0,
    /// Seen.
    Up = 1,
    /// Over.
    Closed = 2,
}

/// Something to do outside, decided together with the state and done at least once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Effect {
    /// Unique in the room's run, rising. Messages are named `<room sid>.<id>`.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The run it belongs to: a room recreated at once may carry effects of the run before.
    #[prost(string, tag = "2")]
    pub sid: String,
    /// What.
    #[prost(oneof = "Action", tags = "3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15")]
    pub action: Option<Action>,
}

/// What an [`Effect`] does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Action {
    /// Publish a message; the next one follows after its acknowledgement.
    #[prost(message, tag = "3")]
    Message(Message),
    /// Make media permission, message filter and connection of this user follow the record. Carries no rights itself.
    #[prost(string, tag = "4")]
    Align(String),
    /// Mute one media track; pointless after `deadline`.
    #[prost(message, tag = "5")]
    MuteTrack(MuteTrack),
    /// Remove a participant from the media room, if it is still the same one.
    #[prost(message, tag = "6")]
    RemoveMedia(RemoveMedia),
    /// Delete a person's durable consumer once what was sent to it is out, if nobody has taken the seat again; with the
    /// person gone from the record its name becomes free.
    #[prost(string, tag = "7")]
    DeleteDurable(String),
    /// Close a connection that does not hold its seat, once what was sent to it is out.
    #[prost(message, tag = "10")]
    Kick(Kick),
    /// Write the run into the history of past rooms.
    #[prost(message, tag = "8")]
    History(PastRun),
    /// Tell the room the metadata of these people, as it is when it is told: one effect for a change of many, whose
    /// payloads together would not fit the record.
    #[prost(message, tag = "11")]
    TellPeople(TellPeople),
    /// Close what people of a run that is over still have open, and delete their durables.
    #[prost(message, tag = "12")]
    Disperse(Disperse),
    /// End the media of a run that is over: whoever has no seat in the run that has the name now.
    #[prost(message, tag = "15")]
    EndMedia(()),
    /// Forget the run's chat: what lies below this sequence of the chat stream.
    #[prost(uint64, tag = "14")]
    PurgeChat(u64),
}

/// A message with its audience. Printed without what it says.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Message {
    /// User ids; none: everybody in the room.
    #[prost(string, repeated, tag = "1")]
    pub to: Vec<String>,
    /// An encoded `NatsMsgServerToClient`.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("to", &self.to).field("len", &self.payload.len()).finish()
    }
}

/// See [`Action::MuteTrack`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MuteTrack {
    /// Media identity.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The media server's track id.
    #[prost(string, tag = "2")]
    pub track_sid: String,
    /// Mute or unmute.
    #[prost(bool, tag = "3")]
    pub muted: bool,
    /// Skipped when later than this.
    #[prost(uint64, tag = "4")]
    pub deadline: UnixMs,
}

/// See [`Action::Kick`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Kick {
    /// Whose seat it was.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Which connection; none: none is open.
    #[prost(message, optional, tag = "2")]
    pub connection: Option<Connection>,
}

/// See [`Action::RemoveMedia`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemoveMedia {
    /// Media identity.
    #[prost(string, tag = "1")]
    pub user: String,
    /// [`Person::media_seat`] of the participant that is meant: one with another belongs to a newer page.
    #[prost(string, tag = "3")]
    pub seat: String,
}

/// One finished run of a room.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PastRun {
    /// Number of the run.
    #[prost(uint64, tag = "1")]
    pub run: u64,
    /// Room id.
    #[prost(string, tag = "2")]
    pub room_id: String,
    /// Run's UUID, the key of the history.
    #[prost(string, tag = "3")]
    pub sid: String,
    /// Title.
    #[prost(string, tag = "4")]
    pub title: String,
    /// How many different people were online.
    #[prost(uint32, tag = "5")]
    pub joined_total: u32,
    /// Webhook of the room, if any.
    #[prost(string, tag = "6")]
    pub webhook_url: String,
    /// Created.
    #[prost(uint64, tag = "7")]
    pub created_at: UnixMs,
    /// Ended.
    #[prost(uint64, tag = "8")]
    pub ended_at: UnixMs,
    /// Made by the landing page's host.
    #[prost(bool, tag = "9")]
    pub from_landing_page: bool,
}

/// See [`Action::TellPeople`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TellPeople {
    /// Whose metadata.
    #[prost(string, repeated, tag = "1")]
    pub users: Vec<String>,
    /// Each of them also alone: they do not hear yet what the room hears.
    #[prost(bool, tag = "2")]
    pub themselves: bool,
}

/// See [`Action::Disperse`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Disperse {
    /// Everybody who had a seat, with the connection that was open: whoever comes next under this room id must not be
    /// heard by it.
    #[prost(message, repeated, tag = "1")]
    pub people: Vec<Kick>,
}

impl Room {
    /// Whether the write of this number is part of the record.
    #[must_use]
    pub fn has_write(&self, nonce: u64) -> bool {
        self.nonces.contains(&nonce)
    }

    /// Marks the record as written once more.
    pub fn stamp(&mut self, nonce: u64) {
        self.v += 1;
        self.nonces.push(nonce);
        let surplus = self.nonces.len().saturating_sub(NONCES_LEN_MAX);
        self.nonces.drain(..surplus);
    }

    /// Whether the command at this position is part of the record.
    #[must_use]
    pub fn has_applied(&self, position: Position) -> bool {
        self.applied_stream == position.stream && position.sequence <= self.applied
    }

    /// The command at this position is part of the record from now on, and so are those before it.
    pub fn apply(&mut self, position: Position) {
        if !self.has_applied(position) {
            self.applied_stream = position.stream;
            self.applied = position.sequence;
        }
    }

    /// Settings; every stored room has them.
    #[must_use]
    pub fn metadata(&self) -> &RoomMetadata {
        self.metadata.as_deref().expect("a room is created with metadata")
    }

    /// Joins and requests are taken.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase(), Phase::Created | Phase::Active)
    }

    /// People who are connected now, with their ids.
    pub fn online(&self) -> impl Iterator<Item = (&String, &Person)> {
        self.people.iter().filter(|(_, person)| person.presence() == Presence::Online)
    }

    /// The person who presents, if one does.
    #[must_use]
    pub fn presenter(&self) -> Option<&str> {
        self.people.iter().find(|(_, person)| person.metadata().is_presenter).map(|(id, _)| id.as_str())
    }
}

impl Effect {
    /// Whether people are told something: these leave in order, and what ends a connection comes after them.
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(self.action, Some(Action::Message(_) | Action::TellPeople(_)))
    }
}

impl Person {
    /// As clients see it; every stored person has it.
    #[must_use]
    pub fn metadata(&self) -> &UserMetadata {
        self.metadata.as_deref().expect("a person is created with metadata")
    }

    /// Waits for approval: gets nothing but its own status.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.metadata().wait_for_approval
    }

    /// The connection that holds the seat and is not over.
    #[must_use]
    pub fn live_connection(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|connection| connection.state() != ConnectionState::Closed)
    }
}
