//! Calls of the server API that a room answers itself.

use prost::Message as _;
use proto::data_packet::Value;
use proto::rpc_response;

use super::*;
use crate::room::{RpcFailure, TextLimits, TooLong};

impl Sim {
    /// A call, and its answer if it comes at once.
    fn call(&mut self, call: ApiCall) -> Option<Result<ApiReply, ApiError>> {
        self.step(Command::Api { id: 99, call });
        self.reply()
    }

    fn reply(&mut self) -> Option<Result<ApiReply, ApiError>> {
        let place = self.said.iter().position(|effect| matches!(effect, Effect::Reply { id: 99, .. }))?;
        match self.said.remove(place) {
            Effect::Reply { result, .. } => Some(result),
            _ => None,
        }
    }

    /// The request of an RPC that was sent to `peer`.
    fn rpc_request(&mut self, peer: PeerHandle) -> Option<(proto::DataPacket, proto::RpcRequest)> {
        let payload = commands(&self.said).into_iter().find_map(|command| match command {
            shard::Command::SendData { peers, payload, reliable: true } if peers == &[peer] => {
                Some(payload.clone())
            }
            _ => None,
        })?;
        let packet = proto::DataPacket::decode(&*payload).expect("well-formed");
        match packet.value.clone() {
            Some(Value::RpcRequest(request)) => Some((packet, request)),
            _ => None,
        }
    }

    fn says(&mut self, peer: PeerHandle, value: Value) {
        let payload = proto::DataPacket { value: Some(value), ..Default::default() }.encode_to_vec();
        self.event(peer, EventKind::Data { reliable: true, payload });
    }
}

fn rpc(method: &str, payload: String, response_timeout_ms: u32) -> ApiCall {
    ApiCall::PerformRpc(Box::new(proto::PerformRpcRequest {
        room: "r".into(),
        destination_identity: "alice".into(),
        method: method.into(),
        payload,
        response_timeout_ms,
    }))
}

fn answer(id: &str, value: rpc_response::Value) -> Value {
    Value::RpcResponse(proto::RpcResponse { request_id: id.into(), value: Some(value) })
}

#[test]
fn a_participant_answers_a_call() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    assert_eq!(sim.call(rpc("greet", "hello".into(), 0)), None, "nobody has answered yet");
    let (packet, request) = sim.rpc_request(alice).expect("asked");
    assert_eq!((request.method.as_str(), request.payload.as_str(), request.version), ("greet", "hello", 1));
    assert_eq!((request.response_timeout_ms, request.id.len()), (10_000, 36));
    assert_eq!(packet.participant_identity, request.id, "the answer is addressed to the call");
    sim.take();
    // Somebody else cannot answer for her.
    sim.says(bob, answer(&request.id, rpc_response::Value::Payload("wrong".into())));
    assert_eq!(sim.reply(), None);
    sim.says(alice, Value::RpcAck(proto::RpcAck { request_id: request.id.clone() }));
    sim.pass(Duration::from_secs(5));
    sim.take();
    sim.says(alice, answer(&request.id, rpc_response::Value::Payload("hi".into())));
    assert_eq!(sim.reply(), Some(Ok(ApiReply::Payload("hi".into()))));
    let told = commands(&sim.said).iter().any(|c| matches!(c, shard::Command::SendData { .. }));
    assert!(!told, "the answer is nobody else's");
    sim.says(alice, answer(&request.id, rpc_response::Value::Payload("again".into())));
    assert_eq!(sim.reply(), None);
}

#[test]
fn an_error_of_the_method_comes_back() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    sim.call(rpc("greet", String::new(), 0));
    let (_, request) = sim.rpc_request(alice).expect("asked");
    let error = proto::RpcError { code: 1400, message: "Method not supported".into(), data: "x".into() };
    sim.says(alice, answer(&request.id, rpc_response::Value::Error(error)));
    let reply = sim.reply().expect("answered").expect_err("an error");
    assert_eq!(reply.to_string(), "RpcError 1400: Method not supported: x");
}

