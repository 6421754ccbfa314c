//! Frames, and how connections over WebSocket end.

use futures_util::{SinkExt as _, StreamExt as _};
use plenum_messaging_server::Limits;
use tokio::time::timeout;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::common::{Broker, PATIENCE, meeting};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

const LOGIN: &str = "CONNECT {\"user\":\"user\",\"pass\":\"user-secret\",\"verbose\":false}\r\nPING\r\n";

/// A client that has read the greeting.
async fn connect(broker: &Broker) -> Socket {
    let (mut socket, _) = connect_async(format!("ws://{}", broker.websocket)).await.expect("upgraded");
    let greeting = socket.next().await.expect("open").expect("a message");
    assert!(greeting.into_data().starts_with(b"INFO {"));
    socket
}

/// What it is sent until the end, and how that comes.
async fn end(mut socket: Socket) -> (String, Option<CloseFrame>) {
    let mut heard = String::new();
    let read = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(frame) => return frame,
                Message::Binary(data) => heard.push_str(std::str::from_utf8(&data).expect("text")),
                other => panic!("{other:?}"),
            }
        }
        None
    };
    let frame = timeout(PATIENCE, read).await.expect("it ends");
    (heard, frame)
}

fn code(frame: Option<&CloseFrame>) -> Option<(u16, &str)> {
    frame.map(|frame| (frame.code.into(), frame.reason.as_str()))
}

#[tokio::test]
async fn who_may_not_come_in_is_told_so_with_a_code() {
    let broker = Broker::start(None).await;
    let mut socket = connect(&broker).await;
    let wrong = LOGIN.replace("user-secret", "guess");
    socket.send(Message::binary(wrong.into_bytes())).await.expect("sent");
    let (heard, frame) = end(socket).await;
    assert_eq!(heard, "-ERR 'Authorization Violation'\r\n");
    assert_eq!(code(frame.as_ref()), Some((1008, "Authentication Failure")));
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_told_so_with_a_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = meeting(folder.path(), None);
    config.limits = Limits { max_payload: 10_000, ..Limits::default() };
    let broker = Broker::start_with(config, folder).await;
    let mut socket = connect(&broker).await;
    socket.send(Message::text(LOGIN)).await.expect("sent");
    assert_eq!(socket.next().await.expect("open").expect("a message").into_data(), "PONG\r\n");
    // Several operations in one frame, as long as it is not too long.
    let many = "PUB a 1\r\nx\r\n".repeat(1_000) + "PING\r\n";
    socket.send(Message::text(many)).await.expect("sent");
    assert_eq!(socket.next().await.expect("open").expect("a message").into_data(), "PONG\r\n");
    socket.send(Message::binary(vec![b'x'; 100_000])).await.expect("sent");
    let (heard, frame) = end(socket).await;
    assert_eq!(heard, "-ERR 'Maximum Payload Violation'\r\n");
    assert_eq!(code(frame.as_ref()), Some((1009, "Maximum Message Payload Exceeded")));
}

/// A frame would have to be held as a whole before anything in it is looked at.
#[tokio::test]
async fn nobody_is_held_a_large_frame_for_before_the_login() {
    let broker = Broker::start(None).await;
    let mut socket = connect(&broker).await;
    // It goes in pieces, as far as the broker takes it.
    let _ = timeout(PATIENCE, socket.send(Message::binary(vec![b'x'; 1 << 20]))).await;
    let (heard, frame) = end(socket).await;
    assert_eq!(heard, "-ERR 'Maximum Payload Violation'\r\n");
    assert_eq!(code(frame.as_ref()).map(|(code, _)| code), Some(1009));
    // The longest login still fits.
    let mut socket = connect(&broker).await;
    let name = "n".repeat(3_500);
    let login = LOGIN.replace("\"verbose\"", &format!("\"name\":\"{name}\",\"verbose\""));
    socket.send(Message::text("PING\r\n")).await.expect("sent");
    socket.send(Message::text(login)).await.expect("sent");
    for _ in 0..2 {
        assert_eq!(socket.next().await.expect("open").expect("a message").into_data(), "PONG\r\n");
    }
    // Afterwards a frame may be large.
    let large = format!("PUB a 1000000\r\n{}\r\nPING\r\n", "x".repeat(1_000_000));
    socket.send(Message::text(large)).await.expect("sent");
    assert_eq!(socket.next().await.expect("open").expect("a message").into_data(), "PONG\r\n");
}

#[tokio::test]
async fn a_client_that_leaves_is_answered() {
    let broker = Broker::start(None).await;
    let mut socket = connect(&broker).await;
    socket.close(None).await.expect("sent");
    let (_, frame) = end(socket).await;
    assert!(frame.is_none_or(|frame| u16::from(frame.code) == 1000), "no broken connection");
}
