//! `/twirp/livekit.…`: the server API, in protobuf and JSON.

mod absent;
mod json;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Path, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use livekit_protocol as proto;
use plenum_media::ids::RoomName;
use plenum_media::room::{ApiCall, ApiError, ApiReply, RoomOptions, RpcFailure};
use plenum_media::token::{Claims, VideoGrant};
use prost::Message;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::metrics_names as names;
use crate::rooms::{RoomHandle, RoomMessage, Rooms};
use crate::tally::label;

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
            ApiError::TooMany(_) => error("resource_exhausted", StatusCode::TOO_MANY_REQUESTS, message),
            ApiError::Rpc(failure) => match failure.code {
                1400 => error("invalid_argument", StatusCode::BAD_REQUEST, message),
                1401 => error("not_found", StatusCode::NOT_FOUND, message),
                RpcFailure::REQUEST_PAYLOAD_TOO_LARGE => error("malformed", StatusCode::BAD_REQUEST, message),
                1403 | 1404 => error("unimplemented", StatusCode::NOT_IMPLEMENTED, message),
                RpcFailure::CONNECTION_TIMEOUT | RpcFailure::RESPONSE_TIMEOUT => {
                    error("canceled", StatusCode::REQUEST_TIMEOUT, message)
                }
                RpcFailure::RECIPIENT_DISCONNECTED => {
                    error("unavailable", StatusCode::SERVICE_UNAVAILABLE, message)
                }
                _ => error("internal", StatusCode::INTERNAL_SERVER_ERROR, message),
            },
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
    no_method().into_response()
}

/// `RoomService`
pub(crate) async fn room_service(call: Call) -> Response {
    call.answered("RoomService", async |call: &Call| match call.method.as_str() {
        "CreateRoom" => call.create_room().await,
        "ListRooms" => call.list_rooms().await,
        "DeleteRoom" => call.delete_room().await,
        "ListParticipants" => call.list_participants().await,
        "GetParticipant" => call.get_participant().await,
        "RemoveParticipant" => call.remove_participant().await,
        "MutePublishedTrack" => call.mute_track().await,
        "UpdateParticipant" => call.update_participant().await,
        "UpdateSubscriptions" => call.update_subscriptions().await,
        "SendData" => call.send_data().await,
        "UpdateRoomMetadata" => call.update_room_metadata().await,
        "ForwardParticipant" => call.forward_participant(),
        "MoveParticipant" => call.move_participant(),
        "PerformRpc" => call.perform_rpc().await,
        _ => Err(no_method()),
    })
    .await
}

/// `AgentDispatchService`
pub(crate) async fn agent_dispatch(call: Call) -> Response {
    call.answered("AgentDispatchService", async |call: &Call| match call.method.as_str() {
        "CreateDispatch" => call.create_dispatch().await,
        "DeleteDispatch" => call.delete_dispatch().await,
        "ListDispatch" => call.list_dispatch().await,
        _ => Err(no_method()),
    })
    .await
}

/// `Egress`, see [`absent`].
pub(crate) async fn egress(call: Call) -> Response {
    call.answered_as_absent(absent::Service::Egress).await
}

/// `Ingress`, see [`absent`].
pub(crate) async fn ingress(call: Call) -> Response {
    call.answered_as_absent(absent::Service::Ingress).await
}

/// `SIP`, see [`absent`].
pub(crate) async fn sip(call: Call) -> Response {
    call.answered_as_absent(absent::Service::Sip).await
}

/// A call of the server API.
pub(crate) struct Call {
    rooms: Arc<Rooms>,
    method: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = Result<Response, TwirpError>;

impl FromRequest<Arc<Rooms>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, rooms: &Arc<Rooms>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let method = Path::<String>::from_request_parts(&mut parts, rooms).await;
        let query = Query::<BTreeMap<String, String>>::from_request_parts(&mut parts, rooms).await;
        let (Path(method), Query(query)) =
            (method.map_err(IntoResponse::into_response)?, query.map_err(IntoResponse::into_response)?);
        let headers = parts.headers.clone();
        let body = Bytes::from_request(Request::from_parts(parts, body), rooms).await;
        let body = body.map_err(IntoResponse::into_response)?;
        Ok(Self { rooms: rooms.clone(), method, query, headers, body })
    }
}

impl Call {
    async fn answered_as_absent(self, service: absent::Service) -> Response {
        self.answered(service.name(), async |call: &Self| absent::answer(call, service)).await
    }

