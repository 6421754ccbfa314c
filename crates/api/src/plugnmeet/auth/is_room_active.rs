//! `POST /auth/room/isRoomActive`.

use axum::response::Response;
use plenum_meeting::RoomId;
use plenum_protocol::plugnmeet::{IsRoomActiveReq, IsRoomActiveRes, StatusCode as Code};

use super::{SignedJson, answer};
use crate::{Api, error::Failure, routes::note_room};

pub(super) async fn is_room_active(api: Api, SignedJson(request): SignedJson<IsRoomActiveReq>) -> Response {
    answer(run(&api, request).await)
}

async fn run(api: &Api, request: IsRoomActiveReq) -> Result<IsRoomActiveRes, Failure> {
    let id = RoomId::parse(&request.room_id, "room_id")?;
    note_room(&id);
    let (msg, code, is_active) = match api.control.room(&id).await? {
        Some(room) if room.is_running() => ("room is active", Code::Success, true),
        Some(_) => ("room is not active", Code::RoomNotActive, false),
        None => ("room not found", Code::RoomNotFound, false),
    };
    Ok(IsRoomActiveRes { status: true, msg: msg.to_owned(), status_code: code.into(), is_active })
}
