//! The HTTP server answers from the first moment of the process to its last: what cannot be served yet, or no more, is
//! told so (503) instead of being left to wait.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tower::ServiceExt as _;

/// Opened once, closed once.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    behind: Arc<RwLock<Option<Router>>>,
}

impl Gate {
    /// From here on requests reach the router.
    pub(crate) fn open(&self, router: Router) {
        *self.behind.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// From here on they do not, and the router is dropped with all that it holds.
    pub(crate) fn close(&self) {
        *self.behind.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) async fn answer(self, request: Request) -> Response {
        let router = self.behind.read().unwrap_or_else(PoisonError::into_inner).clone();
        match router {
            Some(router) => router.oneshot(request).await.into_response(),
            None => not_now("the server is starting or stopping, try again"),
        }
    }
}

/// Clients try again by themselves.
pub(crate) fn not_now(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};

    #[tokio::test]
    async fn closed_open_closed() {
        let gate = Gate::default();
        let ask = async || gate.clone().answer(Request::new(Body::empty())).await.status();
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
        gate.open(Router::new().route("/", get(async || "open")));
        assert_eq!(ask().await, StatusCode::OK);
        gate.close();
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
