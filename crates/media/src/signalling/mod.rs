//! LiveKit's signalling: what comes with the first HTTP request, and the messages on the WebSocket.

mod join;
mod wire;

pub use join::{
    JoinError, JoinParams, Opening, authorize, fuzz_request, grant_of, is_dependent, permission_of,
};
pub use wire::{Format, Incoming, MAX_MESSAGE_LEN, WireError, decode, encode, fuzz};
