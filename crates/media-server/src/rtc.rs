//! `/rtc`: signalling over WebSocket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::SinkExt as _;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Signal;
use plenum_media::room::RoomOptions;
use plenum_media::signalling::{Format, Incoming, JoinParams, MAX_MESSAGE_LEN, authorize, decode};
use plenum_media::token::{self, Claims};
use tokio::sync::oneshot;

use crate::metrics_names as names;
use crate::outbox::{Letter, Outbox, OutboxReader, Outgoing, outbox};
use crate::rooms::{RoomHandle, RoomMessage, Rooms, Seat};
use crate::tally::{Node, label};

/// Time between our pings.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A client from which nothing came for this long is gone.
const SILENCE: Duration = Duration::from_secs(35);
/// Time for one frame to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the other side to say farewell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read from a client at a time. Each connection keeps such a buffer, and it is zeroed before every read: the
/// library's 128 KiB were half of what a participant needed, and an eighth of the work when many join.
const READ_BUFFER: usize = 8 * 1024;
/// Messages that a client may send in a burst, and how long each takes to be forgotten.
const BURST: u32 = 200;
const FORGET: Duration = Duration::from_millis(10);

type Params = Query<BTreeMap<String, String>>;
type Upgrade = Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>;

/// `/rtc/validate`: whether a token would be let in.
pub(crate) async fn validate(
    State(rooms): State<Arc<Rooms>>,
    Query(query): Params,
    headers: HeaderMap,
) -> Response {
    match check(&rooms, &query, &headers) {
        Ok(_) => "success".into_response(),
        Err(refusal) => refusal,
    }
}

/// `/rtc/v1/validate`: the same for a client that says everything in a join request.
pub(crate) async fn validate_v1(state: State<Arc<Rooms>>, query: Params, headers: HeaderMap) -> Response {
    if !query.contains_key("join_request") {
        return lacks_request();
    }
    validate(state, query, headers).await
}

fn lacks_request() -> Response {
    (StatusCode::BAD_REQUEST, "query parameter join_request is missing").into_response()
}

/// Nothing is there; clients look for another way on exactly this answer.
pub(crate) async fn absent() -> Response {
    (StatusCode::NOT_FOUND, "not found").into_response()
}

/// `/rtc/v1`: the signal connection of a client that says everything in a join request.
pub(crate) async fn signal_v1(
    state: State<Arc<Rooms>>,
    query: Params,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if !query.contains_key("join_request") {
        return lacks_request();
    }
    signal(state, query, headers, upgrade).await
}

/// `/rtc`: the signal connection. A join request counts here as well (LiveKit's Go library sends it so).
pub(crate) async fn signal(
    State(rooms): State<Arc<Rooms>>,
    Query(query): Params,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    let Ok(upgrade) = upgrade else { return absent().await };
    let params = match check(&rooms, &query, &headers) {
        Ok(params) => params,
        Err(refusal) => return refusal,
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_MESSAGE_LEN)
        .max_frame_size(MAX_MESSAGE_LEN)
        .on_upgrade(move |socket| serve(rooms, params, socket))
}

/// The claims of the token in the header or the query.
pub(crate) fn claims(
    rooms: &Rooms,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<Claims, String> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|value| value.strip_prefix("Bearer ").or(value.strip_prefix("bearer ")))
                .ok_or_else(|| "authorization header: not a Bearer token".to_owned())
        })
        .transpose()?;
    let token = bearer.or(query.get("access_token").map(String::as_str)).ok_or("no access token")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    token::verify(token, &rooms.facts().keys, now).map_err(|error| error.to_string())
}

#[expect(clippy::result_large_err, reason = "a response is what the caller returns")]
fn check(
    rooms: &Rooms,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<JoinParams, Response> {
    let claims = claims(rooms, query, headers).map_err(|e| (StatusCode::UNAUTHORIZED, e).into_response())?;
    let params = authorize(&claims, query).and_then(|params| params.within(&rooms.facts().limits.texts));
    let params = params.map_err(|error| {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        (status, error.to_string()).into_response()
    })?;
    if !rooms.may_create(params.may_create_room) && rooms.get(&params.room).is_none() {
        // Clients know by these words that it is not the endpoint that is missing.
        return Err((StatusCode::NOT_FOUND, "requested room does not exist").into_response());
    }
    if rooms.facts().options(&params.room_preset, RoomOptions::default()).is_none() {
        return Err(
            (StatusCode::BAD_REQUEST, "roomPreset: there is no such room configuration").into_response()
        );
    }
    if rooms.is_full(&params.room) {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "no more rooms can be made").into_response());
    }
    Ok(params)
}

async fn serve(rooms: Arc<Rooms>, params: JoinParams, mut socket: WebSocket) {
    use proto::DisconnectReason as Reason;
    use proto::leave_request::Action;
    let (outbox, mut messages) = outbox();
    let (seated, reason, action) = match params.resume.clone() {
        Some(sid) => (go_on(&rooms, params, sid, outbox).await, Reason::StateMismatch, Action::Reconnect),
        None => (enter(&rooms, params, outbox).await, Reason::JoinFailure, Action::Disconnect),
    };
    let Some((room, seat)) = seated else {
        refuse(&mut socket, reason, action).await;
        return;
    };
    metrics::gauge!(names::SIGNAL_CONNECTIONS).increment(1.0);
    rooms.node().count(names::LIVEKIT_JOINS, &[label("state", "signal_connected")]);
    pump(rooms.node(), &room, seat, &mut socket, &mut messages).await;
    room.send(RoomMessage::SignalClosed { seat }).await;
    metrics::gauge!(names::SIGNAL_CONNECTIONS).decrement(1.0);
}

