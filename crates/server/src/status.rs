//! `/healthz`, `/readyz` and metrics.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use plenum_control::Control;
use plenum_media_server::Health;
use plenum_meeting::RoomId;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often the media server is asked whether it is there, and how often when it was not.
const MEDIA_EVERY: Duration = Duration::from_secs(5);
const MEDIA_AGAIN: Duration = Duration::from_secs(1);
/// The media server is asked who is in this room; it need not be there.
const PROBE_ROOM: &str = "plenum-readyz";

/// Meetings that are there go on, and new ones are refused.
pub(crate) const OVERLOADED: &str = "the media threads have enough to do: new rooms are refused for now";

/// Whether meetings can be taken.
#[derive(Clone, Default)]
pub(crate) struct Status {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    phase: Mutex<Phase>,
    media_is_there: AtomicBool,
    /// Of the embedded media server.
    media_threads: OnceLock<Health>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Starting,
    /// For what the text says.
    Waiting(&'static str),
    Running(Control),
    Stopping,
}

impl Status {
    /// The start cannot go on until something else is there.
    pub(crate) fn waits_for(&self, what: &'static str) {
        *self.phase() = Phase::Waiting(what);
    }

    /// The media server is in this process.
    pub(crate) fn embeds_media(&self, threads: Health) {
        let _ = self.inner.media_threads.set(threads);
    }

    /// Control runs.
    pub(crate) fn runs(&self, control: Control) {
        *self.phase() = Phase::Running(control);
    }

    /// From here on the server is not ready, and lets go of control.
    pub(crate) fn stop(&self) {
        *self.phase() = Phase::Stopping;
    }

    /// Whether the broker's questions about new connections are being answered.
    pub(crate) fn answers_callouts(&self) -> bool {
        match &*self.phase() {
            Phase::Running(control) => control.is_connected(),
            Phase::Starting | Phase::Waiting(_) | Phase::Stopping => false,
        }
    }

    /// Looks after the media server until the server stops.
    pub(crate) async fn watch_media(self) {
        let room = RoomId::parse(PROBE_ROOM, "room_id").expect("a room id");
        let mut was_there = None;
        loop {
            let Some(control) = self.control() else { return };
            let asked = control.media_participants(&room).await;
            drop(control);
            let is_there = asked.is_ok();
            self.inner.media_is_there.store(is_there, Ordering::Relaxed);
            match asked {
                Ok(_) if was_there == Some(false) => info!("The media server answers again"),
                Err(error) if was_there != Some(false) => {
                    warn!(error = %error, "The media server does not answer");
                }
                _ => {}
            }
            was_there = Some(is_there);
            sleep(if is_there { MEDIA_EVERY } else { MEDIA_AGAIN }).await;
        }
    }

    fn control(&self) -> Option<Control> {
        match &*self.phase() {
            Phase::Running(control) => Some(control.clone()),
            Phase::Starting | Phase::Waiting(_) | Phase::Stopping => None,
        }
    }

    /// `Err`: what is missing.
    fn is_ready(&self) -> Result<(), &'static str> {
        let media_threads_run = self.inner.media_threads.get().is_none_or(Health::is_healthy);
        match &*self.phase() {
            Phase::Stopping => Err("stopping"),
            // Nothing brings it back, and the API of the media server goes on answering without it.
            _ if !media_threads_run => Err("a media thread has ended: restart the server"),
            Phase::Starting => Err("starting"),
            Phase::Waiting(what) => Err(what),
            Phase::Running(control) if !control.is_connected() => Err("the broker cannot be reached"),
            Phase::Running(control) if !control.keeps_broker_time() => {
                Err("this machine's clock is more than 2 s off the broker's: check its time synchronisation")
            }
            Phase::Running(control) if !control.is_ready() => Err("not every room is worked on yet"),
            Phase::Running(_) if !self.inner.media_is_there.load(Ordering::Relaxed) => {
                Err("the media server does not answer")
            }
            Phase::Running(_) if self.inner.media_threads.get().is_some_and(Health::is_overloaded) => {
                Err(OVERLOADED)
            }
            Phase::Running(_) => Ok(()),
        }
    }

    pub(crate) fn router(self) -> Router {
        Router::new().route("/healthz", get(async || "ok")).route("/readyz", get(readyz)).with_state(self)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.inner.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn readyz(State(status): State<Status>) -> Response {
    match status.is_ready() {
        Ok(()) => "ready".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

/// `/metrics`; `token`: what the caller must show, if anything.
pub(crate) fn metrics(handle: PrometheusHandle, token: Option<String>) -> Router {
    let answer = async move |headers: HeaderMap| {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let allowed = token.as_ref().is_none_or(|token| {
            shown.and_then(|shown| shown.strip_prefix("Bearer ")).is_some_and(|shown| equal(shown, token))
        });
        if allowed { handle.render().into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
    };
    Router::new().route("/metrics", get(answer))
}

/// Takes as long for a wrong guess as for a right one of the same length.
pub(crate) fn equal(shown: &str, token: &str) -> bool {
    shown.len() == token.len()
        && shown.bytes().zip(token.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Body;
    use axum::http::Request;
    use plenum_media_server::{BindScope, Config, Server};
    use tower::ServiceExt as _;

    use super::*;

    async fn readyz(status: &Status) -> (StatusCode, String) {
        let request = Request::get("/readyz").body(Body::empty()).expect("a request");
        let answer = status.clone().router().oneshot(request).await.expect("an answer");
        let code = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn without_its_media_threads_the_server_is_not_ready() {
        let status = Status::default();
        let media = Server::start(Config {
            udp_port: 0,
            tcp_port: None,
            bind: BindScope::Loopback,
            node_ip: None,
            keys: BTreeMap::from([("key".to_owned(), "secret".to_owned())]),
            webhooks: Vec::new(),
            shards: 2,
            ..Config::default()
        })
        .await
        .expect("a media server");
        status.embeds_media(media.health());
        assert_eq!(readyz(&status).await, (StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned()));
        media.drain(Duration::ZERO, Duration::from_secs(1)).await;
        let (code, why) = readyz(&status).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.contains("media thread"), "{why}");
    }
}
