//! `/api`: the API for browsers. Protobuf in and out, with a participant's token.

mod approve_users;
mod end_room;
mod mute_unmute_track;
mod remove_participant;
mod switch_presenter;
mod update_lock_settings;
mod update_waiting_message;
mod verify_token;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use plenum_control::{Claims, TokenError};
use plenum_meeting::{Moderation, Refusal, Room, RoomId, UserId};
use plenum_protocol::plugnmeet::{CommonResponse, StatusCode as Code};
use prost::Message;

use crate::{
    Api, Caller, body,
    error::Failure,
    routes::{Guard, Routes},
};

/// Largest body.
const BODY_LEN_MAX: usize = 64 * 1024;
const PROTOBUF: &str = "application/protobuf";

pub(super) fn add(routes: &mut Routes) {
    routes.post("/api/verifyToken", verify_token::verify_token);
    routes.post("/api/endRoom", end_room::end_room);
    routes.post("/api/updateLockSettings", update_lock_settings::update_lock_settings);
    routes.post("/api/muteUnmuteTrack", mute_unmute_track::mute_unmute_track);
    routes.post("/api/removeParticipant", remove_participant::remove_participant);
    routes.post("/api/switchPresenter", switch_presenter::switch_presenter);
    routes.post("/api/waitingRoom/approveUsers", approve_users::approve_users);
    routes.post("/api/waitingRoom/updateMsg", update_waiting_message::update_waiting_message);
}

/// The holder of a token whose room is running (plugnmeet.md §1.3).
struct Participant {
    claims: Claims,
    /// As it was read just now.
    room: Room,
}

impl Guard for Participant {
    const CALLER: Caller = Caller::Participant;

    fn room(&self) -> Option<&RoomId> {
        Some(&self.claims.room)
    }
}

impl FromRequestParts<Api> for Participant {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        admit(api, &parts.headers).await.map_err(|refusal| refuse(refusal, &parts.headers))
    }
}

impl Participant {
    /// For acts that ask others before the meeting decides; the meeting checks again.
    fn require_host(&self) -> Result<(), Failure> {
        match self.room.people.get(self.claims.user.as_str()) {
            Some(person) if person.is_admin && !person.is_waiting() => Ok(()),
            Some(_) => Err(Refusal::AdminOnly.into()),
            None => Err(Refusal::UserNotFound.into()),
        }
    }
}

async fn admit(api: &Api, headers: &HeaderMap) -> Result<Participant, (StatusCode, String)> {
    let unauthorized = |text: String| (StatusCode::UNAUTHORIZED, text);
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let claims =
        api.control.tokens().verify(token).map_err(|error: TokenError| unauthorized(error.to_string()))?;
    match api.control.room(&claims.room).await {
        Ok(Some(room)) if room.is_running() && room.sid == claims.sid => Ok(Participant { claims, room }),
        Ok(_) => Err(unauthorized(Refusal::NotActive.to_string())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, Failure::from(error).msg)),
    }
}

fn refuse((status, msg): (StatusCode, String), headers: &HeaderMap) -> Response {
    let response = CommonResponse { status: false, msg, status_code: 0 };
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes() == PROTOBUF.as_bytes()) {
        (status, protobuf(&response)).into_response()
    } else {
        let text = serde_json::to_string(&response).expect("our own types are JSON");
        (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
    }
}

/// A request in protobuf.
struct Proto<T>(T);

impl<T: Message + Default> FromRequest<Api> for Proto<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let body = body::read(body, BODY_LEN_MAX)
            .await
            .map_err(|error| refuse((error.status(), error.to_string()), &parts.headers))?;
        // The first two members of every answer are those of the common one.
        T::decode(body)
            .map(Self)
            .map_err(|error| done(Err(Failure::new(Code::InvalidParameters, error.to_string()))))
    }
}

fn protobuf(message: &impl Message) -> Response {
    ([(header::CONTENT_TYPE, PROTOBUF)], message.encode_to_vec()).into_response()
}

/// The answer of everything that only succeeds or fails. `status_code` stays unset: clients read other messages' fields
/// there (plugnmeet.md §1.3).
fn done(result: Result<(), Failure>) -> Response {
    let (status, msg) = match result {
        Ok(()) => (true, "success".to_owned()),
        Err(failure) => (false, failure.msg),
    };
    protobuf(&CommonResponse { status, msg, status_code: 0 })
}

/// Hosts may act on their own room only; the rest is the meeting's to decide.
async fn moderate(api: &Api, claims: &Claims, room_id: &str, act: Moderation) -> Result<(), Failure> {
    own_room(claims, room_id)?;
    Ok(api.control.moderate(&claims.room, Some(&claims.user), act).await?)
}

/// A request may name the room or leave it to the token.
fn own_room(claims: &Claims, room_id: &str) -> Result<(), Failure> {
    if room_id.is_empty() || room_id == claims.room.as_str() {
        Ok(())
    } else {
        Err(Failure::new(Code::PermissionDenied, "requested roomId & token roomId mismatched"))
    }
}

fn user(text: &str) -> Result<UserId, Failure> {
    Ok(UserId::parse(text, "user_id")?)
}
