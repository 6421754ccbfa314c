//! Puts the parts together: starts them, offers their routes, ends them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{any, get, post};
use plenum_media::ids::random_sid;
use plenum_media::room::ServerFacts;
use plenum_media::sdp::LocalEndpoint;
use plenum_media::shard::ShardConfig;
use plenum_media::token::ApiKeys;
use plenum_media::transport::{Certificate, LocalAddresses};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::rooms::Rooms;
use crate::tally::Node;
use crate::thread::{Health, ShardHandle, Threads, ToShard};
use crate::turn::{self, Addresses as TurnAddresses};
use crate::webhook::Webhooks;
use crate::{BindScope, Config, StartError, interfaces, rtc, socket, tcp, thread, twirp};

/// Longest body of an API call (LiveKit's limit).
const MAX_BODY: usize = 10 * 1024 * 1024;
/// Most media threads: a ufrag names its thread in two hexadecimal digits.
const MAX_SHARDS: usize = 256;

/// A running media server.
pub struct Server {
    rooms: Arc<Rooms>,
    rooms_over: mpsc::Receiver<()>,
    webhooks_sent: mpsc::Receiver<()>,
    shards: Vec<ShardHandle>,
    threads: Vec<std::thread::JoinHandle<()>>,
    health: Health,
    udp: SocketAddr,
    tcp: Option<(SocketAddr, JoinHandle<()>)>,
    turn: Option<turn::Running>,
    candidates: Vec<IpAddr>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("udp", &self.udp)
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the ports and starts the threads: either everything runs or nothing does.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if config.keys.is_empty() {
            return Err(StartError::NoKeys);
        }
        let keys = ApiKeys::new(config.keys.clone());
        let node_id = random_sid("ND_", &mut rand::rng());
        let (webhooks, webhooks_sent) = Webhooks::new(&config.webhooks, &keys, Node::new(&node_id))?;
        let candidates = interfaces::addresses(&config).await?;
        let count = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let ports = usize::from(config.udp_ports.max(1));
        let sockets = match ports {
            1 => socket::bind(config.bind, config.udp_port, count.min(MAX_SHARDS))
                .map_err(|source| StartError::UdpPort { port: config.udp_port, source })?,
            _ => socket::bind_row(config.bind, config.udp_port, count.min(MAX_SHARDS).min(ports))?,
        };
        if !sockets.first().is_some_and(socket::has_large_buffers) {
            tracing::warn!(
                "The kernel gives the media port small buffers: bursts may be lost. \
                 Set net.core.rmem_max and net.core.wmem_max to 5242880 or more"
            );
        }
        let udp =
            sockets.first().map(std::net::UdpSocket::local_addr).transpose()?.ok_or(StartError::NoAddress)?;
        let listener = match config.tcp_port {
            Some(port) => {
                let error = |source| StartError::TcpPort { port, source };
                Some(listen(config.bind, port).await.map_err(error)?)
            }
            None => None,
        };
        let tcp_port =
            listener.as_ref().map(TcpListener::local_addr).transpose()?.map(|address| address.port());
        let at = |port: u16| candidates.iter().map(move |ip| SocketAddr::from((*ip, port)));
        let udp_ports: Vec<u16> = match ports {
            1 => vec![udp.port()],
            _ => sockets.iter().map(|own| Ok(own.local_addr()?.port())).collect::<std::io::Result<_>>()?,
        };
        let tcp: Vec<SocketAddr> = tcp_port.into_iter().flat_map(at).collect();
        let all: Vec<SocketAddr> = udp_ports.iter().copied().flat_map(at).collect();
        let turn = turn::start(&config.turn, config.bind, &all).await?;
        let certificate = Certificate::generate();
        let facts = Arc::new(ServerFacts {
            node_id,
            endpoint: LocalEndpoint {
                fingerprint: certificate.fingerprint(),
                udp: at(udp.port()).collect(),
                tcp: tcp.clone(),
            },
            udp_ports: udp_ports.clone(),
            keys,
            limits: config.limits.clone(),
            codecs: config.codecs.clone(),
            rooms: config.rooms.clone(),
            presets: config.presets.clone(),
            region: config.region.clone(),
            turn: turn.as_ref().map(|turn| turn.announcement.clone()),
        });
        let Threads { handles: shards, joins: threads, health } =
            thread::start(sockets, &Node::new(&facts.node_id), config.load_ceiling, |id| ShardConfig {
                id,
                certificate: certificate.clone(),
                local: Arc::new(LocalAddresses {
                    udp: at(udp_ports[usize::from(id.0) % udp_ports.len()]).collect(),
                    tcp: tcp.clone(),
                }),
            })?;
        let (rooms, rooms_over) = Rooms::new(facts, shards.clone(), health.clone(), webhooks);
        let tcp = match listener {
            Some(listener) => {
                let address = listener.local_addr()?;
                Some((address, tokio::spawn(tcp::serve(listener, shards.clone().into()))))
            }
            None => None,
        };
        tracing::info!(udp.ports = ?udp_ports, tcp.port = tcp_port, candidates = ?candidates, "Media server runs");
        Ok(Self { rooms, rooms_over, webhooks_sent, shards, threads, health, udp, tcp, turn, candidates })
    }

    /// `/rtc…` and `/twirp/…`, to be merged into the one HTTP server.
    pub fn router(&self) -> Router {
        let cors = CorsLayer::new()
            .allow_origin(Any)
            // A wildcard would not cover `Authorization`.
            .allow_headers(AllowHeaders::mirror_request())
            .allow_methods([
                Method::OPTIONS,
                Method::HEAD,
                Method::GET,
                Method::POST,
                Method::PATCH,
                Method::DELETE,
            ])
            .max_age(Duration::from_secs(86_400));
        Router::new()
            .route("/rtc", get(rtc::signal))
            .route("/rtc/validate", get(rtc::validate))
            .route("/rtc/v1", get(rtc::signal_v1))
            .route("/rtc/v1/validate", get(rtc::validate_v1))
            .route("/rtc/{*rest}", any(rtc::absent))
            .route(
                "/twirp/livekit.RoomService/{method}",
                post(twirp::room_service).fallback(twirp::bad_route),
            )
            .route(
                "/twirp/livekit.AgentDispatchService/{method}",
                post(twirp::agent_dispatch).fallback(twirp::bad_route),
            )
            .route("/twirp/livekit.Egress/{method}", post(twirp::egress).fallback(twirp::bad_route))
            .route("/twirp/livekit.Ingress/{method}", post(twirp::ingress).fallback(twirp::bad_route))
            .route("/twirp/livekit.SIP/{method}", post(twirp::sip).fallback(twirp::bad_route))
            .route("/twirp/{*rest}", any(twirp::bad_route))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(cors)
            .with_state(self.rooms.clone())
    }

    /// Tells whether every media thread runs, for as long as anybody asks.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The address of the media port.
    pub fn udp_addr(&self) -> SocketAddr {
        self.udp
    }

    /// The address of the media port over TCP, if there is one.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(address, _)| *address)
    }

    /// Where the TURN relay listens, if there is one.
    pub fn turn_addrs(&self) -> Option<&TurnAddresses> {
        self.turn.as_ref().map(|turn| &turn.addresses)
    }

    /// The addresses that clients are told.
    pub fn candidates(&self) -> Vec<IpAddr> {
        self.candidates.clone()
    }

    /// Takes no new rooms from now on. Those that are there go on for at most `patience`; then everybody is told to come
    /// again, what webhooks are left is posted, and the server ends, within `grace`.
    pub async fn drain(self, patience: Duration, grace: Duration) {
        let Self { rooms, mut rooms_over, mut webhooks_sent, shards, threads, tcp, turn, .. } = self;
        rooms.close();
        let _ = tokio::time::timeout(patience, rooms_over.recv()).await;
        let everything = async {
            rooms.drain().await;
            // Each of these ends when the last holder of its other end is gone.
            let _ = rooms_over.recv().await;
            rooms.close_webhooks();
            let _ = webhooks_sent.recv().await;
        };
        if tokio::time::timeout(grace, everything).await.is_err() {
            tracing::warn!("The grace period is over before every room and webhook was");
        }
        for shard in &shards {
            shard.send(ToShard::Stop).await;
        }
        if let Some((_, task)) = tcp {
            task.abort();
        }
        drop(turn);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

/// Listens for TCP.
pub(crate) async fn listen(scope: BindScope, port: u16) -> std::io::Result<TcpListener> {
    match scope {
        BindScope::Loopback => TcpListener::bind(("127.0.0.1", port)).await,
        BindScope::AllInterfaces => match TcpListener::bind(("::", port)).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                TcpListener::bind(("0.0.0.0", port)).await
            }
            result => result,
        },
    }
}
