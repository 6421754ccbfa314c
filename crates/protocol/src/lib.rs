//! plugNmeet's wire types, generated from `proto/`. No logic.
//!
//! Their JSON is what plugNmeet writes: snake_case names, zero values included, 64-bit integers as strings, enums by
//! name. Reading takes snake_case and camelCase and ignores unknown members.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated; the .proto files carry the words"
)]

/// The LiveKit messages that plugNmeet's API embeds.
pub mod livekit {
    include!(concat!(env!("OUT_DIR"), "/livekit.rs"));
    include!(concat!(env!("OUT_DIR"), "/livekit.serde.rs"));
}

/// plugNmeet's messages.
pub mod plugnmeet {
    include!(concat!(env!("OUT_DIR"), "/plugnmeet.rs"));
    include!(concat!(env!("OUT_DIR"), "/plugnmeet.serde.rs"));
    include!(concat!(env!("OUT_DIR"), "/unprintable.rs"));
}
