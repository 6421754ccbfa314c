//! The begin of a session: sockets, a client with what it will send, and its signal connection.

use std::{net::SocketAddr, time::Instant};

use plenum_client::{Client, Reception, Settings, Signalling};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{participant::Shared, socket::Socket, source::Source};

/// One in so many packets of a stream is decrypted.
const OPENED: u32 = 100;
/// Longest signal message of a server.
const MESSAGE_LEN_MAX: usize = 2 * 1024 * 1024;

pub(super) type Signal = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a session needs.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) sockets: [Option<Socket>; 2],
    pub(super) signal: Signal,
}

/// Opens sockets and the signal connection.
pub(super) async fn open(
    shared: &Shared,
    token: &str,
    subscribes: bool,
    sources: &mut [Source],
) -> Result<Opened, String> {
    let now = Instant::now();
    let open = || Socket::open(shared.local).map_err(|error| format!("a UDP socket: {error}"));
    let first = open()?;
    let second = match shared.signalling {
        Signalling::TwoConnections => Some(open()?),
        Signalling::OneConnection => None,
    };
    let port = |socket: &Socket| socket.port().map_err(|error| format!("a UDP socket: {error}"));
    let addresses =
        [port(&first)?, second.as_ref().map_or(Ok(9), port)?].map(|port| SocketAddr::new(shared.local, port));
    let mut settings = Settings {
        signalling: shared.signalling,
        reception: Reception::Counted { opened: OPENED },
        more: shared.more.clone(),
        ..Settings::new(addresses)
    };
    settings.connection.auto_subscribe = subscribes;
    let mut client = Client::new(now, settings, &mut rand::rng());
    for source in sources {
        source.publish(now, &mut client);
    }
    let signal = connect(&format!("{}{}", shared.url, client.join_query()), token).await?;
    Ok(Opened { client, sockets: [Some(first), second], signal })
}

async fn connect(url: &str, token: &str) -> Result<Signal, String> {
    let mut request = url.into_client_request().map_err(|error| format!("--url: {error}"))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LEN_MAX))
        .max_frame_size(Some(MESSAGE_LEN_MAX));
    match connect_async_with_config(request, Some(config), true).await {
        Ok((signal, _)) => Ok(signal),
        Err(tungstenite::Error::Http(answer)) => {
            let text = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Err(format!("the server refused with HTTP status {}: {}", answer.status().as_u16(), text.trim()))
        }
        Err(error) => Err(format!("the signal connection could not be opened: {error}")),
    }
}
