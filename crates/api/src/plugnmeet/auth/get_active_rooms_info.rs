//! `POST /auth/room/getActiveRoomsInfo`. Its body is not read.

use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use plenum_meeting::{RoomId, active_room_info};
use plenum_protocol::plugnmeet::{ActiveRoomWithParticipant, GetActiveRoomsInfoRes, StatusCode as Code};
use tracing::warn;

use super::{Signed, answer, get_active_room_info::with_participants};
use crate::{Api, error::Failure};

/// Rooms whose participants the media server is asked for at a time.
const ASKED_AT_ONCE: usize = 8;

pub(super) async fn get_active_rooms_info(api: Api, _: Signed) -> Response {
    answer(run(&api).await)
}

async fn run(api: &Api) -> Result<GetActiveRoomsInfoRes, Failure> {
    let rooms: Vec<_> = stream::iter(api.rooms().await?)
        .filter_map(async |room| Some((RoomId::parse(&room.room_id, "room_id").ok()?, room)))
        .map(async |(id, room)| match with_participants(api, &id, &room).await {
            Ok(known) => known,
            // The list of rooms is worth having without one room's people.
            Err(error) => {
                warn!(room.id = %id, error = error.msg, "The participants of a room cannot be read");
                ActiveRoomWithParticipant {
                    room_info: Some(active_room_info(&room)),
                    participants_info: Vec::new(),
                }
            }
        })
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    if rooms.is_empty() {
        return Err(Failure::new(Code::RoomNotFound, "no active room found"));
    }
    Ok(GetActiveRoomsInfoRes {
        status: true,
        msg: "success".to_owned(),
        status_code: Code::Success.into(),
        rooms,
    })
}
