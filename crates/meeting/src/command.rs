//! What can be asked of a room, and what comes back.

use std::fmt;

use plenum_protocol::plugnmeet::{ChatMessage, ClientType, StatusCode, UserMetadata};

use crate::{
    IdError, UserId,
    rights::{MediaRights, MessagingRights},
    state::{Connection, Person, UnixMs},
};

/// Something that may change a room. Not printable: it may carry what people say.
#[derive(Clone)]
pub enum Command {
    /// Gives a person a seat and thereby the right to a token (`getJoinToken`).
    Join(Box<JoinPerson>),
    /// A page showed its token (`verifyToken`); it takes the seat over if another page has it, unless it only asks `again`.
    Verify {
        /// Of the token.
        user: UserId,
        /// The run the token was made for.
        sid: String,
        /// The seat the token was made for.
        seat: String,
        /// The page's own name, or empty.
        page: String,
        /// The page has verified before: it is refused if another page has the seat.
        again: bool,
    },
    /// A broker connection asks to be let in (auth callout).
    Connect {
        /// Of the token.
        user: UserId,
        /// The run the token was made for.
        sid: String,
        /// The seat the token was made for.
        seat: String,
        /// The page's own name, or empty.
        page: String,
        /// Broker's id.
        server: String,
        /// Connection's number.
        client: u64,
    },
    /// The broker reports a connection.
    ConnectionUp {
        /// Whose.
        user: UserId,
        /// Broker's id.
        server: String,
        /// Connection's number.
        client: u64,
        /// What the broker was told to allow it: the person's counter of rights as of then.
        rights: u64,
    },
    /// Nothing was heard of these connections for too long.
    ConnectionsSilent(Vec<(UserId, Connection)>),
    /// The broker reports the end of a connection.
    ConnectionClosed {
        /// Whose.
        user: UserId,
        /// Broker's id.
        server: String,
        /// Connection's number.
        client: u64,
    },
    /// A message from a person's client.
    FromClient {
        /// Who, as the broker enforced it.
        user: UserId,
        /// What.
        event: Client,
    },
    /// A host's act, or the server-side API's (`by` is `None`).
    Moderate {
        /// The acting host.
        by: Option<UserId>,
        /// The act.
        act: Moderation,
    },
    /// The media server reports somebody who joined.
    MediaJoined {
        /// Media identity.
        user: UserId,
        /// Of the token it came with: [`Person::media_seat`].
        seat: String,
    },
    /// The media server reports that media started.
    MediaStarted,
    /// Deadlines may have passed.
    Tick,
    /// The last messages of an ending room are out.
    Close {
        /// First sequence of the chat stream after the run's last message.
        chat_before: u64,
    },
    /// Effects that were done.
    Done(Vec<u64>),
}

/// A message from a client that a decision handles. Not printable: it may carry what people say.
#[derive(Clone)]
pub enum Client {
    /// Still there.
    Ping,
    /// Wants room and own data.
    InitialData,
    /// Wants the people who are online; `true`: when joining, `false`: to compare.
    OnlineUsers {
        /// Answered as `RES_JOINED_USERS_LIST` instead of `RESP_ONLINE_USERS_LIST`.
        joining: bool,
    },
    /// Wants to connect to media.
    MediaAccess,
    /// Showed a token to be renewed.
    RenewToken {
        /// The run the old token was made for.
        sid: String,
        /// The seat it was made for.
        seat: String,
        /// End of the new token.
        ends_at: UnixMs,
    },
    /// Raises the hand; hosts are told with this text.
    RaiseHand {
        /// Shown to hosts.
        text: String,
    },
    /// Lowers the own hand.
    LowerHand,
    /// Lowers somebody else's hand (hosts).
    LowerHandOf {
        /// Whose.
        user: UserId,
    },
    /// Sends chat.
    Chat {
        /// The envelope's id: part of the message's.
        id: String,
        /// What to whom; identity members are overwritten.
        message: Box<ChatMessage>,
    },
    /// Sends end-to-end encrypted public chat.
    EncryptedChat {
        /// The envelope's id: part of the message's.
        id: String,
        /// Ciphertext.
        payload: Vec<u8>,
    },
    /// Wants a page of the chat.
    ChatHistory,
    /// Relays an opaque message to one person.
    PrivateData {
        /// To whom.
        to: UserId,
        /// Also back to the sender.
        echo: bool,
        /// The relayed header, as it came.
        msg: String,
        /// The relayed payload.
        payload: Vec<u8>,
    },
}

