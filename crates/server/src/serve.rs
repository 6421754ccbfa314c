//! `plenum serve`: everything is opened, then it runs, then it drains.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router, extract::Request, http::StatusCode, middleware, response::IntoResponse as _, routing::post,
};
use axum_server::tls_rustls::RustlsConfig;
use metrics_exporter_prometheus::PrometheusHandle;
use plenum_api::{Api, ApiConfig, HostLinks, Origin};
use plenum_control::{Control, Drain, LayoutError, StartError, Tokens};
use plenum_storage::Storage;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use tower::ServiceExt as _;
use tracing::{info, warn};

use crate::{
    config::{Config, Secrets},
    connections::{Bounded, connections_max},
    data::{DataFolder, write_private},
    gate::Gate,
    pillars::{Media, Messaging},
    process::{self, Signals},
    proxy::{self, Front},
    reach::{origin, url_of, warn_about},
    status::{self, Status},
    surface::{Parts, surface},
};

/// A server that can take meetings can do so sooner.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// Waits between tries to reach an external broker at start.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(15);
pub(crate) fn run(config: Config) -> Result<()> {
    process::logs(&config.log.level, config.log.format)?;
    process::run(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut server = Box::pin(Server::open(config)).await?;
    tokio::select! {
        started = Box::pin(server.start()) => started?,
        () = signals.next() => {}
    }
    if server.has_started() {
        signals.next().await;
    }
    let grace = server.config.shutdown_grace;
    // Rooms may go on for a while; the rest has its own time.
    let end = Instant::now() + server.patience() + grace;
    tokio::select! {
        drained = timeout_at(end, Box::pin(server.drain(end))) => match drained {
            Ok(()) => info!("Stopped"),
            Err(_) => warn!(grace = ?grace, "The grace period is over (key: shutdown_grace); stopped with work left"),
        },
        () = signals.next() => warn!("Asked to stop twice; stopped with work left"),
    }
    Ok(())
}

/// Everything that is open. It answers HTTP from the first moment: until it can take meetings, that it cannot yet.
struct Server {
    config: Config,
    folder: DataFolder,
    secrets: Secrets,
    address: SocketAddr,
    status: Status,
    gate: Gate,
    storage: Storage,
    messaging: Messaging,
    media: Media,
    metrics: PrometheusHandle,
    http: axum_server::Handle<SocketAddr>,
    http_task: JoinHandle<io::Result<()>>,
    control_drain: Option<Drain>,
}

impl Server {
    /// Takes ports and files, or names the key of the one that cannot be had.
    async fn open(config: Config) -> Result<Self> {
        let folder = DataFolder::open(&config.data)?;
        let secrets = Secrets::load_or_generate(&folder.join("secrets.yaml"))?;
        let metrics = process::metrics()?;
        let tls = match (&config.tls.cert, &config.tls.key) {
            (Some(cert), Some(key)) => Some(
                RustlsConfig::from_pem_file(cert, key)
                    .await
                    .context("the certificate cannot be used (keys: tls.cert, tls.key)")?,
            ),
            _ => None,
        };
        if let Some(listen) = config.metrics.listen {
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("{listen} cannot be listened on (key: metrics.listen)"))?;
            tokio::spawn(axum::serve(listener, status::metrics(metrics.clone(), None)).into_future());
        }
        let listener = std::net::TcpListener::bind(config.listen)
            .with_context(|| format!("{} cannot be listened on (key: listen)", config.listen))?;
        let address = listener.local_addr()?;
        let (status, gate, http) = (Status::default(), Gate::default(), axum_server::Handle::new());
        let places = Bounded::new(connections_max());
        let router = outside(&config, &status, &gate);
        let http_task = process::answer(listener, tls, http.clone(), places, router)?;

        let storage = storage(&folder).await;
        let messaging = Messaging::start(&config, &secrets, folder.join("messaging")).await?;
        let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port of this machine")?;
        let own_url = format!("http://{}", own.local_addr()?);
        let media = Media::start(&config, &secrets, &own_url, address).await?;
        if let Some(embedded) = &media.embedded {
            status.embeds_media(embedded.health());
            tokio::spawn(axum::serve(own, inside(&media, &gate)).into_future());
        }
        let candidates = media.embedded.as_ref().map(plenum_media_server::Server::candidates);
        warn_about(&config, candidates.as_deref());
        Ok(Self {
            config,
            folder,
            secrets,
            address,
            status,
            gate,
            storage,
            messaging,
            media,
            metrics,
            http,
            http_task,
            control_drain: None,
        })
    }

    /// Begins to take meetings, as soon as the broker is there.
    async fn start(&mut self) -> Result<()> {
        let (control, drain) = self.control().await?;
        self.control_drain = Some(drain);
        self.status.runs(control.clone());
        tokio::spawn(self.status.clone().watch_media());

        let host_links = HostLinks::new(self.folder.join("host-links"));
        let (key, secret) = self.api_key();
        let api_config = ApiConfig {
            key,
            secret,
            public_url: self.config.public_url.as_deref().and_then(Origin::parse),
            fallback_url: origin(&url_of(&self.config, self.address)),
            nats_ws_urls: self.config.nats.ws_urls.clone(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let api = Api::new(api_config, control.clone(), self.storage.clone(), host_links.clone());
        let parts = Parts {
            broker: self.messaging.router.clone(),
            media: self.media.router.clone(),
            media_is_embedded: self.media.embedded.is_some(),
            metrics: self.config.metrics.token.clone().map(|token| (self.metrics.clone(), token)),
            connect: self.connect(),
        };
        let (router, _) = surface(parts, &self.status);
        self.gate.open(router.with_state(api));
        control.settled(SETTLED_WITHIN).await;
        greet(&self.config, self.address, &host_links, &self.folder)
    }

    /// An external broker may come later than this server; an embedded one is there.
    async fn control(&self) -> Result<(Control, Drain)> {
        let mut wait = AGAIN_AFTER;
        loop {
            let error = match Box::pin(Control::start(self.control_config())).await {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            if self.messaging.embedded.is_some() || !may_pass(&error) {
                return Err(error.into());
            }
            self.status.waits_for("the broker cannot be used yet (key: nats.urls)");
            warn!(error = %error, again_after = ?wait, "The broker cannot be used yet (key: nats.urls)");
            sleep(wait).await;
            wait = (2 * wait).min(AGAIN_AFTER_MAX);
        }
    }

    fn control_config(&self) -> plenum_control::Config {
        let (key, secret) = self.api_key();
        plenum_control::Config {
            nats_urls: self.messaging.urls.clone(),
            system: self.messaging.keys.system(),
            service: self.messaging.keys.service.clone(),
            callout: self.messaging.keys.callout.clone(),
            replicas: self.config.nats.replicas,
            sole_server: self.messaging.embedded.is_some(),
            media: self.media.config.clone(),
            tokens: Tokens::new(&key, &secret),
            storage: self.storage.clone(),
        }
    }

    fn api_key(&self) -> (String, String) {
        let api = &self.config.api;
        let or = |value: &Option<String>, other: &str| value.clone().unwrap_or_else(|| other.to_owned());
        (or(&api.key, &self.secrets.api_key), or(&api.secret, &self.secrets.api_secret))
    }

    /// Where pages may connect to, beside the origin that they come from.
    fn connect(&self) -> Vec<Origin> {
        let media = &self.media.config.public_url;
        let shown = origin(&url_of(&self.config, self.address)).websocket();
        let urls = self.config.nats.ws_urls.iter().chain([media, &shown]);
        urls.filter_map(|url| Origin::of_websocket(url)).collect()
    }

    fn has_started(&self) -> bool {
        self.control_drain.is_some()
    }

    /// How long the rooms of the embedded media server may go on.
    fn patience(&self) -> Duration {
        self.media.embedded.as_ref().map_or(Duration::ZERO, |_| self.config.media.drain_deadline)
    }

    /// Ends no meeting: clients come back to the next process. Each part has a share of the time that is left.
    async fn drain(self, end: Instant) {
        info!("Stopping; meetings go on after the restart");
        let (patience, grace) = (self.patience(), self.config.shutdown_grace);
        let left = |parts: u32| end.saturating_duration_since(Instant::now()) / parts;
        self.status.stop();
        if let Some(media) = self.media.embedded {
            media.drain(patience, grace / 4).await;
        }
        // What the API holds of control goes with it; a broker waits for its last client.
        self.gate.close();
        if let Some(control) = self.control_drain {
            let _ = timeout_at(Instant::now() + left(3), control.within(left(3))).await;
        }
        if let Some(broker) = self.messaging.embedded {
            broker.drain(left(3)).await;
        }
        self.http.graceful_shutdown(Some(left(2)));
        let _ = self.http_task.await;
        if let Err(error) = self.storage.close().await {
            warn!(error = %error, "The history was not closed cleanly");
        }
    }
}

/// What everybody reaches: health at any time, the rest behind the gate.
fn outside(config: &Config, status: &Status, gate: &Gate) -> Router {
    let front = Front { trusted: config.proxy.trusted.clone(), tls: config.tls.cert.is_some() };
    let gate = gate.clone();
    status
        .clone()
        .router()
        .fallback(move |request: Request| gate.clone().answer(request))
        .layer(middleware::from_fn_with_state(Arc::new(front), proxy::forwarded))
}

/// What the meeting and its embedded media server say to each other, on a port of this machine without TLS: a certificate
/// would name the public host, and `listen` may be an address that this machine cannot reach.
fn inside(media: &Media, gate: &Gate) -> Router {
    let gate = gate.clone();
    let media = media.router.clone();
    // Not by a route with a wildcard: what it captured would be a parameter too many for the media server's own routes.
    let twirp = async move |request: Request| {
        if request.uri().path().starts_with("/twirp/") {
            media.clone().oneshot(request).await.into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        }
    };
    Router::new()
        .route("/webhook", post(move |request: Request| gate.clone().answer(request)))
        .fallback(twirp)
}

/// Meetings go on without a history; it is opened when it can be.
async fn storage(folder: &DataFolder) -> Storage {
    let file = folder.join("history.sqlite");
    let storage = Storage::lazy(&file);
    if let Err(error) = storage.connect().await {
        warn!(error = %error, file = %file.display(), "The history of meetings cannot be opened (key: data); meetings go on without");
    }
    storage
}

/// Whether the same start may work later.
fn may_pass(error: &StartError) -> bool {
    match error {
        StartError::Login { reason, .. } => !reason.to_lowercase().contains("authorization"),
        StartError::Layout(LayoutError::Stream { .. }) => false,
        _ => true,
    }
}

/// The last lines of a start: where to go and how to get in.
fn greet(config: &Config, address: SocketAddr, links: &HostLinks, folder: &DataFolder) -> Result<()> {
    let url = url_of(config, address);
    let link = format!("{url}/host#{}", links.issue()?);
    info!(http.address = %address, "Ready");
    let mut terminal = io::stdout();
    let entrance = if terminal.is_terminal() {
        format!("Sign in as host, once, within a day: {link}")
    } else {
        let file = folder.join("host-link.txt");
        write_private(&file, format!("{link}\n").as_bytes())?;
        format!("The host's one-time link is in {}", file.display())
    };
    // Whoever started this may have closed its output; the server runs all the same.
    let _ = writeln!(terminal, "Plenum is ready at {url}\n{entrance}");
    Ok(())
}
