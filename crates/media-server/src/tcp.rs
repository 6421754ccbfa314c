//! ICE-TCP for clients without UDP: frames of RFC 4571, passed to the media threads as datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plenum_media::ids::IceCredentials;
use plenum_media::rtp::stun_request;
use plenum_media::sending::{Path, PathProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::places::Places;
use crate::socket::canonical;
use crate::thread::{ShardHandle, TCP_OUTBOX, ToShard};

/// Connections at a time.
pub(crate) const MAX_CONNECTIONS: usize = 4_096;
/// A check that is signed for a connection of ours must come within this time …
const FIRST_CHECK: Duration = Duration::from_secs(10);
/// … and among so many frames of this length: a client may be faster here than its own signalling.
const FIRST_FRAMES: usize = 20;
const FIRST_FRAME_LEN_MAX: usize = 1_024;
/// A silent connection is closed; clients check theirs every few seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// Connections from one address at a time: a household or a small office behind one address.
pub(crate) const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;
/// Longest frame: what fits into a packet of any network, and some more.
const FRAME_LEN_MAX: usize = 4_096;
/// Time for one frame to leave.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts clients until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, shards: Arc<[ShardHandle]>) {
    let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "Accepting on the media TCP port failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let remote = canonical(remote);
        let Ok(place) = Places::enter(&places, remote.ip()) else { continue };
        let shards = shards.clone();
        tokio::spawn(async move {
            client(stream, remote, &shards).await;
            drop(place);
        });
    }
}

async fn client(stream: TcpStream, remote: SocketAddr, shards: &[ShardHandle]) {
    let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
    let path = Path { protocol: PathProtocol::Tcp, local, remote };
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (frames, outgoing) = mpsc::channel(TCP_OUTBOX);
    let introduced = tokio::time::timeout(FIRST_CHECK, introduce(&mut reader, path, shards, &frames));
    let Ok(Some(shard)) = introduced.await else {
        // The time may have been over just as a thread accepted it.
        for shard in shards {
            shard.send(ToShard::TcpClosed { remote }).await;
        }
        return;
    };
    // The thread has the other one: the writer ends with it.
    drop(frames);
    let write = tokio::spawn(write_frames(writer, outgoing));
    while let Ok(Some(bytes)) = tokio::time::timeout(SILENCE, read_frame(&mut reader, FRAME_LEN_MAX)).await {
        shard.send(ToShard::Datagram { path, bytes, teach: None }).await;
    }
    shard.send(ToShard::TcpClosed { remote }).await;
    write.abort();
}

/// Reads until the client has proved to be one. Returns the media thread that has its connection.
async fn introduce<'a>(
    reader: &mut OwnedReadHalf,
    path: Path,
    shards: &'a [ShardHandle],
    frames: &mpsc::Sender<Box<[u8]>>,
) -> Option<&'a ShardHandle> {
    for _ in 0..FIRST_FRAMES {
        let bytes = read_frame(reader, FIRST_FRAME_LEN_MAX).await?;
        let named = stun_request(&bytes).and_then(|check| IceCredentials::shard_of(check.ufrag));
        let shard = shards.get(usize::from(named?.0))?;
        let (accepted, answer) = oneshot::channel();
        shard.send(ToShard::TcpCheck { path, bytes, frames: frames.clone(), accepted }).await;
        if answer.await == Ok(true) {
            return Some(shard);
        }
    }
    None
}

async fn read_frame(reader: &mut OwnedReadHalf, len_max: usize) -> Option<Box<[u8]>> {
    let len = usize::from(reader.read_u16().await.ok()?);
    if len > len_max {
        return None;
    }
    let mut frame = vec![0; len];
    reader.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

async fn write_frames(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Box<[u8]>>) {
    let mut bytes = Vec::new();
    while let Some(frame) = frames.recv().await {
        let Ok(len) = u16::try_from(frame.len()) else { continue };
        bytes.clear();
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&frame);
        let written = tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use plenum_media::shard::ShardConfig;

    use super::*;

    /// A check that names a connection of the first thread, which is not there.
    fn check() -> Vec<u8> {
        let mut message = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        message.extend_from_slice(&[0, 6, 0, 10]);
        message.extend_from_slice(b"00nobody:x\0\0");
        message
    }

    async fn write(stream: &mut TcpStream, frame: &[u8]) {
        let len = u16::try_from(frame.len()).expect("a short frame").to_be_bytes();
        // The other side may have closed already.
        let _ = stream.write_all(&[&len, frame].concat()).await;
    }

    #[tokio::test]
    async fn who_cannot_prove_to_be_a_client_is_not_listened_to_for_long() {
        let sockets = crate::socket::bind(crate::BindScope::Loopback, 0, 1).expect("a free port");
        let certificate = plenum_media::transport::Certificate::generate();
        let config = |id| ShardConfig { id, certificate: certificate.clone(), local: Arc::default() };
        let threads = crate::thread::start(sockets, &crate::tally::Node::new("ND_test"), 1.0, config)
            .expect("a thread");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(serve(listener, threads.handles.clone().into()));
        for (what, frames) in [
            ("checks that nobody signed", vec![check(); FIRST_FRAMES]),
            ("a frame that is too long for a check", vec![vec![0; FIRST_FRAME_LEN_MAX + 1]]),
            ("no check at all", vec![vec![22; 100]]),
            (
                "a thread that is not there",
                vec![String::from_utf8_lossy(&check()).replace("00no", "f0no").into_bytes()],
            ),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            for frame in frames {
                write(&mut stream, &frame).await;
            }
            // Ends, with or without a reset, before the time that a slow client is given.
            let ended = tokio::time::timeout(FIRST_CHECK / 2, stream.read(&mut [0; 16])).await;
            assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{what}: {ended:?}");
        }
        server.abort();
        threads.handles[0].send(ToShard::Stop).await;
    }
}