impl Client {
    /// Whether doing it twice is doing it once: it changes nothing but what it would set again, and what it sends is
    /// named by the number of its command. The others are remembered in [`crate::Room::applied`].
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Ping
            | Self::InitialData
            | Self::OnlineUsers { .. }
            | Self::MediaAccess
            | Self::RenewToken { .. }
            | Self::Chat { .. }
            | Self::EncryptedChat { .. }
            | Self::ChatHistory
            | Self::PrivateData { .. } => true,
            Self::RaiseHand { .. } | Self::LowerHand | Self::LowerHandOf { .. } => false,
        }
    }
}

/// Who shall get a seat.
#[derive(Debug, Clone)]
pub struct JoinPerson {
    /// Wished id; ignored when the room generates ids.
    pub user: UserId,
    /// Shown to others.
    pub name: String,
    /// Hosts the meeting.
    pub is_admin: bool,
    /// Not listed.
    pub is_hidden: bool,
    /// Picture, language, locks and so on.
    pub metadata: UserMetadata,
    /// plugNmeet's.
    pub client_type: ClientType,
    /// End of the token that will be made.
    pub token_ends_at: UnixMs,
}

/// Hosts' acts. Not printable: they may carry what people say.
#[derive(Clone)]
pub enum Moderation {
    /// Locks or unlocks.
    Lock {
        /// Whom.
        target: Target,
        /// What.
        lock: Lock,
        /// Lock (`true`) or unlock.
        locked: bool,
    },
    /// Mutes media tracks, found on the media server.
    Mute {
        /// (user, track sid) pairs.
        tracks: Vec<(String, String)>,
        /// Mute (`true`) or unmute.
        muted: bool,
    },
    /// Removes a person.
    Remove {
        /// Whom.
        user: UserId,
        /// Told to them.
        message: String,
        /// They may not come back.
        block: bool,
    },
    /// Makes or unmakes a presenter.
    SwitchPresenter {
        /// Whom.
        user: UserId,
        /// Make (`true`) or unmake.
        promote: bool,
    },
    /// Lets waiting people in.
    Approve(Target),
    /// Changes what waiting people read.
    WaitingMessage(String),
    /// Ends the meeting.
    End(EndReason),
}

/// Why a meeting ends; told to nobody, logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// A host or the API asked.
    Asked,
    /// The agreed duration is over.
    Duration,
    /// Nobody was there for long enough.
    Empty,
}

/// One person or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everybody it applies to.
    All,
    /// One.
    One(UserId),
}

/// What can be locked (plugnmeet.md §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Lock {
    Microphone,
    Webcam,
    ScreenShare,
    Chat,
    SendChatMessage,
    ChatFile,
    PrivateChat,
    Whiteboard,
    SharedNotepad,
    Reactions,
}

impl Lock {
    /// From plugNmeet's service name.
    #[must_use]
    pub fn from_service(service: &str) -> Option<Self> {
        Some(match service {
            "mic" => Self::Microphone,
            "webcam" => Self::Webcam,
            "screenShare" => Self::ScreenShare,
            "chat" => Self::Chat,
            "sendChatMsg" => Self::SendChatMessage,
            "chatFile" => Self::ChatFile,
            "privateChat" => Self::PrivateChat,
            "whiteboard" => Self::Whiteboard,
            "sharedNotepad" => Self::SharedNotepad,
            "reactions" => Self::Reactions,
            _ => return None,
        })
    }
}

/// A decided command.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// What the caller learns.
    pub answer: Answer,
    /// Messages that only answer or relay: sent by the caller before the command counts as done.
    pub direct: Vec<Direct>,
}

/// See [`Decision::answer`].
#[derive(Debug, Clone, Default)]
pub enum Answer {
    /// It was done.
    #[default]
    Done,
    /// The seat was given.
    Joined {
        /// The id that holds (maybe generated).
        user: UserId,
        /// The seat.
        person: Box<Person>,
        /// The run the token is for.
        sid: String,
    },
    /// The token holds.
    Verified {
        /// An older page was sent away: wait until its message is out.
        took_over: bool,
        /// Whether people type their own key.
        self_insert_encryption_key: bool,
    },
    /// The connection is let in.
    Admitted(Box<Admission>),
    /// Media may be connected.
    Media(Box<MediaAccess>),
    /// A token may be made for this person.
    Renewed(Box<Person>),
    /// The history may be read.
    ChatHistory {
        /// This run's.
        sid: String,
        /// Messages before this moment belong to an earlier run.
        since: UnixMs,
    },
    /// A participant of the media room that has no business there.
    RemoveFromMedia,
}

