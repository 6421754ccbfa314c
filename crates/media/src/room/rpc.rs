//! `PerformRpc`: the server API calls a method of a participant, through its data channel.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use prost::Message as _;
use proto::data_packet::{Kind, Value};
use proto::rpc_response;
use rand::Rng;

use super::{ApiError, ApiReply, Effect, Moment, Room};
use crate::ids::Identity;

/// Time for a participant to say that a call has arrived (LiveKit's value).
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);
/// Time for the answer where the caller does not say (LiveKit's value), and the longest that can be said.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const ANSWERED_WITHIN_MAX: Duration = Duration::from_secs(600);
/// Longest payload, in bytes (LiveKit's value).
const PAYLOAD_LEN_MAX: usize = 15_360;
/// Most calls of a room that wait for an answer.
const WAITING_MAX: usize = 1_000;

/// A call that waits for its participant.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The call of the server API.
    reply: u64,
    identity: Identity,
    /// Of the session that was asked; another one cannot answer.
    sid: String,
    /// `None` once it was said to have arrived.
    acknowledge_by: Option<Instant>,
    answer_by: Instant,
}

impl Waiting {
    pub(super) fn deadline(&self) -> Instant {
        self.acknowledge_by.map_or(self.answer_by, |at| at.min(self.answer_by))
    }
}

/// Why a participant gave no result. Numbers and words are those of LiveKit's clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("RpcError {code}: {message}{}", detail(data))]
pub struct RpcFailure {
    /// 1400 and above: the request was at fault; 1500 and above: its handling.
    pub code: u32,
    /// What went wrong.
    pub message: String,
    /// More about it, in the participant's own words.
    pub data: String,
}

fn detail(data: &str) -> String {
    if data.is_empty() { String::new() } else { format!(": {data}") }
}

impl RpcFailure {
    /// Nothing says that the call has arrived.
    pub const CONNECTION_TIMEOUT: u32 = 1501;
    /// It has arrived and was not answered in time.
    pub const RESPONSE_TIMEOUT: u32 = 1502;
    /// The participant has left.
    pub const RECIPIENT_DISCONNECTED: u32 = 1503;
    /// The payload is too long.
    pub const REQUEST_PAYLOAD_TOO_LARGE: u32 = 1402;

    fn built_in(code: u32) -> Self {
        let message = match code {
            Self::CONNECTION_TIMEOUT => "Connection timeout",
            Self::RESPONSE_TIMEOUT => "Response timeout",
            Self::RECIPIENT_DISCONNECTED => "Recipient disconnected",
            _ => "Request payload too large",
        };
        Self { code, message: message.to_owned(), data: String::new() }
    }
}

impl Room {
    pub(super) fn perform_rpc(
        &mut self,
        moment: &mut Moment<'_>,
        reply: u64,
        request: proto::PerformRpcRequest,
    ) -> Result<(), ApiError> {
        let identity = self.known(&request.destination_identity)?;
        if request.payload.len() > PAYLOAD_LEN_MAX {
            return Err(RpcFailure::built_in(RpcFailure::REQUEST_PAYLOAD_TOO_LARGE).into());
        }
        if self.rpcs.len() >= WAITING_MAX {
            return Err(ApiError::TooMany("calls that wait for an answer"));
        }
        let time = match request.response_timeout_ms {
            0 => ANSWERED_WITHIN,
            ms => Duration::from_millis(ms.into()).min(ANSWERED_WITHIN_MAX),
        };
        let id = uuid(moment.rng);
        let packet = proto::DataPacket {
            kind: Kind::Reliable as i32,
            // The answer is addressed to the caller: the call's own name stands for it.
            participant_identity: id.clone(),
            destination_identities: vec![identity.as_str().to_owned()],
            value: Some(Value::RpcRequest(proto::RpcRequest {
                id: id.clone(),
                method: request.method,
                payload: request.payload,
                response_timeout_ms: time.as_millis() as u32,
                version: 1,
                ..proto::RpcRequest::default()
            })),
            ..proto::DataPacket::default()
        };
        if packet.encoded_len() > crate::transport::MAX_DATA_LEN {
            return Err(ApiError::InvalidArgument("method is too long"));
        }
        let waiting = Waiting {
            reply,
            sid: self.participants[&identity].info.sid.clone(),
            identity,
            acknowledge_by: Some(moment.now + ACKNOWLEDGED_WITHIN),
            answer_by: moment.now + time,
        };
        self.rpcs.insert(id, waiting);
        self.data_from_api(&packet, true);
        Ok(())
    }

    /// Takes what a participant says to a call of the server API. `false` if it is for somebody else.
    pub(super) fn rpc_answer(&mut self, from: &Identity, value: &Value) -> bool {
        let id = match value {
            Value::RpcAck(ack) => &ack.request_id,
            Value::RpcResponse(response) => &response.request_id,
            _ => return false,
        };
        let Some(waiting) = self.rpcs.get_mut(id).filter(|waiting| waiting.identity == *from) else {
            return false;
        };
        let Value::RpcResponse(response) = value else {
            waiting.acknowledge_by = None;
            return true;
        };
        let result = match &response.value {
            Some(rpc_response::Value::Payload(payload)) => Ok(ApiReply::Payload(payload.clone())),
            Some(rpc_response::Value::Error(error)) => Err(ApiError::Rpc(RpcFailure {
                code: error.code,
                message: error.message.clone(),
                data: error.data.clone(),
            })),
            // Compressed for a caller that said it can unpack, which this one did not.
            _ => Ok(ApiReply::Payload(String::new())),
        };
        let id = id.clone();
        self.end_rpc(&id, result);
        true
    }

    /// Ends the calls whose participant has left, or has had its time.
    pub(super) fn settle_rpcs(&mut self, now: Instant) {
        let over = |waiting: &Waiting| {
            let is_there =
                self.participants.get(&waiting.identity).is_some_and(|p| p.info.sid == waiting.sid);
            match () {
                () if !is_there => Some(RpcFailure::RECIPIENT_DISCONNECTED),
                () if waiting.acknowledge_by.is_some_and(|at| at <= now) => {
                    Some(RpcFailure::CONNECTION_TIMEOUT)
                }
                () if waiting.answer_by <= now => Some(RpcFailure::RESPONSE_TIMEOUT),
                () => None,
            }
        };
        let ended: Vec<(String, u32)> =
            self.rpcs.iter().filter_map(|(id, waiting)| Some((id.clone(), over(waiting)?))).collect();
        for (id, code) in ended {
            self.end_rpc(&id, Err(RpcFailure::built_in(code).into()));
        }
    }

    fn end_rpc(&mut self, id: &str, result: Result<ApiReply, ApiError>) {
        if let Some(waiting) = self.rpcs.remove(id) {
            self.effects.push(Effect::Reply { id: waiting.reply, result });
        }
    }
}

/// A random UUID (RFC 9562 §5.4): clients expect one.
fn uuid(rng: &mut dyn Rng) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
