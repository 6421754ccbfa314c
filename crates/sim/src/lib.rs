//! The media server's two cores, simulated people and the network between them, in virtual time. For tests: nothing that
//! runs for users knows this crate.
//!
//! [`World`] holds a room, the media threads, everybody in it ([`Person`], made of `plenum-client`) and what is on its way
//! between them. Each way of each person is a [`Link`] under [`Conditions`]. Nothing waits: time jumps to whatever comes
//! next. Everything is drawn from seeds, except inside of DTLS and other cryptography, so what is asserted are outcomes.

pub mod churn;
mod dice;
pub mod layered;
mod link;
mod person;
pub mod scenario;
mod source;
pub mod svc;
mod viewer;
mod world;

pub use dice::Dice;
pub use link::{Bursts, Conditions, InFlight, Link};
pub use person::{Links, Person, Seen, picture};
pub use source::{FRAME, SHAPES, Source};
pub use viewer::{Screen, Shown, Speaker, Viewer};
pub use world::{Datagram, Loss, World};
