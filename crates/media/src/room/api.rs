//! The server API's calls on one room; rights were checked before.

use livekit_protocol as proto;
use prost::Message as _;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::{DataPacket, DisconnectReason};

use super::rpc::RpcFailure;
use super::{Effect, Moment, Room, RoomOptions, TooLong};
use crate::ids::Identity;
use crate::transport::MAX_DATA_LEN;

/// A call.
#[derive(Debug, Clone)]
pub enum ApiCall {
    /// `CreateRoom` for a room that is there: what is set replaces what was.
    Update(RoomOptions),
    /// `ListRooms`, for this one.
    Room,
    /// `DeleteRoom`
    Delete,
    /// `ListParticipants`
    ListParticipants,
    /// `GetParticipant`
    GetParticipant(String),
    /// `RemoveParticipant`
    RemoveParticipant(String),
    /// `MutePublishedTrack`
    MuteTrack(proto::MuteRoomTrackRequest),
    /// `UpdateParticipant`
    UpdateParticipant(Box<proto::UpdateParticipantRequest>),
    /// `SendData`
    SendData(Box<proto::SendDataRequest>),
    /// `UpdateRoomMetadata`
    UpdateMetadata(String),
    /// `UpdateSubscriptions`
    UpdateSubscriptions(Box<proto::UpdateSubscriptionsRequest>),
    /// `PerformRpc`; answered when the participant has answered.
    PerformRpc(Box<proto::PerformRpcRequest>),
    /// `CreateDispatch`
    CreateDispatch(Box<proto::CreateAgentDispatchRequest>),
    /// `DeleteDispatch`, of that name.
    DeleteDispatch(String),
    /// `ListDispatch`: the one of that name, or all.
    ListDispatch(String),
}

