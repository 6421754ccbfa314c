//! The first request: what a client says in the query of its signal connection.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use livekit_protocol as proto;
use plenum_media::token::{Claims, VideoGrant, sign};
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

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
        connection_settings: Some(*settings),
        ..Default::default()
    };
    let wrapped = proto::WrappedJoinRequest { join_request: request.encode_to_vec(), ..Default::default() };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

/// A token that lets its bearer join `room` as `identity` and do everything there, signed with an API key of the server.
/// `now`: since the beginning of 1970.
pub fn access_token(
    key: &str,
    secret: &str,
    room: &str,
    identity: &str,
    now: Duration,
    validity: Duration,
) -> String {
    let claims = Claims {
        iss: key.to_owned(),
        sub: identity.to_owned(),
        nbf: Some(now.as_secs().saturating_sub(60)),
        exp: Some((now + validity).as_secs()),
        video: Some(VideoGrant {
            room_create: true,
            room_join: true,
            room: room.to_owned(),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    };
    sign(&claims, secret)
}

/// A signal message as it goes into a binary frame of the WebSocket.
pub fn encode(request: Request) -> Vec<u8> {
    proto::SignalRequest { message: Some(request) }.encode_to_vec()
}

/// A signal message out of a binary frame; `None` for what is malformed, or newer than this client.
pub fn decode(frame: &[u8]) -> Option<Response> {
    proto::SignalResponse::decode(frame).ok()?.message
}

#[cfg(test)]
mod tests {
    use plenum_media::signalling::{Incoming, authorize};
    use plenum_media::token::{ApiKeys, verify};

    use super::*;

    /// What the server understands of what this client says first.
    #[test]
    fn the_first_request_is_understood() {
        let now = Duration::from_secs(1_000_000);
        let token = access_token("key", "secret", "room", "alice", now, Duration::from_secs(60));
        let keys = ApiKeys::new([("key".to_owned(), "secret".to_owned())].into());
        let claims = verify(&token, &keys, now.as_secs()).expect("signed well");
        for signalling in [Signalling::TwoConnections, Signalling::OneConnection] {
            for (subscribe, pause) in [(true, None), (false, Some(false))] {
                let settings = proto::ConnectionSettings {
                    auto_subscribe: subscribe,
                    subscriber_allow_pause: pause,
                    ..Default::default()
                };
                let path = join_query(signalling, &settings);
                let (_, query) = path.split_once('?').expect("with a query");
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                let params = authorize(&claims, &query).expect("well-formed");
                assert_eq!(params.one_connection, signalling == Signalling::OneConnection);
                assert_eq!((params.auto_subscribe, params.protocol), (subscribe, PROTOCOL));
                assert_eq!(params.allow_pause, pause.unwrap_or(true));
                assert!(params.may_create_room);
            }
        }
    }

    #[test]
    fn messages_are_read_by_servers_and_read_from_them() {
        let frame = encode(Request::Ping(7));
        let read = plenum_media::signalling::decode(Incoming::Binary(&frame));
        assert!(matches!(read, Ok((Some(Request::Ping(7)), _))), "{read:?}");
        let pong = proto::SignalResponse { message: Some(Response::Pong(8)) };
        assert_eq!(decode(&pong.encode_to_vec()), Some(Response::Pong(8)));
        assert_eq!(decode(&[0xff; 3]), None);
    }
}
