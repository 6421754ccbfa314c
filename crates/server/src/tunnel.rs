//! Browsers come to one name: `/nats` and `/rtc` lead to the pillars wherever they are.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{
        FromRequestParts as _, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest as _},
};
use tracing::debug;

/// A pillar that is there answers sooner.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Bytes read from the broker at a time.
const CHUNK: usize = 64 * 1024;
/// Largest message from a browser, on either path.
const MESSAGE_LEN_MAX: usize = 2 * 1024 * 1024;

/// `/nats`: NATS over WebSocket is the same byte stream as over TCP, in binary messages.
pub(crate) fn nats(urls: &[String]) -> Router {
    let addresses: Vec<String> = urls
        .iter()
        .map(|url| {
            let address = url.strip_prefix("nats://").unwrap_or(url).trim_end_matches('/');
            // The last colon of an IPv6 address without a port is inside the brackets.
            let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if has_port { address.to_owned() } else { format!("{address}:4222") }
        })
        .collect();
    Router::new().route("/nats", any(nats_upgrade)).with_state(addresses)
}

async fn nats_upgrade(State(addresses): State<Vec<String>>, upgrade: WebSocketUpgrade) -> Response {
    // Beginning anywhere, so that one dead broker does not cost everybody its time.
    let first = rand::random_range(0..addresses.len().max(1));
    for address in addresses.iter().cycle().skip(first).take(addresses.len()) {
        if let Ok(Ok(broker)) = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            let _ = broker.set_nodelay(true);
            return upgrade
                .protocols(["nats"])
                .max_message_size(MESSAGE_LEN_MAX)
                .on_upgrade(|browser| nats_pump(browser, broker));
        }
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the broker cannot be reached, try again").into_response()
}

async fn nats_pump(browser: WebSocket, mut broker: TcpStream) {
    let (mut to_browser, mut from_browser) = browser.split();
    let (mut from_broker, mut to_broker) = broker.split();
    let up = async {
        while let Some(Ok(message)) = from_browser.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_broker.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len) = from_broker.read(&mut buffer).await {
            if len == 0
                || to_browser.send(Message::Binary(Bytes::copy_from_slice(&buffer[..len]))).await.is_err()
            {
                break;
            }
        }
        let _ = to_browser.close().await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// What a client says that concerns the media server: native clients show their token in a header.
const PASSED_ON: [HeaderName; 2] = [header::AUTHORIZATION, header::USER_AGENT];
/// Longest answer of the media server to a plain request: a reason in words.
const ANSWER_LEN_MAX: usize = 64 * 1024;

#[derive(Clone)]
struct Livekit {
    url: String,
    client: reqwest::Client,
}

/// `/rtc…`: LiveKit's signalling, WebSocket and plain HTTP.
pub(crate) fn livekit(url: &str) -> reqwest::Result<Router> {
    let client = reqwest::Client::builder().timeout(CONNECT_WITHIN).build()?;
    let livekit = Livekit { url: url.trim_end_matches('/').to_owned(), client };
    Ok(Router::new().route("/rtc", any(rtc)).route("/rtc/{*rest}", any(rtc)).with_state(livekit))
}

async fn rtc(State(livekit): State<Livekit>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/rtc", |path| path.as_str()).to_owned();
    let (mut parts, _) = request.into_parts();
    let passed_on: HeaderMap = PASSED_ON
        .into_iter()
        .filter_map(|name| parts.headers.get(&name).cloned().map(|value| (name, value)))
        .collect();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => signal(upgrade, &livekit, &path, passed_on).await,
        Err(_) => plain(&livekit, &path, passed_on).await,
    }
}

async fn signal(upgrade: WebSocketUpgrade, livekit: &Livekit, path: &str, passed_on: HeaderMap) -> Response {
    let target = format!("ws{}{path}", livekit.url.strip_prefix("http").unwrap_or(&livekit.url));
    let Ok(mut request) = target.into_client_request() else { return unreachable() };
    request.headers_mut().extend(passed_on);
    match timeout(CONNECT_WITHIN, connect_async(request)).await {
        Ok(Ok((server, _))) => {
            upgrade.max_message_size(MESSAGE_LEN_MAX).on_upgrade(move |browser| signal_pump(browser, server))
        }
        Ok(Err(tungstenite::Error::Http(answer))) => {
            let status = answer.status();
            let text = answer.into_body().unwrap_or_default();
            (status, text).into_response()
        }
        Ok(Err(error)) => {
            debug!(error = %error, "The media server cannot be reached");
            unreachable()
        }
        Err(_) => unreachable(),
    }
}

type ServerSocket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn signal_pump(browser: WebSocket, server: ServerSocket) {
    let (mut to_browser, mut from_browser) = browser.split();
    let (mut to_server, mut from_server) = server.split();
    let up = async {
        while let Some(Ok(message)) = from_browser.next().await {
            let message = match message {
                Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
                Message::Text(text) => tungstenite::Message::text(text.as_str()),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_server.send(message).await.is_err() {
                break;
            }
        }
        let _ = to_server.close().await;
    };
    let down = async {
        while let Some(Ok(message)) = from_server.next().await {
            let message = match message {
                tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
                tungstenite::Message::Text(text) => Message::text(text.as_str()),
                tungstenite::Message::Close(frame) => {
                    let frame = frame.map(|frame| CloseFrame {
                        code: frame.code.into(),
                        reason: frame.reason.as_str().into(),
                    });
                    let _ = to_browser.send(Message::Close(frame)).await;
                    break;
                }
                _ => continue,
            };
            if to_browser.send(message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn plain(livekit: &Livekit, path: &str, passed_on: HeaderMap) -> Response {
    let request = livekit.client.get(format!("{}{path}", livekit.url)).headers(passed_on);
    let Ok(mut answer) = request.send().await else { return unreachable() };
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= ANSWER_LEN_MAX => body.extend_from_slice(&bytes),
            Ok(None) => break,
            Ok(Some(_)) | Err(_) => return unreachable(),
        }
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn unreachable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the media server cannot be reached, try again").into_response()
}