/// Comes into the room, which may have to be made, or may just be closing.
async fn enter(rooms: &Arc<Rooms>, params: JoinParams, outbox: Outbox) -> Option<(RoomHandle, Seat)> {
    let params = Box::new(params);
    for _ in 0..3 {
        let room = match rooms.may_create(params.may_create_room) {
            true => {
                let options = rooms.facts().options(&params.room_preset, params.room_options())?;
                rooms.get_or_create(&params.room, &options).ok()?.0
            }
            false => rooms.get(&params.room)?,
        };
        let (admitted, answer) = oneshot::channel();
        let join = RoomMessage::Join { params: params.clone(), outbox: outbox.clone(), admitted };
        if room.send(join).await
            && let Ok(seat) = answer.await
        {
            return Some((room, seat));
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Takes up an earlier session; `None` if there is none to take up.
async fn go_on(rooms: &Rooms, params: JoinParams, sid: String, outbox: Outbox) -> Option<(RoomHandle, Seat)> {
    let room = rooms.get(&params.room)?;
    let (admitted, answer) = oneshot::channel();
    room.send(RoomMessage::Resume { identity: params.identity, sid, outbox, admitted }).await;
    Some((room, answer.await.ok()?))
}

/// Carries frames both ways until one side ends it.
async fn pump(
    node: &Node,
    room: &RoomHandle,
    seat: Seat,
    socket: &mut WebSocket,
    messages: &mut OutboxReader,
) {
    let mut format = Format::Binary;
    let mut ping = tokio::time::interval(PING_INTERVAL);
    let mut heard = Instant::now();
    let mut allowance = Allowance::new(heard);
    loop {
        tokio::select! {
            outgoing = messages.recv() => {
                let letters: Vec<_> = outgoing.iter().map_while(Outgoing::letter).collect();
                let frames = letters.iter().map(|letter| letter.frame(format)).collect();
                let written = write(socket, frames).await;
                node.told(letters.len(), written);
                if !written {
                    return;
                }
                if letters.is_empty() || letters.len() < outgoing.len() {
                    return close(socket, 1000, "").await;
                }
            },
            incoming = socket.recv() => {
                heard = Instant::now();
                let decoded = match &incoming {
                    Some(Ok(Message::Binary(bytes))) => decode(Incoming::Binary(bytes)),
                    Some(Ok(Message::Text(text))) => decode(Incoming::Text(text)),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                node.heard(decoded.is_ok());
                match decoded {
                    Ok((request, used)) => {
                        format = used;
                        if let Some(request) = request
                            && !room.send(RoomMessage::Signal { seat, request: Box::new(request) }).await {
                                return;
                            }
                    }
                    Err(error) => {
                        tracing::debug!(%error, participant.id = seat.participant(), "A signal connection is closed");
                        let reason = error.to_string().chars().take(120).collect::<String>();
                        return close(socket, 1007, &reason).await;
                    }
                }
                // A client that sends too much waits; the room and the others do not.
                allowance.spend(heard).await;
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE || !write(socket, vec![Message::Ping(Vec::new().into())]).await {
                    return;
                }
            }
        }
    }
}

/// How much a client may still send.
struct Allowance {
    spent: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { spent: 0.0, at: now }
    }

    async fn spend(&mut self, now: Instant) {
        let forgotten = now.saturating_duration_since(self.at).as_secs_f64() / FORGET.as_secs_f64();
        self.spent = (self.spent - forgotten).max(0.0) + 1.0;
        self.at = now;
        if self.spent > f64::from(BURST) {
            tokio::time::sleep(FORGET).await;
        }
    }
}

/// Sends frames together. `false` if the client does not take them.
async fn write(socket: &mut WebSocket, frames: Vec<Message>) -> bool {
    let write = async {
        for frame in frames {
            socket.feed(frame).await?;
        }
        socket.flush().await
    };
    matches!(tokio::time::timeout(WRITE_TIMEOUT, write).await, Ok(Ok(())))
}

/// Says the last word and waits for the other side's (RFC 6455 §7.1.1). To go at once would reset the TCP connection under
/// what the client is sending, and Firefox then throws away what it has not read yet, the reason to leave included.
async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: reason.into() };
    if write(socket, vec![Message::Close(Some(frame))]).await {
        let farewell = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await;
    }
}

async fn refuse(
    socket: &mut WebSocket,
    reason: proto::DisconnectReason,
    action: proto::leave_request::Action,
) {
    let leave = proto::LeaveRequest {
        can_reconnect: action != proto::leave_request::Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        ..proto::LeaveRequest::default()
    };
    if write(socket, vec![Letter::new(Signal::Leave(leave)).frame(Format::Binary)]).await {
        close(socket, 1000, "").await;
    }
}
