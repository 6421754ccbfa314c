//! The first request: what a client says in the query of its signal connection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use livekit_protocol as proto;
use prost::Message as _;

/// Version of LiveKit's signalling that this client speaks.
const PROTOCOL: i32 = 17;

/// How many connections a client has, which the signal path decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signalling {
    /// One for each direction: `/rtc`, as the SDKs for Go, Swift, Android and Flutter.
    #[default]
    TwoConnections,
    /// One for both: `/rtc/v1`, as the SDKs for browsers, Rust, Python and Node.js.
    OneConnection,
}

/// Path and query of the signal connection, without an access token, which belongs into the header `Authorization`.
pub fn join_query(signalling: Signalling, settings: &proto::ConnectionSettings) -> String {
    match signalling {
        Signalling::TwoConnections => {
            let flag = |value: bool| u8::from(value);
            let mut query = format!(
                "/rtc?protocol={PROTOCOL}&sdk=rust&version=0.1.0&auto_subscribe={}&adaptive_stream={}",
                flag(settings.auto_subscribe),
                flag(settings.adaptive_stream)
            );
            if let Some(allowed) = settings.subscriber_allow_pause {
                query.push_str(&format!("&subscriber_allow_pause={}", flag(allowed)));
            }
            query
        }
        Signalling::OneConnection => format!("/rtc/v1?join_request={}", join_request(settings)),
    }
}

/// The value of `join_request`. URL-safe, so that it needs no escape.
pub fn join_request(settings: &proto::ConnectionSettings) -> String {
    let request = proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Rust as i32,
            version: "0.1.0".into(),
            protocol: PROTOCOL,
            ..Default::default()
        }),
        connection_settings: Some(settings.clone()),
        ..Default::default()
    };
    let wrapped = proto::WrappedJoinRequest { join_request: request.encode_to_vec(), ..Default::default() };
    URL_SAFE.encode(wrapped.encode_to_vec())
}
