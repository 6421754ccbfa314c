//! The messaging pillar's pure core: a NATS broker with JetStream, as a state machine.
//!
//! A [`Broker`] is one value without lock, socket, clock or file. The shell tells it what happened with the
//! `handle_*` methods, each with the time, and then **must** call [`Broker::poll_output`] until it gives
//! `None`, doing what each [`Output`] says. [`Broker::next_deadline`] says when [`Broker::handle_timeout`]
//! is due. Bytes for a connection are fetched with [`Broker::take_output`], so that many messages become
//! one write.
//!
//! Modules from the outside in: `protocol` reads and writes the wire, `broker` owns connections, accounts
//! and routing, `auth` knows who a client is, `jetstream` keeps messages and delivers them.

mod auth;
mod broker;
mod config;
mod jetstream;
mod permission;
mod protocol;
mod sublist;
mod time;

pub mod fuzz;
pub mod subject;

pub use broker::{
    Broker, ConnectionId, Output, Progress, Received, Recovered, Recovery, Statistics, Transport,
};
pub use config::{
    AccountConfig, AllowResponses, AuthCalloutConfig, BrokerConfig, ConfigError, Credentials, Export, Import,
    Limits, Permissions, ResponseType, Rules, Secret, UserConfig,
};
pub use jetstream::{Damaged, LogOp, StreamId};
pub use protocol::{API_LEVEL, CloseReason, Operation, ParseError, ParseLimits, VERSION, parse};
pub use time::Timestamp;

use rand::{Rng, RngExt};

/// A token of letters and digits that nobody can guess when it is long enough (about 6 bits each).
fn random_token(rng: &mut impl Rng, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..len).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
