//! A consumer: what it wants of its stream, how far it is, and who waits for it.

mod config;
mod pull;
mod push;
mod state;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub(super) use config::{AckPolicy, ConsumerConfig, DeliverPolicy, nak_delay};
pub(super) use pull::{PullRequest, Pulls};
pub(super) use push::Push;
pub(super) use state::{Progress, Redelivery, Saved};

use super::{ConsumerId, log::Place};
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(super) id: ConsumerId,
    pub(super) name: String,
    pub(super) config: ConsumerConfig,
    pub(super) created: Timestamp,
    pub(super) progress: Progress,
    /// Messages that wait to be delivered for the first time. Exact: clients count down with it.
    pub(super) num_pending: u64,
    /// What `last_per_subject` delivers before the rest of the stream.
    pub(super) first: BTreeSet<u64>,
    pub(super) pulls: Pulls,
    pub(super) push: Push,
    pub(super) last_delivery: Option<Timestamp>,
    pub(super) last_ack: Option<Timestamp>,
    /// Since when nobody shows interest.
    pub(super) idle_since: Timestamp,
    /// Is it in the stream's list of consumers to run?
    pub(super) is_ready: bool,
    /// Its entry among the stream's timers.
    pub(super) armed: Option<Timestamp>,
    /// Has its progress changed since it was written?
    pub(super) dirty: bool,
    /// Its record in the log, when it is kept there.
    pub(super) place: Option<Place>,
}

/// A consumer as the log keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConsumerRecord {
    pub(super) config: ConsumerConfig,
    pub(super) created: Timestamp,
    pub(super) progress: Saved,
    #[serde(default)]
    pub(super) first: BTreeSet<u64>,
}

impl Consumer {
    pub(super) fn new(
        id: ConsumerId,
        config: ConsumerConfig,
        progress: Progress,
        now: Timestamp,
    ) -> Consumer {
        Consumer {
            id,
            name: config.name.clone(),
            config,
            created: now,
            progress,
            num_pending: 0,
            first: BTreeSet::new(),
            pulls: Pulls::default(),
            push: Push::default(),
            last_delivery: None,
            last_ack: None,
            idle_since: now,
            is_ready: false,
            armed: None,
            dirty: false,
            place: None,
        }
    }

    /// A message that it wants was stored.
    pub(super) fn arrived(&mut self, seq: u64) {
        if self.num_pending == 0 && self.first.is_empty() {
            // Nothing between here and there is for it, so it need never look.
            self.progress.next_seq = self.progress.next_seq.max(seq);
        }
        if seq >= self.progress.next_seq {
            self.num_pending += 1;
        }
    }

    /// A message that it wants was removed. Gives how often it was delivered when it still waited for an
    /// acknowledgement.
    pub(super) fn gone(&mut self, seq: u64) -> Option<u32> {
        if self.first.remove(&seq) || seq >= self.progress.next_seq {
            self.num_pending = self.num_pending.saturating_sub(1);
            return None;
        }
        let deliveries = self.progress.deliveries(seq);
        let waited = self.progress.is_pending(seq);
        self.progress.settle(seq);
        waited.then_some(deliveries)
    }

    /// Does it still have to do with message `seq`, which its filters match?
    pub(super) fn needs(&self, seq: u64) -> bool {
        self.first.contains(&seq) || self.progress.needs(seq)
    }

    pub(super) fn paused(&self, now: Timestamp) -> bool {
        self.config.pause_until.is_some_and(|until| until > now)
    }

    /// When something has to happen without being asked.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let pause = self.config.pause_until.filter(|until| *until > now);
        [
            self.progress.deadline(),
            self.pulls.deadline(),
            self.push.deadline(&self.config),
            pause,
            self.idle_end(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When it ends for lack of interest.
    pub(super) fn idle_end(&self) -> Option<Timestamp> {
        let threshold = self.config.inactive_threshold;
        let has_interest = if self.config.is_push() { self.push.is_active } else { !self.pulls.is_empty() };
        (!threshold.is_zero() && !has_interest).then(|| self.idle_since.plus(threshold.span()))
    }
}
