//! `POST /api/waitingRoom/updateMsg`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::Moderation;
use plenum_protocol::plugnmeet::UpdateWaitingRoomMessageReq;

use super::{Participant, Proto, done, moderate};
use crate::{Api, error::Failure};

pub(super) async fn update_waiting_message(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<UpdateWaitingRoomMessageReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: UpdateWaitingRoomMessageReq) -> Result<(), Failure> {
    let act = Moderation::WaitingMessage(request.msg);
    moderate(api, claims, &request.room_id, act).await
}
