//! `POST /webhook`: the media server's reports. Acknowledged after they are noted, so that one that was not comes again.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use plenum_control::WebhookError;
use tracing::debug;

use crate::{Api, Caller, body, routes::Guard};

/// Largest report that is read.
const BODY_LEN_MAX: usize = 256 * 1024;

/// A report with its signature, which control checks: it alone has the media server's key.
pub(super) struct Report {
    token: String,
    body: Bytes,
}

impl Guard for Report {
    const CALLER: Caller = Caller::MediaServer;
}

impl FromRequest<Api> for Report {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &Api) -> Result<Self, StatusCode> {
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = token.map(|token| token.strip_prefix("Bearer ").unwrap_or(token).to_owned()) else {
            return Err(StatusCode::FORBIDDEN);
        };
        let body = body::read(request.into_body(), BODY_LEN_MAX).await.map_err(body::BodyError::status)?;
        Ok(Self { token, body })
    }
}

pub(super) async fn webhook(api: Api, report: Report) -> StatusCode {
    match api.control.media_webhook(&report.body, &report.token).await {
        Ok(()) => StatusCode::OK,
        Err(WebhookError::Unsigned) => StatusCode::FORBIDDEN,
        Err(WebhookError::Unreadable) => StatusCode::UNPROCESSABLE_ENTITY,
        Err(WebhookError::NotNow(error)) => {
            debug!(error = %error, "A report of the media server could not be noted");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
