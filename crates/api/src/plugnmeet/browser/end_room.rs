//! `POST /api/endRoom`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::{EndReason, Moderation};
use plenum_protocol::plugnmeet::RoomEndReq;

use super::{Participant, Proto, done, moderate};
use crate::{Api, error::Failure};

pub(super) async fn end_room(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<RoomEndReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: RoomEndReq) -> Result<(), Failure> {
    let act = Moderation::End(EndReason::Asked);
    moderate(api, claims, &request.room_id, act).await
}
