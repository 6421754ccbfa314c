//! `POST /auth/room/getActiveRoomInfo`.

use axum::response::Response;
use plenum_meeting::{Room, RoomId, active_room_info};
use plenum_protocol::plugnmeet::{
    ActiveRoomWithParticipant, GetActiveRoomInfoReq, GetActiveRoomInfoRes, StatusCode as Code,
};

use super::{SignedJson, answer};
use crate::{Api, error::Failure, routes::note_room};

pub(super) async fn get_active_room_info(
    api: Api,
    SignedJson(request): SignedJson<GetActiveRoomInfoReq>,
) -> Response {
    answer(run(&api, request).await)
}

async fn run(api: &Api, request: GetActiveRoomInfoReq) -> Result<GetActiveRoomInfoRes, Failure> {
    let id = RoomId::parse(&request.room_id, "room_id")?;
    note_room(&id);
    let room = api.control.room(&id).await?.filter(Room::is_running);
    let Some(room) = room else {
        return Err(Failure::new(Code::RoomNotFound, "room not found in active state"));
    };
    Ok(GetActiveRoomInfoRes {
        status: true,
        msg: "success".to_owned(),
        status_code: Code::Success.into(),
        room: Some(with_participants(api, &id, &room).await?),
    })
}

/// The media server's participants, as far as the meeting knows them, with the meeting's metadata.
pub(super) async fn with_participants(
    api: &Api,
    id: &RoomId,
    room: &Room,
) -> Result<ActiveRoomWithParticipant, Failure> {
    let mut participants = api.control.media_participants(id).await?;
    participants.retain_mut(|participant| match room.people.get(&participant.identity) {
        Some(person) => {
            participant.metadata = serde_json::to_string(person.metadata()).unwrap_or_default();
            true
        }
        None => false,
    });
    Ok(ActiveRoomWithParticipant { room_info: Some(active_room_info(room)), participants_info: participants })
}
