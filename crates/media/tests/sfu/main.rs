//! The media server's two cores against str0m as client: real handshakes, packets and encryption, no socket, no clock.

mod client;
mod layered;
mod picture;
mod source;
#[expect(dead_code, reason = "shared with the tests of single modules, which look at more of it")]
mod svc;
mod world;

mod connect;
mod data;
mod forward;
mod layers;
mod paths;
mod repair;
mod resume;
