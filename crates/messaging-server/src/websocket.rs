//! NATS over WebSocket: the same bytes inside binary messages.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::BytesMut;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use plenum_messaging::{CloseReason, ConnectionId, Limits, ParseLimits, Transport};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::WebSocketStream;
use tungstenite::{
    Message,
    protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
};

use crate::{
    connection::{LINGER, process},
    engine::{Connected, Engine, Link},
};

/// Whose pages may connect. Clients that send no `Origin` are no pages and always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    #[default]
    Any,
    /// Those of the host and port that the request names.
    SameHost,
    /// These, such as `https://meet.example.org`.
    List(Vec<String>),
}

/// The address of a client, for a router whose proxy knows better than the socket. Put into the request's
/// extensions by the one who trusts the proxy.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

#[derive(Clone)]
struct Shared {
    engine: Arc<Engine>,
    origins: Arc<Origins>,
}

pub(crate) fn router(engine: Arc<Engine>, origins: Origins) -> Router {
    Router::new().route("/", get(upgrade)).with_state(Shared { engine, origins: Arc::new(origins) })
}

type WebSocket = WebSocketStream<Doorstep<TokioIo<Upgraded>>>;

async fn upgrade(State(shared): State<Shared>, mut request: Request) -> Response {
    if !allowed(&shared.origins, request.headers()) {
        return (StatusCode::FORBIDDEN, "this origin may not connect").into_response();
    }
    let Some(accept) = handshake(request.headers()) else {
        let wanted = [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, VERSION)];
        return (StatusCode::UPGRADE_REQUIRED, wanted, "WebSocket clients only").into_response();
    };
    let extensions = request.extensions();
    let address = extensions
        .get::<ClientAddress>()
        .map(|a| a.0)
        .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()));
    let host = address.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let engine = shared.engine;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that goes before it is answered never was one.
        let Ok(upgraded) = upgraded.await else { return };
        let allowance = Allowance::before_login(&engine.limits);
        let socket = Doorstep { socket: TokioIo::new(upgraded), allowance: allowance.clone() };
        let config = config(max_message_size(&engine.limits));
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        serve(engine, socket, allowance, host).await;
    });
    let headers = [
        (header::CONNECTION, "upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Bytes that are read at a time. Each connection keeps such a buffer, and few messages are longer.
const READ_BUFFER: usize = 8 * 1024;
/// The only version of the protocol (RFC 6455, section 4.1).
const VERSION: &str = "13";

/// What the server answers to the client's key (RFC 6455, section 4.2). `None`: this is no WebSocket client.
fn handshake(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let connection = text(header::CONNECTION)?;
    let is_upgrade = connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
        && text(header::UPGRADE)?.eq_ignore_ascii_case("websocket")
        && text(header::SEC_WEBSOCKET_VERSION)? == VERSION;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    is_upgrade.then(|| tungstenite::handshake::derive_accept_key(key.as_bytes()))
}

fn config(max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(max))
        .max_frame_size(Some(max))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
}

/// Bytes that a client may still send before it is logged in. Over TCP nothing but a CONNECT is read before; here a frame is
/// read as a whole before anything in it is, so the bytes are counted.
#[derive(Clone)]
struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// Twice the longest CONNECT, and some for frames and pings.
    fn before_login(limits: &Limits) -> Allowance {
        Allowance(Arc::new(AtomicUsize::new(2 * limits.max_control_line + 1024)))
    }

    fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn is_lifted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == usize::MAX
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }
}

/// The socket of a client of whom it is not known yet who it is.
struct Doorstep<S> {
    socket: S,
    allowance: Allowance,
}

