//! One client connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hashbrown::HashMap;

use super::account::Placement;
use crate::{
    auth::callout::Question,
    config::Permissions,
    jetstream::{ConsumerId, StreamId, api::API_PREFIX},
    protocol::{CloseReason, ConnectOptions},
    subject,
    time::Timestamp,
};

/// A client connection of this broker. Counts up and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP stream.
    Tcp,
    /// Binary WebSocket messages.
    WebSocket,
}

/// How far a connection is.
pub(super) enum Phase {
    /// CONNECT has not come.
    Greeting,
    /// The auth callout decides.
    Asking(Question),
    Open,
    /// What is in the outgoing buffer is the last.
    Closing(CloseReason),
}

/// Verdicts that are remembered per connection.
const MAX_VERDICTS: usize = 256;

/// Whether a subject may be published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    Invalid,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

pub(super) struct Subscription {
    pub(super) sid: Box<[u8]>,
    pub(super) subject: Box<str>,
    pub(super) queue: Option<Box<str>>,
    pub(super) placements: Vec<Placement>,
    pub(super) delivered: u64,
    pub(super) max: Option<u64>,
    /// Do the permissions withhold some of its messages?
    pub(super) filtered: bool,
}

pub(super) struct Connection {
    pub(super) host: String,
    pub(super) transport: Transport,
    pub(super) started: Timestamp,
    pub(super) phase: Phase,
    pub(super) nonce: String,
    /// Where the answer of the callout goes.
    pub(super) question_reply: String,
    pub(super) options: ConnectOptions,
    pub(super) account: usize,
    /// As events show it.
    pub(super) user: String,
    pub(super) issuer: String,
    /// `None` is everything.
    pub(super) permissions: Option<Arc<Permissions>>,
    pub(super) expires: Option<Timestamp>,
    pub(super) max_subscriptions: usize,
    pub(super) max_payload: usize,
    subscriptions: Vec<Option<Subscription>>,
    free: Vec<u32>,
    by_sid: HashMap<Box<[u8]>, u32>,
    pub(super) out: Vec<u8>,
    /// Bytes in `out` that answer its own operations, rather than bring what others sent.
    pub(super) unread_answers: usize,
    /// Does its reader wait for [`super::Output::Resume`]?
    pub(super) is_paused: bool,
    pub(super) flush_queued: bool,
    verdicts: HashMap<Box<str>, Verdict>,
    /// Replies that it may answer beyond its permissions: how often still, and until when.
    pub(super) answerable: HashMap<Box<str>, (Option<u32>, Timestamp)>,
    /// Consumers that wait for the outgoing bytes to drain.
    pub(super) stalled: Vec<(StreamId, ConsumerId)>,
    /// Its requests to other accounts: those with one answer, and those with many.
    pub(super) single_responses: VecDeque<Box<str>>,
    pub(super) stream_responses: VecDeque<Box<str>>,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
    pub(super) deadline: Timestamp,
    pub(super) armed: Option<Timestamp>,
    pub(super) next_ping: Timestamp,
    pub(super) heard: bool,
    pub(super) pings_unanswered: u32,
    pub(super) ping_sent: Option<Timestamp>,
    pub(super) rtt: Duration,
    pub(super) ponged: bool,
}

impl Connection {
    pub(super) fn new(
        host: String,
        transport: Transport,
        nonce: String,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Connection {
        Connection {
            host,
            transport,
            started: now,
            phase: Phase::Greeting,
            nonce,
            question_reply: String::new(),
            options: ConnectOptions::default(),
            account: 0,
            user: String::new(),
            issuer: String::new(),
            permissions: None,
            expires: None,
            max_subscriptions: usize::MAX,
            max_payload: usize::MAX,
            subscriptions: Vec::new(),
            free: Vec::new(),
            by_sid: HashMap::new(),
            out: Vec::new(),
            unread_answers: 0,
            is_paused: false,
            flush_queued: false,
            verdicts: HashMap::new(),
            answerable: HashMap::new(),
            stalled: Vec::new(),
            single_responses: VecDeque::new(),
            stream_responses: VecDeque::new(),
            sent: Traffic::default(),
            received: Traffic::default(),
            deadline,
            armed: None,
            next_ping: deadline,
            heard: false,
            pings_unanswered: 0,
            ping_sent: None,
            rtt: Duration::ZERO,
            ponged: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Writes something that answers an operation of the client itself.
    pub(super) fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.out.len();
        write(&mut self.out);
        self.unread_answers += self.out.len() - before;
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.by_sid.len()
    }

    pub(super) fn subscription(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn slot_of(&self, sid: &[u8]) -> Option<u32> {
        self.by_sid.get(sid).copied()
    }

    /// The slot that the next [`Connection::add`] uses.
    pub(super) fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.subscriptions.len() as u32)
    }

    pub(super) fn add(&mut self, subscription: Subscription) {
        let slot = self.next_slot();
        self.by_sid.insert(subscription.sid.clone(), slot);
        match self.free.pop() {
            Some(slot) => self.subscriptions[slot as usize] = Some(subscription),
            None => self.subscriptions.push(Some(subscription)),
        }
    }

    pub(super) fn take(&mut self, slot: u32) -> Option<Subscription> {
        let subscription = self.subscriptions.get_mut(slot as usize)?.take()?;
        self.by_sid.remove(&subscription.sid);
        self.free.push(slot);
        Some(subscription)
    }

    pub(super) fn slots(&self) -> Vec<u32> {
        self.by_sid.values().copied().collect()
    }

    /// Own plain subscriptions that a literal subject matches.
    pub(super) fn matching_sids(&self, subject: &str) -> Vec<Box<[u8]>> {
        self.subscriptions
            .iter()
            .flatten()
            .filter(|s| s.queue.is_none() && subject::matches(&s.subject, subject))
            .map(|s| s.sid.clone())
            .collect()
    }

    /// May this client publish on `subject`?
    pub(super) fn judge(&mut self, subject: &str, now: Timestamp) -> Verdict {
        if let Some(verdict) = self.verdicts.get(subject).copied() {
            return if verdict == Verdict::Denied && self.may_answer(subject, now) {
                Verdict::Allowed
            } else {
                verdict
            };
        }
        // Requests to create a consumer carry its filter in their subject; anywhere else, a wildcard that is
        // published would be stored as text and break filters later.
        let is_request = subject.starts_with(API_PREFIX) && subject::is_valid(subject);
        let verdict = if !is_request && !subject::is_publishable(subject) {
            Verdict::Invalid
        } else if self.permissions.as_ref().is_none_or(|p| p.may_publish(subject)) {
            Verdict::Allowed
        } else {
            Verdict::Denied
        };
        if self.verdicts.len() >= MAX_VERDICTS {
            self.verdicts.clear();
        }
        self.verdicts.insert(subject.into(), verdict);
        if verdict == Verdict::Denied && self.may_answer(subject, now) { Verdict::Allowed } else { verdict }
    }

    /// Uses up one permitted answer on `subject`, if there is one.
    fn may_answer(&mut self, subject: &str, now: Timestamp) -> bool {
        let Some((left, until)) = self.answerable.get_mut(subject) else { return false };
        if *until <= now {
            self.answerable.remove(subject);
            return false;
        }
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                self.answerable.remove(subject);
            }
        }
        true
    }

    /// When something has to happen without being asked.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Greeting | Phase::Asking(_) => Some(self.deadline),
            Phase::Open => Some(self.expires.map_or(self.next_ping, |at| at.min(self.next_ping))),
            Phase::Closing(_) => None,
        }
    }
}
