//! `POST /api/updateLockSettings`.

use axum::response::Response;
use plenum_control::Claims;
use plenum_meeting::{Lock, Moderation, Target};
use plenum_protocol::plugnmeet::{StatusCode as Code, UpdateUserLockSettingsReq};

use super::{Participant, Proto, done, moderate, user};
use crate::{Api, error::Failure};

pub(super) async fn update_lock_settings(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<UpdateUserLockSettingsReq>),
) -> Response {
    done(run(&api, &caller.claims, request).await)
}

async fn run(api: &Api, claims: &Claims, request: UpdateUserLockSettingsReq) -> Result<(), Failure> {
    let target = match request.user_id.as_str() {
        "all" => Target::All,
        id => Target::One(user(id)?),
    };
    let Some(lock) = Lock::from_service(&request.service) else {
        return Err(Failure::new(
            Code::InvalidParameters,
            format!("service: unknown value {:?}", request.service),
        ));
    };
    let locked = match request.direction.as_str() {
        "lock" => true,
        "unlock" => false,
        _ => return Err(Failure::new(Code::InvalidParameters, "direction: value must be lock or unlock")),
    };
    let act = Moderation::Lock { target, lock, locked };
    moderate(api, claims, &request.room_id, act).await
}
