//! How many connections the HTTP server holds, and how long it waits for somebody to speak: half-sent requests must not
//! take the files that the log, the broker and the others' connections need.

use std::{
    fs,
    future::{Ready, ready},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::{Server, accept::Accept};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::debug;

/// A request's headers arrive sooner; an idle connection is closed after this long.
const HEADERS_WITHIN: Duration = Duration::from_secs(20);
/// However many files the system allows.
const CONNECTIONS_MAX: usize = 16_384;
/// However many files the system allows.
const RELAYS_MAX: usize = 8_192;
/// When the system does not say: the usual limit.
const FILES_UNTOLD: usize = 1_024;

/// Lets so many connections in at a time; who is too many is closed at once.
#[derive(Clone)]
pub(crate) struct Bounded {
    places: Arc<Semaphore>,
}

impl Bounded {
    pub(crate) fn new(max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(max)) }
    }
}

/// As many connections as the limit of open files leaves when a quarter is kept for everything else.
pub(crate) fn connections_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    (soft_limit(&limits).unwrap_or(FILES_UNTOLD) / 4 * 3).min(CONNECTIONS_MAX)
}

/// As many sockets of the TURN relay as may be taken of the same files: an eighth, which is half of that quarter.
pub(crate) fn relays_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    (soft_limit(&limits).unwrap_or(FILES_UNTOLD) / 8).min(RELAYS_MAX)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// Time limits for a server.
pub(crate) fn with_patience<A>(mut server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
    let builder = server.http_builder();
    builder.http1().header_read_timeout(HEADERS_WITHIN);
    builder.http2().keep_alive_interval(HEADERS_WITHIN).keep_alive_timeout(HEADERS_WITHIN);
    server.first_request_timeout(HEADERS_WITHIN).accept_error_handler(|_, error| {
        debug!(error = %error, "A connection was not accepted");
    })
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                // Messages are written whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                Ok((Counted { stream, _place: place }, service))
            }
            Err(_) => {
                metrics::counter!("plenum_http_connections_refused_total").increment(1);
                Err(io::Error::other("too many connections"))
            }
        })
    }
}

/// A connection that gives its place back when it ends.
pub(crate) struct Counted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit(&limits.replace("1024", "unlimited")), Some(usize::MAX));
        assert_eq!(soft_limit(""), None);
    }

    #[tokio::test]
    async fn a_place_comes_back_with_the_end_of_its_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::new(1);
        let accept = async || {
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            bounded.accept(stream, ()).await
        };
        let first = accept().await.unwrap();
        assert!(accept().await.is_err());
        drop(first);
        assert!(accept().await.is_ok());
    }
}
