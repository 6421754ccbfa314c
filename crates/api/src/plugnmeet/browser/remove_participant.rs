//! `POST /api/removeParticipant`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::Moderation;
use plenum_protocol::plugnmeet::RemoveParticipantReq;

use super::{Participant, Proto, done, moderate, user};
use crate::{Api, error::Failure};

pub(super) async fn remove_participant(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<RemoveParticipantReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: RemoveParticipantReq) -> Result<(), Failure> {
    let act =
        Moderation::Remove { user: user(&request.user_id)?, message: request.msg, block: request.block_user };
    moderate(api, claims, &request.room_id, act).await
}
