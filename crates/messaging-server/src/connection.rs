//! The tasks of TCP connections.

use std::sync::Arc;

use bytes::BytesMut;
use plenum_messaging::{CloseReason, ConnectionId, Progress, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Duration, timeout},
};

use crate::engine::{Connected, Engine, Link};

/// Room that a read finds at least. The buffer grows while reads fill it.
const READ_SIZE: usize = 4096;
const MAX_READ_SIZE: usize = 64 << 10;

/// After a close the client's last bytes are read for so long, so that it gets to see the reason.
pub(crate) const LINGER: Duration = Duration::from_millis(100);

/// Takes in TCP clients.
pub(crate) async fn accept(engine: Arc<Engine>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Messages are coalesced here already; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                let host = peer.ip().to_string();
                tokio::spawn(serve(Arc::clone(&engine), stream, host));
            }
            Err(error) => {
                tracing::warn!(error = %error, "A client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(engine: Arc<Engine>, stream: TcpStream, host: String) {
    let mut connected = Connected::new(&engine, Transport::Tcp, &host);
    let (id, link) = (connected.id, Arc::clone(&connected.link));
    let (reader, writer) = stream.into_split();
    connected.reason = tokio::select! {
        reason = read(&engine, id, &link, reader) => reason,
        reason = write(&engine, id, &link, writer) => reason,
    };
}

async fn read(engine: &Engine, id: ConnectionId, link: &Link, mut socket: OwnedReadHalf) -> CloseReason {
    let mut buffer = BytesMut::new();
    let mut room = READ_SIZE;
    loop {
        buffer.reserve(room);
        match socket.read_buf(&mut buffer).await {
            Ok(0) => return CloseReason::ClientClosed,
            Ok(n) => {
                room = if n >= room { (room * 2).min(MAX_READ_SIZE) } else { room };
            }
            Err(_) => return CloseReason::ReadError,
        }
        if !process(engine, id, link, &mut buffer).await {
            // The writer sends what is left and ends the connection.
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await.is_ok_and(|n| n > 0) {}
            return CloseReason::ClientClosed;
        }
        if buffer.is_empty() && room == READ_SIZE {
            // An idle connection holds no buffer.
            buffer = BytesMut::new();
        }
    }
}

/// Hands what was received to the broker. False when the connection is closing.
pub(crate) async fn process(engine: &Engine, id: ConnectionId, link: &Link, buffer: &mut BytesMut) -> bool {
    loop {
        let received = engine.with(|broker, now| broker.handle_received(id, buffer, now));
        bytes::Buf::advance(buffer, received.consumed);
        match received.progress {
            Progress::NeedMore => {
                if engine.disk_is_behind() {
                    engine.disk_has_room().await;
                }
                return true;
            }
            Progress::Again => {
                if engine.disk_is_behind() {
                    engine.disk_has_room().await;
                }
                tokio::task::yield_now().await;
            }
            Progress::Paused => link.resume.notified().await,
            Progress::Closed => return false,
        }
    }
}

async fn write(engine: &Engine, id: ConnectionId, link: &Link, mut socket: OwnedWriteHalf) -> CloseReason {
    let mut out = Vec::new();
    loop {
        link.flush.notified().await;
        loop {
            out.clear();
            let closing = engine.with(|broker, _| broker.take_output(id, &mut out));
            if !out.is_empty() {
                match timeout(engine.limits.write_deadline, socket.write_all(&out)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return CloseReason::WriteError,
                    Err(_) => return CloseReason::SlowConsumerWriteDeadline,
                }
            }
            if let Some(reason) = closing {
                let _ = socket.shutdown().await;
                // The reader meanwhile drains the socket; closing with unread bytes would destroy the reason.
                tokio::time::sleep(LINGER).await;
                return reason;
            }
            if out.is_empty() {
                break;
            }
        }
        if out.capacity() > MAX_READ_SIZE {
            out = Vec::new();
        }
    }
}