/// Its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiReply {
    /// Done.
    Done,
    /// A room.
    Room(Box<proto::Room>),
    /// A participant.
    Participant(Box<proto::ParticipantInfo>),
    /// Participants.
    Participants(Vec<proto::ParticipantInfo>),
    /// A track.
    Track(Box<proto::TrackInfo>),
    /// What a participant answered.
    Payload(String),
    /// An agent that is wanted.
    Dispatch(Box<proto::AgentDispatch>),
    /// Agents that are wanted.
    Dispatches(Vec<proto::AgentDispatch>),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Not there.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A field of the request is wrong.
    #[error("{0}")]
    InvalidArgument(&'static str),
    /// A text of the request is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Not possible in this state.
    #[error("{0}")]
    FailedPrecondition(&'static str),
    /// As many as there may be.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// A participant did not answer, or with an error.
    #[error(transparent)]
    Rpc(#[from] RpcFailure),
}

impl Room {
    /// Begins a call, and answers it unless somebody else has to answer first.
    pub(super) fn api(&mut self, moment: &mut Moment<'_>, id: u64, call: ApiCall) {
        let result = match call {
            ApiCall::PerformRpc(request) => match self.perform_rpc(moment, id, *request) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            call => self.answer(moment, call),
        };
        self.effects.push(Effect::Reply { id, result });
    }

    fn answer(&mut self, moment: &mut Moment<'_>, call: ApiCall) -> Result<ApiReply, ApiError> {
        match call {
            ApiCall::Update(options) => {
                self.update_options(moment, &options);
                self.count();
                Ok(ApiReply::Room(Box::new(self.info.clone())))
            }
            ApiCall::Room => {
                self.count();
                Ok(ApiReply::Room(Box::new(self.info.clone())))
            }
            ApiCall::Delete => {
                self.close(moment, DisconnectReason::RoomDeleted, Action::Disconnect);
                Ok(ApiReply::Done)
            }
            ApiCall::ListParticipants => Ok(ApiReply::Participants(
                self.participants.values().map(super::participant::Participant::info).collect(),
            )),
            ApiCall::GetParticipant(identity) => {
                let identity = self.known(&identity)?;
                Ok(ApiReply::Participant(Box::new(self.participants[&identity].info())))
            }
            ApiCall::RemoveParticipant(identity) => {
                let identity = self.known(&identity)?;
                let reason = DisconnectReason::ParticipantRemoved;
                self.remove(moment, &identity, reason, Some(Action::Disconnect));
                Ok(ApiReply::Done)
            }
            ApiCall::MuteTrack(request) => self.mute_by_api(moment, &request),
            ApiCall::UpdateParticipant(request) => self.update_participant(moment, *request),
            ApiCall::SendData(request) => self.send_by_api(*request),
            ApiCall::UpdateMetadata(metadata) => {
                self.facts.limits.texts.check_metadata(&metadata)?;
                self.info.metadata = metadata;
                self.broadcast_room();
                Ok(ApiReply::Room(Box::new(self.info.clone())))
            }
            ApiCall::UpdateSubscriptions(request) => {
                let identity = self.known(&request.identity)?;
                let update = proto::UpdateSubscription {
                    track_sids: request.track_sids,
                    subscribe: request.subscribe,
                    participant_tracks: request.participant_tracks,
                };
                self.subscription(&identity, &update);
                Ok(ApiReply::Done)
            }
            ApiCall::CreateDispatch(request) => self.create_dispatch(moment, *request),
            ApiCall::DeleteDispatch(id) => self.delete_dispatch(moment, &id),
            ApiCall::ListDispatch(id) => Ok(ApiReply::Dispatches(self.list_dispatches(&id))),
            // It is answered later.
            ApiCall::PerformRpc(_) => Err(ApiError::FailedPrecondition("not answered at once")),
        }
    }

    pub(super) fn known(&self, identity: &str) -> Result<Identity, ApiError> {
        let identity = Identity::new(identity)
            .map_err(|_| ApiError::InvalidArgument("identity is empty or too long"))?;
        if self.participants.contains_key(&identity) {
            Ok(identity)
        } else {
            Err(ApiError::NotFound("participant"))
        }
    }

    fn update_options(&mut self, moment: &mut Moment<'_>, options: &RoomOptions) {
        let before = self.info.metadata.clone();
        options.put_into(&mut self.info);
        self.playout_delay = options.playout_delay.or(self.playout_delay);
        self.add_dispatches(moment, &options.agents);
        if self.info.metadata != before {
            self.broadcast_room();
        }
    }

    fn mute_by_api(
        &mut self,
        moment: &mut Moment<'_>,
        request: &proto::MuteRoomTrackRequest,
    ) -> Result<ApiReply, ApiError> {
        let identity = self.known(&request.identity)?;
        let participant = &self.participants[&identity];
        let track = participant.tracks.get(&request.track_sid).ok_or(ApiError::NotFound("track"))?;
        let mut info = track.info.clone();
        if info.muted && !request.muted && !self.facts.rooms.remote_unmute {
            return Err(ApiError::FailedPrecondition("remote unmute not enabled"));
        }
        if info.muted != request.muted {
            let peer = participant.peer;
            let mute = proto::MuteTrackRequest { sid: request.track_sid.clone(), muted: request.muted };
            self.send(peer, Response::Mute(mute));
            // At once, whatever the client does.
            self.mute(moment, &identity, &request.track_sid, request.muted);
        }
        info.muted = request.muted;
        Ok(ApiReply::Track(Box::new(info)))
    }

    fn update_participant(
        &mut self,
        moment: &mut Moment<'_>,
        request: proto::UpdateParticipantRequest,
    ) -> Result<ApiReply, ApiError> {
        let identity = self.known(&request.identity)?;
        self.set_metadata(moment, &identity, &request.name, &request.metadata, &request.attributes)?;
        if let Some(permission) = request.permission {
            self.set_permission(moment, &identity, permission);
        }
        Ok(ApiReply::Participant(Box::new(self.participants[&identity].info())))
    }

    #[expect(deprecated, reason = "callers still name receivers by sid")]
    fn send_by_api(&mut self, request: proto::SendDataRequest) -> Result<ApiReply, ApiError> {
        if request.data.len() > MAX_DATA_LEN - 1_024 {
            return Err(ApiError::InvalidArgument("data is longer than 64511 bytes"));
        }
        if !matches!(request.nonce.len(), 0 | 16) {
            return Err(ApiError::InvalidArgument("nonce must be absent or 16 bytes long"));
        }
        let reliable = request.kind == proto::data_packet::Kind::Reliable as i32;
        let packet = DataPacket {
            kind: request.kind,
            destination_identities: request.destination_identities.clone(),
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: request.data,
                topic: request.topic,
                destination_sids: request.destination_sids,
                destination_identities: request.destination_identities,
                nonce: request.nonce,
                ..proto::UserPacket::default()
            })),
            ..DataPacket::default()
        };
        if packet.encoded_len() > MAX_DATA_LEN {
            return Err(ApiError::InvalidArgument("topic and destinations leave no room in 65535 bytes"));
        }
        self.data_from_api(&packet, reliable);
        Ok(ApiReply::Done)
    }
}
