//! `/twirp/livekit.RoomService/…`: the server API, in protobuf and JSON.

mod json;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use livekit_protocol as proto;
use plenum_media::ids::RoomName;
use plenum_media::room::{ApiCall, ApiError, ApiReply, RoomOptions};
use plenum_media::token::{Claims, VideoGrant};
use prost::Message;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::rooms::{RoomHandle, RoomMessage, Rooms};

/// An error as Twirp has it.
#[derive(Debug)]
struct TwirpError {
    code: &'static str,
    status: StatusCode,
    message: String,
}

fn error(code: &'static str, status: StatusCode, message: impl Into<String>) -> TwirpError {
    TwirpError { code, status, message: message.into() }
}

impl From<ApiError> for TwirpError {
    fn from(api: ApiError) -> Self {
        let message = api.to_string();
        match api {
            ApiError::NotFound(_) => error("not_found", StatusCode::NOT_FOUND, message),
            ApiError::InvalidArgument(_) | ApiError::TooLong(_) => {
                error("invalid_argument", StatusCode::BAD_REQUEST, message)
            }
            ApiError::FailedPrecondition(_) => {
                error("failed_precondition", StatusCode::PRECONDITION_FAILED, message)
            }
        }
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.code, "msg": self.message });
        (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

/// Routes that are not there, in Twirp's words.
pub(crate) async fn bad_route() -> Response {
    error("bad_route", StatusCode::NOT_FOUND, "no such service or method").into_response()
}

/// One call.
pub(crate) async fn room_service(
    State(rooms): State<Arc<Rooms>>,
    Path(method): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call { rooms, query, headers, body };
    let response = match method.as_str() {
        "CreateRoom" => call.create_room().await,
        "ListRooms" => call.list_rooms().await,
        "DeleteRoom" => call.delete_room().await,
        "ListParticipants" => call.list_participants().await,
        "GetParticipant" => call.get_participant().await,
        "RemoveParticipant" => call.remove_participant().await,
        "MutePublishedTrack" => call.mute_track().await,
        "UpdateParticipant" => call.update_participant().await,
        "SendData" => call.send_data().await,
        "UpdateSubscriptions"
        | "UpdateRoomMetadata"
        | "ForwardParticipant"
        | "MoveParticipant"
        | "PerformRpc" => {
            let message = format!("{method} is not implemented by this server");
            Err(error("unimplemented", StatusCode::NOT_IMPLEMENTED, message))
        }
        _ => return bad_route().await,
    };
    response.unwrap_or_else(IntoResponse::into_response)
}

struct Call {
    rooms: Arc<Rooms>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = Result<Response, TwirpError>;

impl Call {
    async fn create_room(&self) -> Answer {
        self.granted(|video| video.room_create, "roomCreate")?;
        let request: proto::CreateRoomRequest = self.request()?;
        let name = name(&request.name)?;
        if request.egress.is_some() {
            return Err(error("unimplemented", StatusCode::NOT_IMPLEMENTED, "egress is not supported"));
        }
        let options = RoomOptions::from_request(&request, &self.rooms.facts().limits.texts)?;
        let (room, created) = self.rooms.get_or_create(&name, &options).map_err(|_| {
            error("resource_exhausted", StatusCode::TOO_MANY_REQUESTS, "no more rooms can be made")
        })?;
        let call = if created { ApiCall::Room } else { ApiCall::Update(options) };
        self.room_reply(ask(&room, call).await?)
    }

    async fn list_rooms(&self) -> Answer {
        self.granted(|video| video.room_list, "roomList")?;
        let request: proto::ListRoomsRequest = self.request()?;
        let asked = if request.names.is_empty() {
            self.rooms.all()
        } else {
            let names = request.names.iter().filter_map(|name| RoomName::new(name.as_str()).ok());
            names.filter_map(|name| self.rooms.get(&name)).collect()
        };
        let mut rooms = Vec::with_capacity(asked.len());
        for room in asked {
            // A room that closes meanwhile is not there any more.
            if let Ok(ApiReply::Room(info)) = ask(&room, ApiCall::Room).await {
                rooms.push(*info);
            }
        }
        Ok(self.answer(&proto::ListRoomsResponse { rooms }))
    }

    async fn delete_room(&self) -> Answer {
        self.granted(|video| video.room_create, "roomCreate")?;
        let request: proto::DeleteRoomRequest = self.request()?;
        ask(&self.room(&request.room)?, ApiCall::Delete).await?;
        Ok(self.answer(&proto::DeleteRoomResponse {}))
    }

    async fn list_participants(&self) -> Answer {
        let request: proto::ListParticipantsRequest = self.request()?;
        self.administers(&request.room)?;
        match ask(&self.room(&request.room)?, ApiCall::ListParticipants).await? {
            ApiReply::Participants(participants) => {
                Ok(self.answer(&proto::ListParticipantsResponse { participants }))
            }
            _ => Err(internal()),
        }
    }

    async fn get_participant(&self) -> Answer {
        let request: proto::RoomParticipantIdentity = self.request()?;
        self.administers(&request.room)?;
        let reply = ask(&self.room(&request.room)?, ApiCall::GetParticipant(request.identity)).await?;
        self.participant_reply(reply)
    }

    async fn remove_participant(&self) -> Answer {
        let request: proto::RoomParticipantIdentity = self.request()?;
        self.administers(&request.room)?;
        ask(&self.room(&request.room)?, ApiCall::RemoveParticipant(request.identity)).await?;
        Ok(self.answer(&proto::RemoveParticipantResponse {}))
    }

    async fn mute_track(&self) -> Answer {
        let request: proto::MuteRoomTrackRequest = self.request()?;
        self.administers(&request.room)?;
        match ask(&self.room(&request.room)?, ApiCall::MuteTrack(request)).await? {
            ApiReply::Track(track) => Ok(self.answer(&proto::MuteRoomTrackResponse { track: Some(*track) })),
            _ => Err(internal()),
        }
    }

    async fn update_participant(&self) -> Answer {
        let request: proto::UpdateParticipantRequest = self.request()?;
        self.administers(&request.room)?;
        let room = self.room(&request.room)?;
        let reply = ask(&room, ApiCall::UpdateParticipant(Box::new(request))).await?;
        self.participant_reply(reply)
    }

    async fn send_data(&self) -> Answer {
        let request: proto::SendDataRequest = self.request()?;
        self.administers(&request.room)?;
        ask(&self.room(&request.room)?, ApiCall::SendData(Box::new(request))).await?;
        Ok(self.answer(&proto::SendDataResponse {}))
    }

    fn room_reply(&self, reply: ApiReply) -> Answer {
        match reply {
            ApiReply::Room(room) => Ok(self.answer(&*room)),
            _ => Err(internal()),
        }
    }

    fn participant_reply(&self, reply: ApiReply) -> Answer {
        match reply {
            ApiReply::Participant(participant) => Ok(self.answer(&*participant)),
            _ => Err(internal()),
        }
    }

    fn claims(&self) -> Result<Claims, TwirpError> {
        crate::rtc::claims(&self.rooms, &self.query, &self.headers)
            .map_err(|message| error("unauthenticated", StatusCode::UNAUTHORIZED, message))
    }

    /// LiveKit says `unauthenticated` also where a right is missing; its clients know nothing else.
    fn granted(&self, has: impl Fn(&VideoGrant) -> bool, grant: &str) -> Result<VideoGrant, TwirpError> {
        self.claims()?.video.filter(|video| has(video)).ok_or_else(|| {
            let message = format!("permissions denied: the token lacks video.{grant}");
            error("unauthenticated", StatusCode::UNAUTHORIZED, message)
        })
    }

    fn administers(&self, room: &str) -> Result<(), TwirpError> {
        self.granted(|video| video.room_admin && video.room == room, "roomAdmin for this room").map(|_| ())
    }

    fn room(&self, room: &str) -> Result<RoomHandle, TwirpError> {
        self.rooms.get(&name(room)?).ok_or_else(no_room)
    }

    fn is_json(&self) -> bool {
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        content_type.is_some_and(|value| value.starts_with("application/json"))
    }

    /// Rights are checked before anything of a room is said; the request must be read first to know which.
    fn request<T: Message + Default + DeserializeOwned>(&self) -> Result<T, TwirpError> {
        self.claims()?;
        let malformed = |message: String| error("malformed", StatusCode::BAD_REQUEST, message);
        if self.is_json() {
            serde_json::from_slice(&self.body)
                .map_err(|e| malformed(format!("the json request could not be decoded: {e}")))
        } else {
            T::decode(&*self.body)
                .map_err(|e| malformed(format!("the protobuf request could not be decoded: {e}")))
        }
    }

    fn answer<T: json::Answer>(&self, message: &T) -> Response {
        if self.is_json() {
            ([(header::CONTENT_TYPE, "application/json")], json::write(message)).into_response()
        } else {
            ([(header::CONTENT_TYPE, "application/protobuf")], message.encode_to_vec()).into_response()
        }
    }
}

fn name(room: &str) -> Result<RoomName, TwirpError> {
    RoomName::new(room).map_err(|e| error("invalid_argument", StatusCode::BAD_REQUEST, format!("room: {e}")))
}

fn no_room() -> TwirpError {
    error("not_found", StatusCode::NOT_FOUND, "requested room does not exist")
}

fn internal() -> TwirpError {
    error("internal", StatusCode::INTERNAL_SERVER_ERROR, "the room gave another kind of answer")
}

async fn ask(room: &RoomHandle, call: ApiCall) -> Result<ApiReply, TwirpError> {
    let (reply, answer) = oneshot::channel();
    if !room.send(RoomMessage::Api { call: Box::new(call), reply }).await {
        return Err(no_room());
    }
    match answer.await {
        Ok(result) => Ok(result?),
        // It closed before it came to this.
        Err(_) => Err(no_room()),
    }
}
