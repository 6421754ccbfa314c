//! Frames to messages and back.

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

/// Longest signal message, in bytes (LiveKit's limit).
pub const MAX_MESSAGE_LEN: usize = 2 * 1024 * 1024;

/// How messages of one connection are written. A client gets the format that it used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Protobuf in binary frames.
    #[default]
    Binary,
    /// Protobuf's JSON in text frames.
    Json,
}

/// One frame as it arrives.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    /// A binary frame.
    Binary(&'a [u8]),
    /// A text frame.
    Text(&'a str),
}

/// Why a frame is no signal message. The connection that sent it is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("signal message is longer than {MAX_MESSAGE_LEN} bytes")]
    TooLong,
    /// Not a `SignalRequest`.
    #[error("signal message is malformed: {0}")]
    Malformed(String),
}

/// Reads one frame. `None` is a message of a kind that this server does not know: to be ignored.
pub fn decode(frame: Incoming<'_>) -> Result<(Option<Request>, Format), WireError> {
    let (len, format) = match frame {
        Incoming::Binary(bytes) => (bytes.len(), Format::Binary),
        Incoming::Text(text) => (text.len(), Format::Json),
    };
    if len > MAX_MESSAGE_LEN {
        return Err(WireError::TooLong);
    }
    let request = match frame {
        Incoming::Binary(bytes) => {
            proto::SignalRequest::decode(bytes).map_err(|error| WireError::Malformed(error.to_string()))?
        }
        Incoming::Text(text) => {
            serde_json::from_str(text).map_err(|error| WireError::Malformed(error.to_string()))?
        }
    };
    Ok((request.message, format))
}

/// Writes one message as the bytes of a frame of the given format.
pub fn encode(message: &Response, format: Format) -> Vec<u8> {
    match format {
        Format::Binary => {
            // `SignalResponse` has nothing but this.
            let mut bytes = Vec::with_capacity(message.encoded_len());
            message.encode(&mut bytes);
            bytes
        }
        Format::Json => {
            let response = proto::SignalResponse { message: Some(message.clone()) };
            serde_json::to_vec(&response).expect("protobuf messages have string keys")
        }
    }
}

/// Body of the fuzz target `livekit_signal`.
pub fn fuzz(input: &[u8]) {
    if let Ok((Some(request), _)) = decode(Incoming::Binary(input)) {
        let message = proto::SignalRequest { message: Some(request) };
        let again = proto::SignalRequest::decode(message.encode_to_vec().as_slice());
        assert!(again.is_ok(), "what was read can be read again");
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = decode(Incoming::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_carry_the_same() {
        let message = proto::SignalRequest { message: Some(Request::Ping(42)) };
        let binary = message.encode_to_vec();
        assert_eq!(decode(Incoming::Binary(&binary)), Ok((Some(Request::Ping(42)), Format::Binary)));
        let text = r#"{"ping":"42"}"#;
        assert_eq!(decode(Incoming::Text(text)), Ok((Some(Request::Ping(42)), Format::Json)));
        assert_eq!(encode(&Response::Pong(7), Format::Json), br#"{"pong":"7"}"#);
        let written = encode(&Response::Pong(7), Format::Binary);
        let read = proto::SignalResponse::decode(written.as_slice()).expect("well-formed");
        assert_eq!(read.message, Some(Response::Pong(7)));
    }

    #[test]
    fn bad_frames_are_errors_and_unknown_ones_nothing() {
        assert!(matches!(decode(Incoming::Binary(&[0xff; 9])), Err(WireError::Malformed(_))));
        assert!(matches!(decode(Incoming::Text("{")), Err(WireError::Malformed(_))));
        assert_eq!(decode(Incoming::Binary(&vec![0; MAX_MESSAGE_LEN + 1])), Err(WireError::TooLong));
        // Field 99, varint 1: from a newer protocol.
        assert_eq!(decode(Incoming::Binary(&[0x98, 0x06, 0x01])), Ok((None, Format::Binary)));
    }
}
