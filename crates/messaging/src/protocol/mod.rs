//! The wire protocol of NATS: what clients say, what they hear, and the exact texts of refusals.

mod encode;
mod parse;

pub(crate) use encode::{message, status_headers};
pub(crate) use parse::may_greet;
pub use parse::{Operation, ParseError, ParseLimits, parse};

use serde::{Deserialize, Serialize};

/// The version that clients gate their features on: everything a 2.11 server offers on one node,
/// except what is refused with an error (priority groups, mirrors, sources).
pub const VERSION: &str = "2.11.0";

/// The JetStream API level that belongs to [`VERSION`]: per-message TTL and consumer pause.
pub const API_LEVEL: u32 = 1;

/// The CONNECT options that the broker acts on. What it does not know is ignored, as clients expect. Not printable: they
/// hold passwords and tokens.
#[derive(Clone, Deserialize)]
#[serde(default)]
pub(crate) struct ConnectOptions {
    pub(crate) verbose: bool,
    pub(crate) pedantic: bool,
    pub(crate) echo: bool,
    pub(crate) headers: bool,
    pub(crate) no_responders: bool,
    pub(crate) protocol: i64,
    pub(crate) name: String,
    pub(crate) lang: String,
    pub(crate) version: String,
    pub(crate) auth_token: String,
    pub(crate) user: String,
    pub(crate) pass: String,
    pub(crate) nkey: String,
    pub(crate) sig: String,
    pub(crate) jwt: String,
}

impl ConnectOptions {
    /// Reads the argument of CONNECT. A member that is null counts as absent: some clients write all of them.
    pub(crate) fn read(json: &[u8]) -> Option<ConnectOptions> {
        let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
        members.retain(|_, value| !value.is_null());
        serde_json::from_value(members.into()).ok()
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            auth_token: String::new(),
            user: String::new(),
            pass: String::new(),
            nkey: String::new(),
            sig: String::new(),
            jwt: String::new(),
        }
    }
}

/// The INFO that greets a client.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerInfo<'a> {
    pub(crate) server_id: &'a str,
    pub(crate) server_name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) proto: u8,
    pub(crate) git_commit: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) headers: bool,
    pub(crate) auth_required: bool,
    pub(crate) max_payload: usize,
    pub(crate) jetstream: bool,
    pub(crate) client_id: u64,
    pub(crate) client_ip: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) xkey: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ldm: bool,
    pub(crate) api_lvl: u32,
}

/// Why a connection ends. The texts appear in disconnect events and in WebSocket close frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it.
    ClientClosed,
    /// No valid CONNECT in time.
    AuthenticationTimeout,
    /// Credentials were refused.
    AuthenticationFailure,
    /// The client's right to be here ended while it was connected.
    AuthenticationExpired,
    /// More bytes wait for the client than it may leave unread.
    SlowConsumerPendingBytes,
    /// One write to the client took longer than the write deadline.
    SlowConsumerWriteDeadline,
    /// Writing to the socket failed.
    WriteError,
    /// Reading from the socket failed.
    ReadError,
    /// The client sent what is not the protocol.
    ParseError,
    /// The client broke the order of the protocol.
    ProtocolViolation,
    /// Pings stayed unanswered.
    StaleConnection,
    /// CONNECT asked for a protocol that does not exist.
    BadClientProtocolVersion,
    /// The broker has no room for a further connection.
    MaximumConnectionsExceeded,
    /// A message was larger than `max_payload`.
    MaximumPayloadExceeded,
    /// A line was longer than `max_control_line`.
    MaximumControlLineExceeded,
    /// A message with headers from a client that had not announced headers.
    MessageHeaderViolation,
    /// `no_responders` without `headers`.
    NoRespondersRequiresHeaders,
    /// A system user asked for it.
    Kicked,
    /// The broker stops.
    ServerShutdown,
}

impl CloseReason {
    /// The words that NATS uses for it.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::ClientClosed => "Client Closed",
            CloseReason::AuthenticationTimeout => "Authentication Timeout",
            CloseReason::AuthenticationFailure => "Authentication Failure",
            CloseReason::AuthenticationExpired => "Authentication Expired",
            CloseReason::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            CloseReason::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            CloseReason::WriteError => "Write Error",
            CloseReason::ReadError => "Read Error",
            CloseReason::ParseError => "Parse Error",
            CloseReason::ProtocolViolation => "Protocol Violation",
            CloseReason::StaleConnection => "Stale Connection",
            CloseReason::BadClientProtocolVersion => "Bad Client Protocol Version",
            CloseReason::MaximumConnectionsExceeded => "Maximum Connections Exceeded",
            CloseReason::MaximumPayloadExceeded => "Maximum Message Payload Exceeded",
            CloseReason::MaximumControlLineExceeded => "Maximum Control Line Exceeded",
            CloseReason::MessageHeaderViolation => "Message Header Violation",
            CloseReason::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            CloseReason::Kicked => "Kicked",
            CloseReason::ServerShutdown => "Server Shutdown",
        }
    }

    /// The close code of the WebSocket frame that goes with it (RFC 6455 section 7.4).
    pub fn websocket_code(self) -> u16 {
        match self {
            CloseReason::ClientClosed => 1000,
            CloseReason::StaleConnection
            | CloseReason::ReadError
            | CloseReason::WriteError
            | CloseReason::ServerShutdown => 1001,
            CloseReason::ParseError
            | CloseReason::ProtocolViolation
            | CloseReason::BadClientProtocolVersion => 1002,
            CloseReason::AuthenticationTimeout
            | CloseReason::AuthenticationFailure
            | CloseReason::AuthenticationExpired
            | CloseReason::SlowConsumerPendingBytes
            | CloseReason::SlowConsumerWriteDeadline
            | CloseReason::MaximumConnectionsExceeded
            | CloseReason::MaximumControlLineExceeded => 1008,
            CloseReason::MaximumPayloadExceeded => 1009,
            CloseReason::MessageHeaderViolation
            | CloseReason::NoRespondersRequiresHeaders
            | CloseReason::Kicked => 1011,
        }
    }
}
