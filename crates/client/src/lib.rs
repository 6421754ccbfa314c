//! A LiveKit participant without sockets, clock or runtime: signal messages and datagrams in, signal messages and
//! datagrams out. Simulations, the load generator and the tests of the media server are made of it.
//!
//! [`Client`] joins, publishes, subscribes and sends data, with one connection for both directions or two. What it sends is
//! the caller's, or of a [`Camera`] or [`Microphone`] whose packets every server takes for VP8 and Opus. What it receives it
//! either takes whole, or counts ([`Reception`]): a machine that plays hundreds of subscribers has no time to decrypt
//! everything.
//!
//! str0m does ICE, DTLS, SCTP, session descriptions and the sending of media. It shares no code with our server in
//! descriptions and in the sending of packets, so that what it understands and decrypts is right; only the counting uses
//! the server's codecs of SRTP and RTCP, and it is tried on livekit-server too.
//!
//! **After everything that changes a client, call its `poll_*` until they give nothing.**

mod camera;
mod client;
mod connection;
mod counter;
mod join;
mod microphone;
mod stamp;
mod track;

pub use camera::{Camera, LayerShape};
pub use client::{Client, ClientError, Datagram, Event, Incoming, Settings, Side, user_payload};
pub use connection::Received;
pub use counter::{Reception, StreamTally, Tally, fuzz};
pub use join::{Signalling, access_token, decode, encode, join_query, join_request};
pub use microphone::Microphone;
pub use stamp::{Picture, Sound, data_payload, data_sent};
pub use track::{Dependency, Packet, TrackId};
