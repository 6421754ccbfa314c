//! What every role of the binary does as a process: its runtime, its signals, its logs, its metrics.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::sleep,
};
use tracing_subscriber::EnvFilter;

use crate::{
    config::LogFormat,
    connections::{Bounded, with_patience},
};

/// Samples of histograms are put together this often; nobody else does it.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Threads that are still busy when the grace period is over are left to the system after this long.
const LEFT_BEHIND_AFTER: Duration = Duration::from_millis(100);

/// Runs a role to its end.
pub(crate) fn run(role: impl Future<Output = Result<()>>) -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok().context("TLS was already set up")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(role);
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    result
}

/// SIGTERM and Ctrl-C, from the first moment on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Logs go to standard error. `level`: as of the key `log.level`, which was checked.
pub(crate) fn logs(level: &str, format: LogFormat) -> Result<()> {
    let mut level = level.to_owned();
    if !level.contains("memory_serve") {
        // One line for each file of the web client.
        level.push_str(",memory_serve=warn");
    }
    let filter = EnvFilter::try_new(&level).context("configuration: log.level")?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Collects metrics from here on.
pub(crate) fn metrics() -> Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in plenum_media_server::HISTOGRAMS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    let handle = builder.install_recorder().context("metrics")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            sleep(METRICS_EVERY).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Serves HTTP, for no more connections than `places` has, and with patience for none that says nothing.
pub(crate) fn answer(
    listener: std::net::TcpListener,
    tls: Option<RustlsConfig>,
    handle: axum_server::Handle<SocketAddr>,
    places: Bounded,
    router: Router,
) -> Result<JoinHandle<io::Result<()>>> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum_server::from_tcp(listener)?.handle(handle);
    Ok(match tls {
        Some(tls) => {
            let server = server.acceptor(RustlsAcceptor::new(tls).acceptor(places));
            tokio::spawn(with_patience(server).serve(service))
        }
        None => tokio::spawn(with_patience(server.acceptor(places)).serve(service)),
    })
}