#[test]
fn nobody_waits_for_ever() {
    let code = |reply: Option<Result<ApiReply, ApiError>>| match reply {
        Some(Err(ApiError::Rpc(failure))) => failure.code,
        other => panic!("{other:?}"),
    };
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    sim.call(rpc("silent", String::new(), 0));
    sim.pass(Duration::from_millis(1_900));
    assert_eq!(sim.reply(), None);
    sim.pass(Duration::from_millis(200));
    assert_eq!(code(sim.reply()), RpcFailure::CONNECTION_TIMEOUT);

    sim.take();
    sim.call(rpc("slow", String::new(), 3_000));
    let (_, request) = sim.rpc_request(alice).expect("asked");
    sim.says(alice, Value::RpcAck(proto::RpcAck { request_id: request.id }));
    sim.pass(Duration::from_millis(2_900));
    assert_eq!(sim.reply(), None);
    sim.pass(Duration::from_millis(200));
    assert_eq!(code(sim.reply()), RpcFailure::RESPONSE_TIMEOUT);

    sim.take();
    sim.call(rpc("gone", String::new(), 0));
    sim.signal(alice, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(code(sim.reply()), RpcFailure::RECIPIENT_DISCONNECTED);
    assert_eq!(sim.call(rpc("gone", String::new(), 0)), Some(Err(ApiError::NotFound("participant"))));
    sim.join("alice");
    assert_eq!(code(sim.call(rpc("long", "x".repeat(15_361), 0))), RpcFailure::REQUEST_PAYLOAD_TOO_LARGE);
}

#[test]
fn the_servers_subscriptions_are_the_participants_own() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    let track = sim.publish(alice, proto::TrackSource::Camera);
    let receives = |sim: &Sim| sim.room.participants[&sim.room.by_peer[&bob]].receives(&track);
    assert!(receives(&sim));
    let update = |track_sids: Vec<String>, participant_tracks, subscribe| {
        ApiCall::UpdateSubscriptions(Box::new(proto::UpdateSubscriptionsRequest {
            room: "r".into(),
            identity: "bob".into(),
            track_sids,
            subscribe,
            participant_tracks,
        }))
    };
    assert_eq!(sim.call(update(vec![track.clone()], Vec::new(), false)), Some(Ok(ApiReply::Done)));
    assert!(!receives(&sim));
    let by_participant =
        proto::ParticipantTracks { participant_sid: String::new(), track_sids: vec![track.clone()] };
    sim.call(update(Vec::new(), vec![by_participant], true));
    assert!(receives(&sim));
}

#[test]
fn metadata_of_a_room_is_told_to_all_and_may_be_taken_away() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    for metadata in ["new", ""] {
        sim.take();
        let reply = sim.call(ApiCall::UpdateMetadata(metadata.into()));
        assert!(matches!(reply, Some(Ok(ApiReply::Room(room))) if room.metadata == metadata));
        let told = |m: &Response| matches!(m, Response::RoomUpdate(u) if u.room.as_ref().is_some_and(|room| room.metadata == metadata));
        assert!(sim.heard(alice).iter().any(told));
    }
}

