//! The simulation's links in real time: two network namespaces with a TUN device each, and between the devices the same
//! [`plenum_sim::Link`] that virtual time has. A media server, ours or livekit-server, is in one namespace, people in the
//! other; both servers play the same calls, and what people saw and heard is printed side by side.
//!
//! [`Network`] is the namespaces and what carries packets between them, [`server`] starts a server in its namespace,
//! [`call`] plays a scenario of the simulation with real sockets, [`browsers`] one with two Chromium, [`report`] the table.
//! Needs root and `/dev/net/tun`.

pub mod browsers;
pub mod call;
mod carrier;
mod namespace;
mod network;
mod participant;
pub mod report;
pub mod server;

pub use namespace::Namespace;
pub use network::{Network, SERVER, Unavailable};