/// How a connection is let in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What it may do.
    pub rights: MessagingRights,
    /// Their counter, named in the connection's JWT.
    pub rights_version: u64,
    /// The person, for the JWT's name.
    pub person: Person,
    /// The durable holds messages of an older page: delete it first.
    pub fresh_durable: bool,
}

/// What a media token says.
#[derive(Debug, Clone)]
pub struct MediaAccess {
    /// Shown by other clients.
    pub name: String,
    /// [`Person::media_seat`].
    pub seat: String,
    /// What may be sent.
    pub rights: MediaRights,
}

/// A message that is not part of the state's story. Printed without what it says.
#[derive(Clone, PartialEq)]
pub enum Direct {
    /// An encoded `NatsMsgServerToClient` for one person.
    To {
        /// Whom.
        user: String,
        /// The envelope.
        payload: Vec<u8>,
    },
    /// Public chat: a `ChatMessage` or its ciphertext.
    Chat {
        /// As clients read it.
        payload: Vec<u8>,
        /// Of ciphertext, which says nothing of this itself, or only to those with the key, of whom each could pretend to be
        /// another.
        stamp: Option<Stamp>,
    },
    /// A private chat message for the history of one person.
    PrivateChat {
        /// Whose history.
        user: String,
        /// A `ChatMessage`.
        payload: Vec<u8>,
    },
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To { user, payload } => {
                f.debug_struct("To").field("user", user).field("len", &payload.len()).finish()
            }
            Self::Chat { payload, stamp } => {
                f.debug_struct("Chat").field("len", &payload.len()).field("stamp", stamp).finish()
            }
            Self::PrivateChat { user, payload } => {
                f.debug_struct("PrivateChat").field("user", user).field("len", &payload.len()).finish()
            }
        }
    }
}

/// What the server vouches for about a chat message that it cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// As [`ChatMessage::id`].
    pub id: String,
    /// Who sent it.
    pub from: String,
    /// When.
    pub sent_at: UnixMs,
}

/// Why a command was refused. The texts are plugNmeet's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the meaning")]
pub enum Refusal {
    #[error("did not find correct room info")]
    RoomUnknown,
    #[error("room found in delete status, need to recreate it")]
    RoomEnded,
    #[error("room is not active")]
    RoomNotActive,
    #[error("room not found or not active")]
    EndedAlready,
    #[error("notifications.room-not-active")]
    NotActive,
    #[error("notifications.user-info-not-found")]
    UserUnknown,
    #[error("notifications.you-are-blocked")]
    Blocked,
    #[error("this user is blocked to join this session")]
    BlockedToJoin,
    #[error("notifications.max-num-participates-exceeded")]
    Full,
    #[error("notifications.room-disconnected-duplicate-entry")]
    SeatReplaced,
    #[error("only admin can perform this task")]
    AdminOnly,
    #[error("another user of another room has the same combined name; choose another user_id")]
    NameTaken,
    #[error("user isn't active now")]
    UserNotActive,
    #[error("user not found")]
    UserNotFound,
    #[error("you can't remove yourself\"")]
    RemoveSelf,
    #[error("notifications.cannot-lock-admin")]
    LockAdmin,
    #[error("chat is locked for you")]
    ChatLocked,
    #[error("notifications.waiting-for-approval")]
    Waiting,
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("{0} is too long")]
    TooLong(&'static str),
    #[error(transparent)]
    Id(#[from] IdError),
    /// Too much is waiting to be done for this room; the same command will do in a moment.
    #[error("the room is busy, try again")]
    Busy,
}

impl Refusal {
    /// plugNmeet's code for API answers.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        match self {
            Self::RoomUnknown | Self::RoomEnded | Self::RoomNotActive | Self::EndedAlready => {
                StatusCode::RoomNotFound
            }
            Self::NotActive => StatusCode::RoomNotActive,
            Self::UserUnknown | Self::UserNotFound => StatusCode::UserNotFound,
            Self::Blocked | Self::BlockedToJoin => StatusCode::UserBlocked,
            Self::UserNotActive => StatusCode::UserNotActive,
            Self::AdminOnly | Self::LockAdmin | Self::RemoveSelf | Self::Waiting | Self::ChatLocked => {
                StatusCode::PermissionDenied
            }
            Self::Empty(_) | Self::TooLong(_) | Self::Id(_) => StatusCode::InvalidParameters,
            Self::Full | Self::SeatReplaced | Self::NameTaken | Self::Busy => StatusCode::Conflict,
        }
    }
}

impl Connection {
    /// Whether this is the named connection.
    #[must_use]
    pub fn is(&self, server: &str, client: u64) -> bool {
        self.server == server && self.client == client
    }
}
