//! `POST /api/waitingRoom/approveUsers`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::{Moderation, Target};
use plenum_protocol::plugnmeet::ApproveWaitingUsersReq;

use super::{Participant, Proto, done, moderate, user};
use crate::{Api, error::Failure};

pub(super) async fn approve_users(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<ApproveWaitingUsersReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: ApproveWaitingUsersReq) -> Result<(), Failure> {
    let target = match request.user_id.as_str() {
        "all" => Target::All,
        id => Target::One(user(id)?),
    };
    let act = Moderation::Approve(target);
    moderate(api, claims, &request.room_id, act).await
}
