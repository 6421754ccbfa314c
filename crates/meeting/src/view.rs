//! The record as plugNmeet's clients and SDKs see it.

use plenum_protocol::plugnmeet::{
    ActiveRoomInfo, NatsKvRoomInfo, NatsKvUserInfo, NatsMsgServerToClient, NatsMsgServerToClientEvents,
    NatsSystemNotification, NatsSystemNotificationTypes, NatsUserMetadataUpdate, UserMetadata,
};
use prost::Message as _;
use serde::Serialize;

use crate::{
    Env,
    state::{Person, Phase, Room},
};

/// A message to clients, with a fresh id.
pub struct Envelope;

impl Envelope {
    /// Text, JSON or nothing.
    #[must_use]
    pub fn text(event: NatsMsgServerToClientEvents, msg: impl Into<String>, env: &mut Env<'_>) -> Vec<u8> {
        Self::with_payload(event, msg, Vec::new(), env)
    }

    /// A message in JSON.
    pub fn json(event: NatsMsgServerToClientEvents, msg: &impl Serialize, env: &mut Env<'_>) -> Vec<u8> {
        Self::text(event, to_json(msg), env)
    }

    /// Text and bytes.
    pub fn with_payload(
        event: NatsMsgServerToClientEvents,
        msg: impl Into<String>,
        bin_msg: Vec<u8>,
        env: &mut Env<'_>,
    ) -> Vec<u8> {
        NatsMsgServerToClient { id: env.uuid(), event: event.into(), msg: msg.into(), bin_msg }
            .encode_to_vec()
    }

    /// A notification; `msg` is a key of the client's texts or a text.
    pub fn notification(
        kind: NatsSystemNotificationTypes,
        msg: impl Into<String>,
        env: &mut Env<'_>,
    ) -> Vec<u8> {
        let notification = NatsSystemNotification {
            id: env.uuid(),
            r#type: kind.into(),
            msg: msg.into(),
            sent_at: i64::try_from(env.now).unwrap_or(i64::MAX),
            with_sound: kind == NatsSystemNotificationTypes::NatsSystemNotificationError,
        };
        Self::json(NatsMsgServerToClientEvents::SystemNotification, &notification, env)
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our own types are JSON")
}

/// The room as `RES_INITIAL_DATA` tells it. A waiting person learns the title, the waiting message and nothing else.
#[must_use]
pub fn room_info(room: &Room, for_waiting: bool) -> NatsKvRoomInfo {
    let metadata = if for_waiting { waiting_metadata(room) } else { room.metadata().clone() };
    NatsKvRoomInfo {
        db_table_id: room.run,
        room_id: room.room_id.clone(),
        room_sid: room.sid.clone(),
        status: match room.phase() {
            Phase::Created => "created",
            Phase::Active => "active",
            Phase::Ending => "triggered_end",
            Phase::Ended => "ended",
        }
        .to_owned(),
        empty_timeout: room.empty_timeout_s.into(),
        max_participants: room.max_participants.into(),
        metadata: to_json(&metadata),
        created_at: room.created_at / 1000,
    }
}

/// Complete in shape (the client reads every feature), empty in content.
fn waiting_metadata(room: &Room) -> plenum_protocol::plugnmeet::RoomMetadata {
    let full = room.metadata();
    let mut cut = crate::default_metadata();
    cut.room_title.clone_from(&full.room_title);
    cut.metadata_id.clone_from(&full.metadata_id);
    cut.copyright_conf.clone_from(&full.copyright_conf);
    let waiting = full.room_features.as_ref().and_then(|features| features.waiting_room_features.clone());
    if let Some(features) = &mut cut.room_features {
        features.waiting_room_features = waiting;
    }
    cut
}

/// A person as others see them.
#[must_use]
pub fn user_info(room: &Room, user: &str, person: &Person) -> NatsKvUserInfo {
    NatsKvUserInfo {
        user_id: user.to_owned(),
        user_sid: person.sid.clone(),
        name: person.name.clone(),
        room_id: room.room_id.clone(),
        is_admin: person.is_admin,
        is_presenter: person.metadata().is_presenter,
        metadata: to_json(person.metadata()),
        joined_at: person.joined_at,
        reconnected_at: person.reconnected_at,
        disconnected_at: person.disconnected_at,
        client_type: person.client_type,
    }
}

pub(crate) fn metadata_update(user: &str, metadata: &UserMetadata) -> NatsUserMetadataUpdate {
    NatsUserMetadataUpdate { user_id: user.to_owned(), metadata: to_json(metadata) }
}

/// The room as the API's answers tell it.
#[must_use]
pub fn active_room_info(room: &Room) -> ActiveRoomInfo {
    let metadata = room.metadata();
    ActiveRoomInfo {
        room_title: metadata.room_title.clone(),
        room_id: room.room_id.clone(),
        sid: room.sid.clone(),
        joined_participants: i64::try_from(room.online().count()).unwrap_or(i64::MAX),
        is_running: room.is_running().into(),
        is_recording: metadata.is_recording.into(),
        is_active_rtmp: metadata.is_active_rtmp.into(),
        webhook_url: metadata.webhook_url.clone().unwrap_or_default(),
        is_breakout_room: metadata.is_breakout_room.into(),
        parent_room_id: metadata.parent_room_id.clone(),
        creation_time: i64::try_from(room.created_at / 1000).unwrap_or(i64::MAX),
        metadata: to_json(metadata),
    }
}
