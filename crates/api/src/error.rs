//! Errors as each part of the API tells them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use plenum_control::{CommandError, StoreError};
use plenum_meeting::{IdError, Refusal};
use plenum_protocol::plugnmeet::{CommonResponse, StatusCode as Code};
use serde_json::json;
use tracing::warn;

use crate::body::{BodyError, JsonError};

/// An error of the landing page's API.
#[derive(Debug)]
pub(crate) struct AdminError {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<String>,
}

impl AdminError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }

    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = Some(field.into());
        Self { status: StatusCode::BAD_REQUEST, code: "invalid", message: message.into(), field }
    }

    /// For now; the same request will do in a moment.
    fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The server is busy. Try again in a moment.",
        )
    }

    pub(crate) fn not_signed_in() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "not_signed_in",
            "Open a host link to sign in. `plenum host-link` makes one on the server.",
        )
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(field) = self.field {
            error["field"] = field.into();
        }
        (self.status, Json(json!({"error": error}))).into_response()
    }
}

impl From<CommandError> for AdminError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(
                Refusal::RoomUnknown | Refusal::RoomEnded | Refusal::EndedAlready | Refusal::NotActive,
            ) => Self::new(StatusCode::GONE, "meeting_ended", "This meeting has ended."),
            CommandError::Refused(Refusal::Full) => Self::new(
                StatusCode::CONFLICT,
                "meeting_full",
                "This meeting is full. Try again when somebody has left.",
            ),
            CommandError::Refused(Refusal::BlockedToJoin | Refusal::Blocked) => {
                Self::new(StatusCode::FORBIDDEN, "blocked", "The host does not let you in again.")
            }
            CommandError::Refused(Refusal::Busy) => Self::busy(),
            CommandError::Refused(refusal) => {
                Self::new(StatusCode::BAD_REQUEST, "refused", refusal.to_string())
            }
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        warn!(error = %error, "A request could not be served");
        Self::busy()
    }
}

impl From<BodyError> for AdminError {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), "invalid", error.to_string())
    }
}

impl From<JsonError> for AdminError {
    fn from(error: JsonError) -> Self {
        match error.field {
            Some(field) => Self::field(field, error.problem),
            None => Self::new(StatusCode::BAD_REQUEST, "invalid", error.problem),
        }
    }
}

/// plugNmeet's way to say no: `status: false` with a text and a code.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) msg: String,
    pub(crate) code: Code,
}

impl Failure {
    pub(crate) fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { msg: msg.into(), code }
    }

    pub(crate) fn response(self) -> CommonResponse {
        CommonResponse { status: false, msg: self.msg, status_code: self.code.into() }
    }
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Self {
        let text = match error.field {
            Some(field) => format!("{field}: {}", error.problem),
            None => error.problem,
        };
        Self::new(Code::InvalidParameters, text)
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::new(Code::InvalidParameters, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status_code(), refusal.to_string())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        warn!(error = %error, "A request could not be served");
        Self::new(Code::InternalServerError, "the server is busy, try again")
    }
}
