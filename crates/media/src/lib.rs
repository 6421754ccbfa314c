//! The media pillar's pure core: a selective forwarding unit that speaks LiveKit's protocol.
//!
//! Two halves that exchange bounded messages by handles:
//! * [`room`]: who is there, what they publish, who gets what, and every signal message. One owner per room.
//! * [`shard`]: connections and packets. One owner (a thread) per peer.
//!
//! Nothing here knows sockets, threads, clocks or randomness: time and random numbers are arguments. str0m
//! does ICE, DTLS and SCTP; session descriptions and media with its SRTP are ours, because a packet must cost the same
//! whatever else its connection carries.

#![expect(
    deprecated,
    reason = "clients in use send and read fields that LiveKit's own files call deprecated"
)]

pub mod allocator;
pub mod bwe;
pub mod counts;
pub mod downtrack;
pub mod dtls;
pub mod egress;
pub mod fault;
pub mod ids;
pub mod ingest;
pub mod overload;
pub mod pacer;
pub mod rates;
pub mod ring;
pub mod room;
pub mod rtp;
pub mod sdp;
pub mod sending;
pub mod shard;
pub mod signalling;
pub mod srtp;
pub mod stun;
pub mod token;
pub mod transport;
pub mod turn;

mod control;
mod numbering;
