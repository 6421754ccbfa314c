//! The meeting domain, pure: who may do what in a meeting.
//!
//! **The contract: read a room's record, [`Room::decide`] one command after the other on it, write the record once.**
//! What has to happen outside is in the record's outbox ([`state::Effect`]) and becomes true together with the state; what
//! only answers somebody (a list, a relayed message) is in [`Decision::direct`] and is sent by whoever gave the command.
//! A refused command leaves the record as it was. Time and randomness are arguments ([`Env`]).

mod command;
mod create;
mod decide;
mod env;
mod ids;
mod rights;
pub mod state;
mod view;

pub use command::{
    Admission, Answer, Client, Command, Decision, Direct, EndReason, JoinPerson, Lock, MediaAccess,
    Moderation, Refusal, Stamp, Target,
};
pub use create::{CreateError, CreateRoom, default_metadata};
pub use decide::{OUTBOX_BYTES_MAX, OUTBOX_LEN_MAX};
pub use env::Env;
pub use ids::{ID_LEN_MAX, IdError, RoomId, SHARDS, Shard, UserId};
pub use rights::{
    MediaRights, MessagingRights, may_chat, may_chat_privately, media_rights, messaging_rights,
};
pub use state::Room;
pub use view::{Envelope, active_room_info, room_info, user_info};

#[cfg(test)]
pub(crate) use env::test_env;