impl<S: AsyncRead + Unpin> AsyncRead for Doorstep<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance.is_used_up() {
            return Poll::Ready(Err(io::Error::other("too much was sent before the login")));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.allowance.take(buffer.filled().len() - before);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Doorstep<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

fn allowed(origins: &Origins, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    match origins {
        Origins::Any => true,
        Origins::SameHost => {
            let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
            origin.split_once("://").map(|(_, rest)| rest) == host
        }
        Origins::List(list) => list.iter().any(|one| one.eq_ignore_ascii_case(origin)),
    }
}

async fn serve(engine: Arc<Engine>, socket: WebSocket, allowance: Allowance, host: String) {
    let mut connected = Connected::new(&engine, Transport::WebSocket, &host);
    let (id, link) = (connected.id, Arc::clone(&connected.link));
    let (mut sink, mut stream) = socket.split();
    connected.reason = tokio::select! {
        reason = read(&engine, id, &link, &allowance, &mut stream) => reason,
        reason = write(&engine, id, &link, &mut sink) => reason,
    };
    // Closing with unread bytes would destroy what the client was told.
    if let Ok(mut socket) = sink.reunite(stream) {
        let raw = &mut socket.get_mut().socket;
        let mut rest = [0; 4096];
        let drain = async { while raw.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _ = timeout(LINGER, drain).await;
    }
}

async fn read(
    engine: &Engine,
    id: ConnectionId,
    link: &Link,
    allowance: &Allowance,
    stream: &mut SplitStream<WebSocket>,
) -> CloseReason {
    let mut buffer = BytesMut::new();
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Binary(data)) => buffer.extend_from_slice(&data),
            Ok(Message::Text(text)) => buffer.extend_from_slice(text.as_bytes()),
            // A Close is answered by reading on, which then ends.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(error) => {
                // Did the client send more at once, or before its login, than it may?
                if !matches!(error, tungstenite::Error::Capacity(_)) && !allowance.is_used_up() {
                    return CloseReason::ReadError;
                }
                engine.with(|broker, now| broker.handle_oversized(id, now));
                // The writer tells the client why, and ends the connection.
                return std::future::pending().await;
            }
        }
        if !process(engine, id, link, &mut buffer).await {
            // The writer sends what is left and ends the connection.
            while let Some(Ok(_)) = stream.next().await {}
            return CloseReason::ClientClosed;
        }
        if !allowance.is_lifted() && engine.with(|broker, _| broker.is_logged_in(id)) {
            allowance.lift();
        }
        if buffer.is_empty() {
            // An idle connection holds no buffer.
            buffer = BytesMut::new();
        }
    }
    CloseReason::ClientClosed
}

/// What one frame or message of a client may hold: one may carry several operations, but nobody is made to buffer more.
fn max_message_size(limits: &Limits) -> usize {
    2 * limits.max_payload + 8 * limits.max_control_line
}

async fn write(
    engine: &Engine,
    id: ConnectionId,
    link: &Link,
    sink: &mut SplitSink<WebSocket, Message>,
) -> CloseReason {
    let deadline = engine.limits.write_deadline;
    loop {
        link.flush.notified().await;
        loop {
            let mut out = Vec::new();
            let closing = engine.with(|broker, _| broker.take_output(id, &mut out));
            let is_empty = out.is_empty();
            if !is_empty {
                match timeout(deadline, sink.send(Message::Binary(out.into()))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return CloseReason::WriteError,
                    Err(_) => return CloseReason::SlowConsumerWriteDeadline,
                }
            }
            if let Some(reason) = closing {
                let frame = CloseFrame {
                    code: CloseCode::from(reason.websocket_code()),
                    reason: reason.text().into(),
                };
                let _ = timeout(deadline, sink.send(Message::Close(Some(frame)))).await;
                let _ = timeout(deadline, sink.close()).await;
                return reason;
            }
            if is_empty {
                break;
            }
        }
    }
}

/// Body of the fuzz target `websocket`: whatever frames a client sends, what is in them comes out in order, and the
/// parser of the protocol takes it or refuses it.
pub fn fuzz(input: &[u8]) {
    let limits = Limits { max_payload: 256, max_control_line: 128, ..Limits::default() };
    let max = max_message_size(&limits);
    let mut socket =
        tungstenite::WebSocket::from_raw_socket(Wire { input, at: 0 }, Role::Server, Some(config(max)));
    let parsing = ParseLimits { max_control_line: limits.max_control_line, max_payload: limits.max_payload };
    let mut buffer = BytesMut::new();
    while let Ok(message) = socket.read() {
        assert!(message.len() <= max, "a message of {} bytes", message.len());
        match message {
            Message::Binary(data) => buffer.extend_from_slice(&data),
            Message::Text(text) => buffer.extend_from_slice(text.as_bytes()),
            _ => {}
        }
        loop {
            match plenum_messaging::parse(&buffer, parsing) {
                Ok(None) => break,
                Ok(Some((_, len))) => bytes::Buf::advance(&mut buffer, len),
                Err(_) => return,
            }
        }
        assert!(buffer.len() <= max + limits.max_payload + limits.max_control_line, "more waits than may");
    }
}

/// A client that has sent `input` and takes everything.
struct Wire<'a> {
    input: &'a [u8],
    at: usize,
}

impl std::io::Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // In small pieces, as a socket may give them.
        let rest = &self.input[self.at..];
        let len = rest.len().min(buffer.len()).min(7);
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

impl std::io::Write for Wire<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
