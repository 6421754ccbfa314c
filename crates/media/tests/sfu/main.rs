//! The media server's two cores against simulated people (`plenum-sim`), who are made of str0m: real handshakes, packets
//! and encryption, no socket, no clock.

mod congestion;
mod connect;
mod counting;
mod data;
mod forward;
mod layers;
mod panics;
mod paths;
mod repair;
mod resume;
