//! A TURN server (RFC 8656), for clients whose network lets no media through in another way. Pure, as all of this crate:
//! sockets are the shell's.
//!
//! * [`Session`] is one client: it answers requests, and says where a datagram goes.
//! * [`Peers`] says where datagrams may go at all: to the addresses that this server tells its clients for media, and to
//!   what the operator adds.
//! * [`Secret`] makes time-limited credentials, and [`Announcement`] what clients are told.
//!
//! Before somebody has proved to know a password nothing is kept of them: a nonce says itself when and to whom it was
//! given. One session has one relayed address of one family; TCP allocations (RFC 6062), reserved ports,
//! mobility and ICMP reports are absent, because no WebRTC client asks for them.
//!
//! The library for servers at hand, turn-server-proto, does not fit: it asks nobody whether a peer is allowed, keeps
//! state for whoever sends one datagram, bounds neither permissions nor channels, binds one channel to two peers, and
//! knows no padding in streams, which browsers send; the messages under it (stun-types) warn in the log about each broken
//! datagram that anybody sends.

mod allocation;
mod announcement;
mod credentials;
mod failure;
mod framing;
mod fuzz;
mod nonce;
mod peers;
mod session;
#[cfg(test)]
mod tests;

pub use announcement::Announcement;
pub use credentials::{Credentials, Secret};
pub use framing::{MESSAGE_LEN_MAX, NotTurn, frame_len};
pub use fuzz::fuzz;
pub use peers::Peers;
pub use session::{Family, NoRelay, Reaction, Relay, Request, Session, Transport};
