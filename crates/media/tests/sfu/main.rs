//! The media server's two cores against str0m as client: real handshakes, packets and encryption, no socket, no clock.

mod layered;
#[path = "../bwe/link.rs"]
#[expect(dead_code, reason = "shared with the tests of the estimator, which use more of it")]
mod link;
mod person;
mod source;
mod svc;
mod world;

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
