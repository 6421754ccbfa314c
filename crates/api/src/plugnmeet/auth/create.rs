//! `POST /auth/room/create`.

use axum::response::Response;
use plenum_meeting::{CreateRoom, active_room_info};
use plenum_protocol::plugnmeet::{CreateRoomRes, StatusCode as Code};
use serde_json::Value;

use super::{SignedJson, answer};
use crate::{Api, error::Failure, routes::note_room};

pub(super) async fn create(api: Api, SignedJson(request): SignedJson<Value>) -> Response {
    answer(run(&api, &request).await)
}

async fn run(api: &Api, request: &Value) -> Result<CreateRoomRes, Failure> {
    let request = CreateRoom::from_json(request)
        .map_err(|error| Failure::new(Code::InvalidParameters, error.to_string()))?;
    note_room(&request.room_id);
    let room = api.control.create_room(request).await?;
    Ok(CreateRoomRes {
        status: true,
        msg: "success".to_owned(),
        status_code: Code::Success.into(),
        room_info: Some(active_room_info(&room)),
    })
}
