//! JetStream: streams that keep messages, consumers that deliver them, and the API over both.

pub(crate) mod api;
mod config;
mod consumer;
mod error;
pub(crate) mod headers;
mod json;
mod log;
mod store;
mod stream;

use std::collections::VecDeque;

use bytes::Bytes;
use rand::rngs::StdRng;

pub use log::{Damaged, LogOp};
pub(crate) use stream::{Incoming, RecoveryBuilder, Stream};

use crate::time::Timestamp;

/// A stream of this broker. Never used twice; its log carries it as name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A consumer of one stream. Never used twice there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConsumerId(pub(crate) u64);

/// A message that the broker itself sends.
#[derive(Clone)]
pub(crate) struct Publication {
    pub(crate) account: usize,
    /// Who gets it.
    pub(crate) subject: String,
    /// The subject that the receiver sees, when it is another one.
    pub(crate) shown: Option<String>,
    pub(crate) reply: Option<String>,
    pub(crate) headers: Bytes,
    pub(crate) payload: Bytes,
}

/// What streams want of the broker around them.
pub(crate) enum Effect {
    Publish(Publication),
    /// Like a publication, but written only when someone listens.
    Advisory {
        account: usize,
        subject: String,
        kind: &'static str,
        body: serde_json::Value,
    },
    /// The stream takes messages on this subject from now on.
    Capture {
        account: usize,
        subject: String,
        stream: StreamId,
    },
    /// The stream no longer takes messages on this subject.
    Release {
        subject: String,
        stream: StreamId,
    },
    /// The consumer delivers to this subject, and wants to know when someone subscribes it.
    Watch {
        account: usize,
        subject: String,
        stream: StreamId,
        consumer: ConsumerId,
    },
    Unwatch {
        account: usize,
        subject: String,
        stream: StreamId,
        consumer: ConsumerId,
    },
}

/// Whether somebody can take a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbox {
    /// Nobody listens.
    Absent,
    Ready,
    /// Somebody listens whose outgoing bytes have to drain first.
    Busy,
}

/// What is around a stream while it works.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) effects: &'a mut VecDeque<Effect>,
    pub(crate) inboxes: &'a mut dyn Inboxes,
}

/// The broker's knowledge of who listens where.
pub(crate) trait Inboxes {
    /// Can a message on `subject` be taken?
    fn state(&mut self, account: usize, subject: &str) -> Inbox;
    /// Is there a subscription of exactly this subject, in `queue` when one is given?
    fn subscribed(&mut self, account: usize, subject: &str, queue: Option<&str>) -> bool;
}
