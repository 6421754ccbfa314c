//! Clients that come over TCP, with or without TLS: one connection each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use plenum_media::turn::frame_len;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::client::{Client, INBOX, Protocol, Way};
use crate::places::Places;
use crate::socket::canonical;
use crate::tcp::WRITE_TIMEOUT;
use crate::thread::TCP_OUTBOX;

/// A client must have ended its TLS handshake by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes that are read at once, and that are written at once.
const CHUNK: usize = 16 * 1024;
/// Time for the last messages to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until the task is aborted.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    places: Arc<Places<IpAddr>>,
    shared: Arc<Shared>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "Accepting on a TURN port failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let remote = canonical(remote);
        let Ok(place) = Places::enter(&places, remote.ip()) else { continue };
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            connection(stream, tls, remote, shared).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, remote: SocketAddr, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, Protocol::Tcp, remote, shared).await };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, Protocol::Tls, remote, shared).await,
        Ok(Err(error)) => tracing::debug!(%error, "A TLS handshake with a client of the relay failed"),
        Err(_) => tracing::debug!("A client of the relay did not end its TLS handshake"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    protocol: Protocol,
    remote: SocketAddr,
    shared: Arc<Shared>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (frames, outgoing) = mpsc::channel(TCP_OUTBOX);
    let (messages, inbox) = mpsc::channel(INBOX);
    let client = Client::on_stream(remote, shared, Way::Stream(frames, protocol));
    let write = write(writer, outgoing);
    tokio::pin!(write);
    tokio::select! {
        () = client.run(inbox) => {}
        () = read(reader, messages) => {}
        () = &mut write => return,
    }
    // The client is gone, and so is the other end of what is to be written.
    let _ = tokio::time::timeout(LAST_WORDS, write).await;
}

/// Cuts the stream into messages, until it ends or is none of TURN.
async fn read(mut reader: impl AsyncRead + Unpin, messages: mpsc::Sender<Box<[u8]>>) {
    let mut bytes = Vec::with_capacity(CHUNK);
    loop {
        let mut rest = bytes.as_slice();
        loop {
            match frame_len(rest) {
                Ok(Some(len)) if len <= rest.len() => {
                    let (message, tail) = rest.split_at(len);
                    // Waits while the client's task is busy, and so makes the client wait.
                    if messages.send(message.into()).await.is_err() {
                        return;
                    }
                    rest = tail;
                }
                Ok(_) => break,
                Err(_) => return,
            }
        }
        let used = bytes.len() - rest.len();
        bytes.drain(..used);
        // What is left is less than one message.
        bytes.reserve(CHUNK);
        match reader.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut bytes) = frames.recv().await {
        while bytes.len() < CHUNK
            && let Ok(more) = frames.try_recv()
        {
            bytes.extend_from_slice(&more);
        }
        let all = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if !matches!(tokio::time::timeout(WRITE_TIMEOUT, all).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
