//! `plenum media`: the media server alone, in livekit-server's place. It takes the same flags and configuration keys.

mod config;
mod flags;
mod keys;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use config::{Config, Metrics};
use data_encoding::BASE64;
use metrics_exporter_prometheus::PrometheusHandle;
use plenum_media_server::{Health, Server, Setting};
use tokio::{task::JoinHandle, time::timeout};
use tower::ServiceExt as _;
use tracing::{info, warn};

use crate::{
    connections::{Bounded, connections_max},
    pillars::at_key,
    process::{self, Signals},
    status::OVERLOADED,
};

pub(crate) use flags::Options;

/// A stop takes at most this long (the same as the default of `shutdown_grace`).
const GRACE: Duration = Duration::from_secs(10);
/// Of which this is for answers that are under way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn run(options: &Options) -> Result<()> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = Config::load(options, &environment)?;
    process::logs(&config.log_level, config.log_format)?;
    process::run(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let drain_deadline = config.drain_deadline;
    let running = Box::pin(open(config)).await?;
    signals.next().await;
    tokio::select! {
        () = Box::pin(running.drain(drain_deadline)) => info!("Stopped"),
        () = signals.next() => warn!("Asked to stop twice; stopped with work left"),
    }
    Ok(())
}

/// Everything that is open.
struct Running {
    media: Server,
    stopping: Arc<AtomicBool>,
    http: axum_server::Handle<SocketAddr>,
    tasks: Vec<JoinHandle<io::Result<()>>>,
}

async fn open(config: Config) -> Result<Running> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let metrics = process::metrics()?;
    let listeners = listen(&config.addresses, config.port, "port")?;
    let metrics_listeners = match &config.metrics {
        Some(Metrics { port, .. }) => listen(&config.addresses, *port, "prometheus.port")?,
        None => Vec::new(),
    };
    let media = Server::start(config.media).await.map_err(|error| at_key(error, key))?;
    let stopping = Arc::new(AtomicBool::new(false));
    let http = axum_server::Handle::new();
    let places = Bounded::new(connections_max());
    let router = router(media.router(), &media.health(), &stopping);
    let mut tasks = Vec::new();
    let addresses =
        listeners.iter().map(std::net::TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    for listener in listeners {
        tasks.push(process::answer(listener, None, http.clone(), places.clone(), router.clone())?);
    }
    let login = config.metrics.and_then(|metrics| metrics.login);
    for listener in metrics_listeners {
        let router = metrics_router(metrics.clone(), login.clone());
        tasks.push(process::answer(listener, None, http.clone(), places.clone(), router)?);
    }
    info!(http.addresses = ?addresses, "Ready");
    Ok(Running { media, stopping, http, tasks })
}

impl Running {
    /// Rooms go on for at most `patience`. Then clients are told to come again; they find the next process.
    async fn drain(self, patience: Duration) {
        info!(drain_deadline = ?patience, "Stopping; at the deadline clients are told to come again");
        self.stopping.store(true, Ordering::Relaxed);
        self.media.drain(patience, GRACE - ANSWERED_WITHIN).await;
        self.http.graceful_shutdown(Some(ANSWERED_WITHIN));
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        let _ = timeout(ANSWERED_WITHIN, all).await;
    }
}

fn key(setting: Setting) -> &'static str {
    match setting {
        Setting::UdpPort => "rtc.udp_port",
        Setting::TcpPort => "rtc.tcp_port",
        Setting::NodeIp => "rtc.node_ip",
        Setting::Keys => "keys",
        Setting::Webhooks => "webhook",
        Setting::TurnPort => "turn.udp_port",
        Setting::TurnTlsPort => "turn.tls_port",
    }
}

fn listen(addresses: &[IpAddr], port: u16, key: &str) -> Result<Vec<std::net::TcpListener>> {
    let bind = |address: IpAddr| {
        std::net::TcpListener::bind((address, port))
            .with_context(|| format!("{} cannot be listened on (key: {key})", SocketAddr::new(address, port)))
    };
    if addresses.is_empty() {
        // Linux listens on IPv4 as well; a machine may have no IPv6.
        let all = bind(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| bind(Ipv4Addr::UNSPECIFIED.into()))?;
        return Ok(vec![all]);
    }
    let mut listeners = Vec::new();
    for address in addresses {
        match bind(*address) {
            Ok(listener) => listeners.push(listener),
            // `--dev` names both loopback addresses; one is enough.
            Err(error) if address.is_ipv6() && !listeners.is_empty() => info!("{error:#}"),
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn router(media: Router, health: &Health, stopping: &Arc<AtomicBool>) -> Router {
    let (health, stopping) = (health.clone(), stopping.clone());
    let problem = move || match () {
        () if stopping.load(Ordering::Relaxed) => Some("stopping"),
        () if !health.is_healthy() => Some("a media thread has ended: restart the server"),
        () if health.is_overloaded() => Some(OVERLOADED),
        () => None,
    };
    let at_root = problem.clone();
    let root = async move || match at_root() {
        None => "OK".into_response(),
        Some(problem) => (StatusCode::NOT_ACCEPTABLE, format!("Not Ready: {problem}")).into_response(),
    };
    let readyz = async move || match problem() {
        None => "ready".into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem).into_response(),
    };
    let router =
        media.route("/", get(root)).route("/healthz", get(async || "ok")).route("/readyz", get(readyz));
    Router::new().fallback(async move |request: Request| {
        router.clone().oneshot(with_one_slash(request)).await.into_response()
    })
}

/// Clients that are given a URL with a slash at its end ask for `//rtc`.
fn with_one_slash(mut request: Request) -> Request {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if target.starts_with("//")
        && let Ok(uri) = format!("/{}", target.trim_start_matches('/')).parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
    request
}

fn metrics_router(handle: PrometheusHandle, login: Option<(String, String)>) -> Router {
    let wanted = login.map(|(user, password)| BASE64.encode(format!("{user}:{password}").as_bytes()));
    let answer = async move |headers: HeaderMap| -> Response {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let allowed = wanted.as_ref().is_none_or(|wanted| {
            shown
                .and_then(|shown| shown.strip_prefix("Basic "))
                .is_some_and(|shown| crate::status::equal(shown, wanted))
        });
        if allowed {
            handle.render().into_response()
        } else {
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic")]).into_response()
        }
    };
    Router::new().route("/metrics", get(answer))
}
