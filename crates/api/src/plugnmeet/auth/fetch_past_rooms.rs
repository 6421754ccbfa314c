//! `POST /auth/room/fetchPastRooms`.

use axum::response::Response;
use plenum_protocol::plugnmeet::{
    FetchPastRoomsReq, FetchPastRoomsRes, FetchPastRoomsResult, PastRoomInfo, StatusCode as Code,
};
use plenum_storage::{Order, PastRoomQuery};
use tracing::warn;

use super::{SignedJson, answer, rfc3339};
use crate::{Api, error::Failure};

const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;
/// Rooms that may be asked for at once.
const ROOM_IDS_MAX: usize = 1000;

pub(super) async fn fetch_past_rooms(
    api: Api,
    SignedJson(request): SignedJson<FetchPastRoomsReq>,
) -> Response {
    answer(run(&api, request).await)
}

async fn run(api: &Api, request: FetchPastRoomsReq) -> Result<FetchPastRoomsRes, Failure> {
    if request.room_ids.len() > ROOM_IDS_MAX {
        let text = format!("room_ids: at most {ROOM_IDS_MAX} values");
        return Err(Failure::new(Code::InvalidParameters, text));
    }
    let (order, order_by) = match request.order_by.to_ascii_uppercase().as_str() {
        "" | "DESC" => (Order::Descending, "DESC"),
        "ASC" => (Order::Ascending, "ASC"),
        _ => return Err(Failure::new(Code::InvalidParameters, "order_by: value must be ASC or DESC")),
    };
    let limit = if request.limit == 0 { LIMIT_DEFAULT } else { request.limit.min(LIMIT_MAX) };
    let query = PastRoomQuery {
        room_ids: request.room_ids,
        offset: request.from.into(),
        limit: limit.into(),
        order,
        only_landing_page: false,
    };
    let (rooms, total) = api.storage.past_rooms().find(&query).await.map_err(|error| {
        warn!(error = %error, "Past rooms cannot be read");
        Failure::new(Code::InternalServerError, "the history cannot be read now, try again")
    })?;
    if total == 0 {
        return Err(Failure::new(Code::NotFound, "no room found"));
    }
    let rooms_list = rooms
        .into_iter()
        .map(|room| PastRoomInfo {
            room_title: room.title,
            room_id: room.room_id,
            room_sid: room.sid,
            joined_participants: room.joined_total.into(),
            webhook_url: room.webhook_url,
            created: rfc3339(room.created_at),
            ended: rfc3339(room.ended_at),
            analytics_file_id: None,
        })
        .collect();
    let result = FetchPastRoomsResult {
        total_rooms: i64::try_from(total).unwrap_or(i64::MAX),
        from: request.from,
        limit,
        order_by: order_by.to_owned(),
        rooms_list,
    };
    Ok(FetchPastRoomsRes {
        status: true,
        msg: "success".to_owned(),
        status_code: Code::Success.into(),
        result: Some(result),
    })
}