#[test]
fn agents_that_are_wanted_are_kept() {
    let mut sim = Sim::new();
    let wanted = proto::RoomAgentDispatch { agent_name: "first".into(), ..Default::default() };
    sim.call(ApiCall::Update(RoomOptions { agents: vec![wanted], ..RoomOptions::default() }));
    let request = proto::CreateAgentDispatchRequest {
        agent_name: "second".into(),
        metadata: "m".into(),
        ..Default::default()
    };
    let Some(Ok(ApiReply::Dispatch(made))) = sim.call(ApiCall::CreateDispatch(Box::new(request))) else {
        panic!("made");
    };
    assert!(made.id.starts_with("AD_") && made.room == "r" && made.metadata == "m");
    let names = |reply| match reply {
        Some(Ok(ApiReply::Dispatches(list))) => {
            list.into_iter().map(|dispatch: proto::AgentDispatch| dispatch.agent_name).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(names(sim.call(ApiCall::ListDispatch(String::new()))), ["first", "second"]);
    assert_eq!(names(sim.call(ApiCall::ListDispatch(made.id.clone()))), ["second"]);
    let Some(Ok(ApiReply::Dispatch(gone))) = sim.call(ApiCall::DeleteDispatch(made.id.clone())) else {
        panic!("gone");
    };
    assert!(gone.state.expect("filled").deleted_at > 0);
    assert_eq!(sim.call(ApiCall::DeleteDispatch(made.id)), Some(Err(ApiError::NotFound("agent dispatch"))));
}

#[test]
fn texts_are_bounded_by_the_configuration() {
    let mut sim = Sim::new();
    let alice = sim.join_as(
        "alice",
        VideoGrant { can_update_own_metadata: Some(true), ..VideoGrant::default() },
        &[],
    );
    let TextLimits { name, metadata, attributes } = TextLimits::default();
    let update = |name: usize, metadata: usize, attributes: usize| proto::UpdateParticipantRequest {
        identity: "alice".into(),
        name: "n".repeat(name),
        metadata: "m".repeat(metadata),
        attributes: HashMap::from([("k".to_owned(), "v".repeat(attributes))]),
        ..Default::default()
    };
    let cases = [
        (update(name, metadata, attributes - 1), None),
        (update(name + 1, 0, 0), Some(TooLong::Name)),
        (update(0, metadata + 1, 0), Some(TooLong::Metadata)),
        (update(0, 0, attributes), Some(TooLong::Attributes)),
    ];
    for (request, refused) in cases {
        let reply = sim.call(ApiCall::UpdateParticipant(Box::new(request.clone()))).expect("at once");
        assert_eq!(reply.err(), refused.map(ApiError::TooLong));
        // The same for somebody who changes it alone.
        sim.take();
        let own = proto::UpdateParticipantMetadata {
            name: request.name,
            metadata: request.metadata,
            attributes: request.attributes,
            request_id: 5,
        };
        sim.signal(alice, Request::UpdateMetadata(own));
        let reason = sim.heard(alice).into_iter().find_map(|message| match message {
            Response::RequestResponse(response) if response.request_id == 5 => Some(response.reason()),
            _ => None,
        });
        let expected = refused
            .map_or(proto::request_response::Reason::Ok, |_| proto::request_response::Reason::LimitExceeded);
        assert_eq!(reason, Some(expected));
    }
}

#[test]
fn events_about_tracks_only_name_the_room_and_the_last_says_why() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.publish(alice, proto::TrackSource::Microphone);
    sim.call(ApiCall::Delete);
    let events: Vec<proto::WebhookEvent> = sim
        .take()
        .into_iter()
        .filter_map(|effect| if let Effect::Webhook(event) = effect { Some(*event) } else { None })
        .collect();
    for event in &events {
        let room = event.room.as_ref().expect("filled");
        assert_eq!(room.creation_time == 0, event.track.is_some(), "{}", event.event);
        assert!(room.sid.starts_with("RM_") && room.name == "r" && event.id.starts_with("EV_"));
    }
    assert_eq!(
        events.last().map(proto::WebhookEvent::room_end_reason),
        Some(proto::RoomEndReason::RoomEndApiDelete)
    );
}

#[test]
fn a_recording_is_told_at_once() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    let recorder =
        sim.join_as("r", VideoGrant { recorder: true, hidden: true, ..VideoGrant::default() }, &[]);
    let told = |messages: Vec<Response>| {
        messages.iter().find_map(|m| match m {
            Response::RoomUpdate(update) => update.room.as_ref().map(|room| room.active_recording),
            _ => None,
        })
    };
    assert_eq!(told(sim.heard(alice)), Some(true));
    sim.signal(recorder, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(told(sim.heard(alice)), Some(false));
}

#[test]
fn the_server_unmutes_only_where_it_may() {
    for may in [false, true] {
        let mut sim = Sim::with_defaults(RoomDefaults { remote_unmute: may, ..RoomDefaults::default() });
        let alice = sim.join("alice");
        let track_sid = sim.publish(alice, proto::TrackSource::Microphone);
        let mute = |muted| {
            let (identity, track_sid) = ("alice".to_owned(), track_sid.clone());
            ApiCall::MuteTrack(proto::MuteRoomTrackRequest { room: "r".into(), identity, track_sid, muted })
        };
        assert!(sim.call(mute(true)).expect("at once").is_ok());
        sim.take();
        let reply = sim.call(mute(false)).expect("at once");
        assert_eq!(reply.is_ok(), may, "{reply:?}");
        let told = sim.heard(alice).iter().any(|m| matches!(m, Response::Mute(mute) if !mute.muted));
        assert_eq!(told, may);
    }
}
