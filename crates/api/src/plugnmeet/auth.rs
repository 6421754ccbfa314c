//! `/auth`: the API for servers. JSON in plugNmeet's dialect, signed with the API secret.

mod create;
mod end_room;
mod fetch_past_rooms;
mod get_active_room_info;
mod get_active_rooms_info;
mod get_join_token;
mod is_room_active;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use plenum_protocol::plugnmeet::StatusCode as Code;
use serde::{Serialize, de::DeserializeOwned};
use subtle::ConstantTimeEq as _;

use crate::{
    Api, Caller, body,
    error::Failure,
    routes::{Guard, Routes},
};

/// Largest body: a room's metadata is at most 32 KiB.
const BODY_LEN_MAX: usize = 256 * 1024;

pub(super) fn add(routes: &mut Routes) {
    routes.post("/auth/room/create", create::create);
    routes.post("/auth/room/getJoinToken", get_join_token::get_join_token);
    routes.post("/auth/room/isRoomActive", is_room_active::is_room_active);
    routes.post("/auth/room/getActiveRoomInfo", get_active_room_info::get_active_room_info);
    routes.post("/auth/room/getActiveRoomsInfo", get_active_rooms_info::get_active_rooms_info);
    routes.post("/auth/room/endRoom", end_room::end_room);
    routes.post("/auth/room/fetchPastRooms", fetch_past_rooms::fetch_past_rooms);
}

/// A request with the API key and the body's signature (plugnmeet.md §1.2), of which nothing was read yet.
struct Signed(Bytes);

/// A signed request in protojson.
struct SignedJson<T>(T);

impl Guard for Signed {
    const CALLER: Caller = Caller::ApiKey;
}

impl<T> Guard for SignedJson<T> {
    const CALLER: Caller = Caller::ApiKey;
}

impl FromRequest<Api> for Signed {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let value = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let key = value(&parts.headers, "API-KEY");
        if key.is_empty() {
            return Err(unsigned(Code::MissingRequiredParameter, "Missing API-KEY header."));
        }
        if !bool::from(key.as_bytes().ct_eq(api.config.key.as_bytes())) {
            return Err(unsigned(Code::InvalidApiKey, "Invalid API key provided."));
        }
        let signature = value(&parts.headers, "HASH-SIGNATURE");
        if signature.is_empty() {
            return Err(unsigned(Code::MissingRequiredParameter, "Missing HASH-SIGNATURE header."));
        }
        let body = body::read(body, BODY_LEN_MAX).await.map_err(|error| {
            let failure = Failure::new(Code::InvalidParameters, error.to_string());
            (error.status(), json(&failure.response())).into_response()
        })?;
        if !api.secrets.is_body_signature(&body, &signature) {
            let text = "Failed to verify provided authentication details.";
            return Err(unsigned(Code::InvalidTokenOrSignature, text));
        }
        Ok(Self(body))
    }
}

fn unsigned(code: Code, text: &str) -> Response {
    (StatusCode::UNAUTHORIZED, json(&Failure::new(code, text).response())).into_response()
}

impl<T: DeserializeOwned> FromRequest<Api> for SignedJson<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let Signed(body) = Signed::from_request(request, api).await?;
        match body::json(&body) {
            Ok(request) => Ok(Self(request)),
            Err(error) => Err(json(&Failure::from(error).response())),
        }
    }
}

/// HTTP 200, also for a logical failure.
fn json(message: &impl Serialize) -> Response {
    let text = serde_json::to_string(message).expect("our own types are JSON");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The answer, or plugNmeet's common one for a failure: its members are the first of every answer.
fn answer<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(message) => json(&message),
        Err(failure) => json(&failure.response()),
    }
}

/// As RFC 3339, in UTC.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}
