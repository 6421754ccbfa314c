//! The media pillar's shell: sockets, threads, timers, HTTP routes and webhooks.
//!
//! It decides nothing: rooms are tasks around [`plenum_media::room::Room`], media threads are loops around
//! [`plenum_media::shard::Shard`]. Both exchange bounded messages.

mod config;
mod external;
mod interfaces;
mod metrics_names;
mod outbox;
mod places;
mod rooms;
mod rtc;
mod server;
mod socket;
mod tally;
mod tcp;
mod thread;
mod turn;
mod twirp;
mod webhook;

pub use config::{BindScope, Config, Setting, StartError, TlsEnd, Turn, TurnTls, Webhook};
pub use metrics_names::HISTOGRAMS;
pub use plenum_media::downtrack::PlayoutDelay;
pub use plenum_media::overload::DEFAULT_CEILING;
pub use plenum_media::room::{Limits, RoomDefaults, RoomOptions, TextLimits};
pub use plenum_media::sdp::Codec;
pub use server::Server;
pub use thread::Health;
pub use turn::Addresses as TurnAddresses;
