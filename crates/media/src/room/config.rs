//! What the configuration, the server API and tokens say about rooms.

use livekit_protocol as proto;
use serde::{Deserialize, Deserializer};

use super::ApiError;
use crate::downtrack::PlayoutDelay;

/// What rooms are like where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomDefaults {
    /// A room that nobody made comes to be when somebody joins it.
    pub auto_create: bool,
    /// Seconds until a room closes that nobody ever came to.
    pub empty_timeout: u32,
    /// Seconds until a room closes after the last has left.
    pub departure_timeout: u32,
    /// Most participants; 0 for [`Limits::participants`].
    pub max_participants: u32,
    /// The server API may unmute people.
    pub remote_unmute: bool,
    /// Webhooks about tracks carry the whole room instead of its names.
    pub full_room_in_webhooks: bool,
    /// How late subscribers show pictures; nothing is said about it when absent.
    pub playout_delay: Option<PlayoutDelay>,
}

impl Default for RoomDefaults {
    /// LiveKit's values.
    fn default() -> Self {
        Self {
            auto_create: true,
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 0,
            remote_unmute: false,
            full_room_in_webhooks: false,
            playout_delay: None,
        }
    }
}

impl RoomDefaults {
    pub(super) fn put_into(&self, room: &mut proto::Room) {
        room.empty_timeout = self.empty_timeout;
        room.departure_timeout = self.departure_timeout;
        room.max_participants = self.max_participants;
    }
}

/// How a room is to be; what is 0 or empty is left as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoomOptions {
    /// See [`RoomDefaults::empty_timeout`].
    pub empty_timeout: u32,
    /// See [`RoomDefaults::departure_timeout`].
    pub departure_timeout: u32,
    /// See [`RoomDefaults::max_participants`].
    pub max_participants: u32,
    /// Free text.
    pub metadata: String,
    /// How late subscribers show pictures.
    pub playout_delay: Option<PlayoutDelay>,
    /// Agents that are wanted in the room.
    pub agents: Vec<proto::RoomAgentDispatch>,
}

impl RoomOptions {
    /// What `CreateRoom` asks for.
    pub fn from_request(request: &proto::CreateRoomRequest, texts: &TextLimits) -> Result<Self, ApiError> {
        texts.check_metadata(&request.metadata)?;
        for agent in &request.agents {
            texts.check_metadata(&agent.metadata)?;
        }
        Ok(Self {
            empty_timeout: request.empty_timeout,
            departure_timeout: request.departure_timeout,
            max_participants: request.max_participants,
            metadata: request.metadata.clone(),
            playout_delay: PlayoutDelay::new(request.min_playout_delay, request.max_playout_delay),
            agents: request.agents.clone(),
        })
    }

    /// What the token of the first participant asks for.
    pub fn from_token(config: &proto::RoomConfiguration) -> Self {
        Self {
            empty_timeout: config.empty_timeout,
            departure_timeout: config.departure_timeout,
            max_participants: config.max_participants,
            metadata: config.metadata.clone(),
            playout_delay: PlayoutDelay::new(config.min_playout_delay, config.max_playout_delay),
            agents: config.agents.clone(),
        }
    }

    /// Itself, and what `other` says where it says nothing.
    pub fn or(self, other: &Self) -> Self {
        let number = |own: u32, other: u32| if own == 0 { other } else { own };
        Self {
            empty_timeout: number(self.empty_timeout, other.empty_timeout),
            departure_timeout: number(self.departure_timeout, other.departure_timeout),
            max_participants: number(self.max_participants, other.max_participants),
            metadata: if self.metadata.is_empty() { other.metadata.clone() } else { self.metadata },
            playout_delay: self.playout_delay.or(other.playout_delay),
            agents: if self.agents.is_empty() { other.agents.clone() } else { self.agents },
        }
    }

    pub(super) fn put_into(&self, room: &mut proto::Room) {
        let set = |to: &mut u32, value: u32| {
            if value != 0 {
                *to = value;
            }
        };
        set(&mut room.empty_timeout, self.empty_timeout);
        set(&mut room.departure_timeout, self.departure_timeout);
        set(&mut room.max_participants, self.max_participants);
        if !self.metadata.is_empty() {
            room.metadata.clone_from(&self.metadata);
        }
    }
}

/// Written as LiveKit's `RoomConfiguration`.
impl<'de> Deserialize<'de> for RoomOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_token(&proto::RoomConfiguration::deserialize(deserializer)?))
    }
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Participants of a room, whatever the room itself says.
    pub participants: usize,
    /// Tracks that one participant publishes.
    pub tracks_per_participant: usize,
    /// Data tracks that one participant publishes; 0 for none at all.
    pub data_tracks_per_participant: usize,
    /// Tracks that wait for their session description.
    pub pending_tracks: usize,
    /// Tracks that one participant receives.
    pub subscriptions: usize,
    /// Rooms of the server.
    pub rooms: usize,
    /// Lengths of free texts.
    pub texts: TextLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants: 1_000,
            tracks_per_participant: 32,
            data_tracks_per_participant: 32,
            pending_tracks: 20,
            subscriptions: 900,
            rooms: 10_000,
            texts: TextLimits::default(),
        }
    }
}

/// Most bytes of free texts; 0 for no bound (as in LiveKit's configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimits {
    /// A participant's display name.
    pub name: usize,
    /// A participant's or a room's metadata.
    pub metadata: usize,
    /// A participant's attributes, keys and values together.
    pub attributes: usize,
}

impl Default for TextLimits {
    /// LiveKit's values.
    fn default() -> Self {
        Self { name: 256, metadata: 512 * 1024, attributes: 64 * 1024 }
    }
}

/// A text is longer than [`TextLimits`] allows. The words are LiveKit's, whose callers look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// See [`TextLimits::name`].
    #[error("name length exceeds limits")]
    Name,
    /// See [`TextLimits::metadata`].
    #[error("metadata size exceeds limits")]
    Metadata,
    /// See [`TextLimits::attributes`].
    #[error("attribute size exceeds limits")]
    Attributes,
}

impl TextLimits {
    /// A display name.
    pub fn check_name(&self, name: &str) -> Result<(), TooLong> {
        within(name.len(), self.name).ok_or(TooLong::Name)
    }

    /// Metadata of a room or a participant.
    pub fn check_metadata(&self, metadata: &str) -> Result<(), TooLong> {
        within(metadata.len(), self.metadata).ok_or(TooLong::Metadata)
    }

    /// All attributes of a participant.
    pub fn check_attributes<'a>(
        &self,
        attributes: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), TooLong> {
        let len = attributes.into_iter().map(|(key, value)| key.len() + value.len()).sum();
        within(len, self.attributes).ok_or(TooLong::Attributes)
    }
}

fn within(len: usize, bound: usize) -> Option<()> {
    (bound == 0 || len <= bound).then_some(())
}
