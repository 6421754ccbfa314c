//! `POST /api/switchPresenter`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::Moderation;
use plenum_protocol::plugnmeet::{SwitchPresenterReq, SwitchPresenterTask};

use super::{Participant, Proto, done, moderate, user};
use crate::{Api, error::Failure};

pub(super) async fn switch_presenter(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<SwitchPresenterReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: SwitchPresenterReq) -> Result<(), Failure> {
    let promote = request.task() == SwitchPresenterTask::Promote;
    let act = Moderation::SwitchPresenter { user: user(&request.user_id)?, promote };
    moderate(api, claims, &request.room_id, act).await
}
