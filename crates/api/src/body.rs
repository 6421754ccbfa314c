//! Request bodies: bounded in length and in time.

use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Who needs longer for so little is not sending.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the body did not arrive within {} seconds", BODY_WITHIN.as_secs())]
    TooSlow,
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

pub(crate) async fn read(body: Body, len_max: usize) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, len_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong(len_max)),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// Where a JSON document is wrong, as its writer would say it: `user_info.name`. `None`: as a whole.
pub(crate) struct JsonError {
    pub(crate) field: Option<String>,
    pub(crate) problem: String,
}

/// Reads JSON; an error names the member.
pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let mut document = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let path = error.path().to_string();
        // A member without a name, as of a list or of the whole.
        let field = path.bytes().any(|byte| byte.is_ascii_alphanumeric()).then_some(path);
        JsonError { field, problem: error.into_inner().to_string() }
    })?;
    document.end().map_err(|error| JsonError { field: None, problem: error.to_string() })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plenum_protocol::plugnmeet::GenerateTokenReq;

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_length_and_time() {
        assert_eq!(read(Body::from("abc"), 3).await.unwrap(), "abc");
        assert_eq!(read(Body::from("abcd"), 3).await, Err(BodyError::TooLong(3)));
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(read(Body::from_stream(never), 3).await, Err(BodyError::TooSlow));
    }

    #[test]
    fn errors_name_the_member() {
        let field =
            |text: &str| json::<GenerateTokenReq>(text.as_bytes()).err().and_then(|error| error.field);
        assert_eq!(field(r#"{"room_id": 5}"#).as_deref(), Some("room_id"));
        assert_eq!(field(r#"{"user_info": {"name": 7}}"#).as_deref(), Some("user_info.name"));
        assert_eq!(field("[]"), None);
        assert!(json::<GenerateTokenReq>(b"{} x").is_err());
        assert!(json::<GenerateTokenReq>(br#"{"roomId": "x", "new": 1}"#).is_ok());
    }
}
