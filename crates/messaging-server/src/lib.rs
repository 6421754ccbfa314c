//! The messaging pillar's shell: TCP, WebSocket, timers and the stream log on disk around
//! [`plenum_messaging::Broker`], which decides everything.
//!
//! The broker is one value behind one mutex. A connection's task reads from its socket, hands the bytes to
//! the broker, and writes what the broker has for it; no message takes a hop through a queue between tasks.
//! Writer threads carry out what the broker wants of the disk, and tell it what is safe there.

mod clock;
mod connection;
mod disk;
mod engine;
mod nats_conf;
mod websocket;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use engine::Engine;
pub use nats_conf::{NatsServerPlace, to_nats_server_conf};
pub use plenum_messaging::{
    AccountConfig, AllowResponses, AuthCalloutConfig, ConfigError, Credentials, Export, Import, Limits,
    Permissions, ResponseType, Rules, Secret, Statistics, UserConfig, VERSION,
};
pub use websocket::{ClientAddress, Origins, fuzz};

/// Everything that a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where TCP clients connect. Port 0 takes any free one: see [`Server::local_addr`].
    pub listen: SocketAddr,
    /// The folder of the stream logs. It is created when it is missing, and belongs to one server at a time.
    pub data: PathBuf,
    /// Shown to clients and in events.
    pub server_name: String,
    /// All accounts.
    pub accounts: Vec<AccountConfig>,
    /// The account of connection events and kicks.
    pub system_account: String,
    /// Who decides about clients that are not static users.
    pub auth_callout: Option<AuthCalloutConfig>,
    /// Bounds.
    pub limits: Limits,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit together.
    #[error("messaging configuration: {0}")]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A log is damaged in a place that no crash leaves behind.
    #[error(
        "{} is damaged at byte {offset}: restore the folder {} from a copy, or move it away to start without this stream",
        path.display(), path.parent().unwrap_or(Path::new("")).display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where its first wrong record starts.
        offset: u64,
    },
}

/// A running broker.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    local_addr: SocketAddr,
    accepting: JoinHandle<()>,
    timing: JoinHandle<()>,
    reporting: JoinHandle<()>,
    measuring: JoinHandle<()>,
}

impl Server {
    /// Reads the logs, then listens. Everything is ready when this returns.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { addr: config.listen, source })?;
        let local_addr =
            listener.local_addr().map_err(|source| StartError::Listen { addr: config.listen, source })?;
        // Logs may be long, and reading them is blocking work.
        let opened = tokio::task::spawn_blocking(move || Engine::open(config, local_addr)).await;
        let engine = match opened {
            Ok(engine) => engine?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let accepting = tokio::spawn(connection::accept(Arc::clone(&engine), listener));
        let timing = tokio::spawn(engine::keep_time(Arc::clone(&engine)));
        let reporting = tokio::spawn(engine::report(Arc::clone(&engine)));
        let measuring = tokio::spawn(engine::watch_disk(Arc::clone(&engine)));
        Ok(Server { engine, local_addr, accepting, timing, reporting, measuring })
    }

    /// Where TCP clients connect.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The public key that identifies this server in events and in the auth callout.
    pub fn id(&self) -> String {
        self.engine.with(|broker, _| broker.server_id().to_owned())
    }

    /// Routes for WebSocket clients: `GET /` upgrades. Pages of any origin may connect, since a browser adds
    /// no credentials of its own here: the token is inside CONNECT. See [`Server::websocket_from`].
    pub fn websocket(&self) -> axum::Router {
        self.websocket_from(Origins::Any)
    }

    /// Like [`Server::websocket`], for pages of the given origins.
    pub fn websocket_from(&self, origins: Origins) -> axum::Router {
        websocket::router(Arc::clone(&self.engine), origins)
    }

    /// What is being counted.
    pub fn statistics(&self) -> Statistics {
        self.engine.with(|broker, _| broker.statistics())
    }

    /// Ends the server: takes no new clients, tells those that are there to go elsewhere, closes them when
    /// they are still there after `grace`, and puts everything on the disk.
    pub async fn drain(self, grace: Duration) {
        let until = Instant::now() + grace;
        self.accepting.abort();
        self.engine.with(plenum_messaging::Broker::drain);
        while Instant::now() < until && self.engine.with(|broker, _| broker.has_connections()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.engine.with(plenum_messaging::Broker::shut_down);
        // What was written last still has to leave; a socket that does not take it is not waited for long.
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until && self.engine.with(|broker, _| broker.has_connections()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.timing.abort();
        let engine = Arc::clone(&self.engine);
        // The threads finish what they were given; there is nothing to do about one that panicked.
        let _ = tokio::task::spawn_blocking(move || engine.close_disk()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.timing.abort();
        self.reporting.abort();
        self.measuring.abort();
        self.engine.with(plenum_messaging::Broker::shut_down);
    }
}