    /// The answer, which is counted.
    async fn answered(self, service: &'static str, answer: impl AsyncFnOnce(&Self) -> Answer) -> Response {
        let begun = Instant::now();
        let (response, code, method) = match answer(&self).await {
            Ok(response) => (response, "", self.method.clone()),
            // Names that strangers make up are no labels.
            Err(error) if error.code == "bad_route" => return error.into_response(),
            Err(error) => {
                let code = error.code;
                (error.into_response(), code, self.method.clone())
            }
        };
        let status = match response.status().as_u16() {
            200..=299 => "200",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let method = ("method", method.into());
        let labels = [label("service", service), method, label("status", status)];
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        self.rooms.node().observe(names::LIVEKIT_CALL_LATENCY, &labels, ms);
        let [service, method, status] = labels;
        let labels = [service, method, status, label("code", code)];
        self.rooms.node().count(names::LIVEKIT_CALLS, &labels);
        response
    }

    async fn create_room(&self) -> Answer {
        self.granted(|video| video.room_create, "roomCreate")?;
        let request: proto::CreateRoomRequest = self.request()?;
        let name = name(&request.name)?;
        if request.egress.is_some() {
            return Err(absent::no_egress());
        }
        let facts = self.rooms.facts();
        let options = RoomOptions::from_request(&request, &facts.limits.texts)?;
        let options = facts.options(&request.room_preset, options).ok_or_else(|| {
            let message = "unknown room configuration in create room request";
            error("invalid_argument", StatusCode::BAD_REQUEST, message)
        })?;
        let (room, created) = self.rooms.get_or_create(&name, &options).map_err(|_| no_more_rooms())?;
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

    async fn update_subscriptions(&self) -> Answer {
        let request: proto::UpdateSubscriptionsRequest = self.request()?;
        self.administers(&request.room)?;
        ask(&self.room(&request.room)?, ApiCall::UpdateSubscriptions(Box::new(request))).await?;
        Ok(self.answer(&proto::UpdateSubscriptionsResponse {}))
    }

    async fn update_room_metadata(&self) -> Answer {
        let request: proto::UpdateRoomMetadataRequest = self.request()?;
        self.administers(&request.room)?;
        self.room_reply(ask(&self.room(&request.room)?, ApiCall::UpdateMetadata(request.metadata)).await?)
    }

    async fn perform_rpc(&self) -> Answer {
        let request: proto::PerformRpcRequest = self.request()?;
        self.administers(&request.room)?;
        if request.destination_identity.is_empty() {
            let message = "destination identity is required";
            return Err(error("invalid_argument", StatusCode::BAD_REQUEST, message));
        }
        match ask(&self.room(&request.room)?, ApiCall::PerformRpc(Box::new(request))).await? {
            ApiReply::Payload(payload) => Ok(self.answer(&proto::PerformRpcResponse { payload })),
            _ => Err(internal()),
        }
    }

    fn forward_participant(&self) -> Answer {
        let request: proto::ForwardParticipantRequest = self.request()?;
        self.leads_to(&request.room, &request.destination_room)
    }

    fn move_participant(&self) -> Answer {
        let request: proto::MoveParticipantRequest = self.request()?;
        self.leads_to(&request.room, &request.destination_room)
    }

    /// From one room to another goes nobody: livekit-server has no such thing either, only its cloud.
    fn leads_to(&self, room: &str, destination: &str) -> Answer {
        let granted = |video: &VideoGrant| {
            video.room_admin && video.room == room && video.destination_room == destination
        };
        self.granted(granted, "roomAdmin for this room with destinationRoom")?;
        if room == destination {
            let message = "destination room cannot be the same as source room";
            return Err(error("invalid_argument", StatusCode::BAD_REQUEST, message));
        }
        Err(error("unimplemented", StatusCode::NOT_IMPLEMENTED, "not implemented"))
    }

    async fn create_dispatch(&self) -> Answer {
        let request: proto::CreateAgentDispatchRequest = self.request()?;
        self.administers(&request.room)?;
        let name = name(&request.room)?;
        let room = match self.rooms.may_create(false) {
            true => self.rooms.get_or_create(&name, &RoomOptions::default()).map_err(|_| no_more_rooms())?.0,
            false => self.room(&request.room)?,
        };
        self.dispatch_reply(ask(&room, ApiCall::CreateDispatch(Box::new(request))).await?)
    }

    async fn delete_dispatch(&self) -> Answer {
        let request: proto::DeleteAgentDispatchRequest = self.request()?;
        self.administers(&request.room)?;
        let room = self.room(&request.room)?;
        self.dispatch_reply(ask(&room, ApiCall::DeleteDispatch(request.dispatch_id)).await?)
    }

    async fn list_dispatch(&self) -> Answer {
        let request: proto::ListAgentDispatchRequest = self.request()?;
        self.administers(&request.room)?;
        match ask(&self.room(&request.room)?, ApiCall::ListDispatch(request.dispatch_id)).await? {
            ApiReply::Dispatches(agent_dispatches) => {
                Ok(self.answer(&proto::ListAgentDispatchResponse { agent_dispatches }))
            }
            _ => Err(internal()),
        }
    }

    fn dispatch_reply(&self, reply: ApiReply) -> Answer {
        match reply {
            ApiReply::Dispatch(dispatch) => Ok(self.answer(&*dispatch)),
            _ => Err(internal()),
        }
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

fn no_method() -> TwirpError {
    error("bad_route", StatusCode::NOT_FOUND, "no such service or method")
}

fn no_more_rooms() -> TwirpError {
    error("resource_exhausted", StatusCode::TOO_MANY_REQUESTS, "no more rooms can be made")
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
