//! `POST /auth/room/endRoom`.

use axum::response::Response;
use plenum_meeting::RoomId;
use plenum_protocol::plugnmeet::{RoomEndReq, RoomEndRes, StatusCode as Code};

use super::{SignedJson, answer};
use crate::{Api, error::Failure, routes::note_room};

pub(super) async fn end_room(api: Api, SignedJson(request): SignedJson<RoomEndReq>) -> Response {
    answer(run(&api, request).await)
}

async fn run(api: &Api, request: RoomEndReq) -> Result<RoomEndRes, Failure> {
    let room = RoomId::parse(&request.room_id, "room_id")?;
    note_room(&room);
    api.control.end(&room, None).await?;
    Ok(RoomEndRes { status: true, msg: "success".to_owned(), status_code: Code::Success.into() })
}
