//! Delivery without being asked: interest, heartbeats and flow control.

use super::ConsumerConfig;
use crate::time::Timestamp;

/// A stock server starts with this window of unconfirmed bytes and doubles it up to the maximum.
const FIRST_WINDOW: u64 = 2 << 20;
const MAX_WINDOW: u64 = 32 << 20;

#[derive(Debug)]
pub(in crate::jetstream) struct Push {
    /// Does somebody subscribe the deliver subject?
    pub(in crate::jetstream) is_active: bool,
    next_heartbeat: Option<Timestamp>,
    window: u64,
    unconfirmed: u64,
    /// The question that waits for its answer, with the bytes that it stands for.
    asked: Option<(String, u64)>,
}

impl Default for Push {
    fn default() -> Self {
        Push { is_active: false, next_heartbeat: None, window: FIRST_WINDOW, unconfirmed: 0, asked: None }
    }
}

impl Push {
    /// Something was sent, so no heartbeat is needed for a while.
    pub(in crate::jetstream) fn sent(&mut self, config: &ConsumerConfig, now: Timestamp) {
        if !config.idle_heartbeat.is_zero() {
            self.next_heartbeat = Some(now.plus(config.idle_heartbeat.span()));
        }
    }

    pub(in crate::jetstream) fn heartbeat_due(&self, now: Timestamp) -> bool {
        self.is_active && self.next_heartbeat.is_some_and(|at| at <= now)
    }

    pub(in crate::jetstream) fn deadline(&self, config: &ConsumerConfig) -> Option<Timestamp> {
        self.next_heartbeat.filter(|_| self.is_active && config.is_push())
    }

    /// Counts the bytes of a delivery. Gives the reply subject of a question that is to be asked now.
    pub(in crate::jetstream) fn count(
        &mut self,
        bytes: u64,
        config: &ConsumerConfig,
        question: impl FnOnce() -> String,
    ) -> Option<String> {
        if !config.flow_control {
            return None;
        }
        self.unconfirmed += bytes;
        if self.asked.is_some() || self.unconfirmed <= self.window / 2 {
            return None;
        }
        let reply = question();
        self.asked = Some((reply.clone(), self.unconfirmed));
        Some(reply)
    }

    /// Is the window full?
    pub(in crate::jetstream) fn is_stalled(&self) -> bool {
        self.unconfirmed > self.window
    }

    /// The question that the client has not answered, for heartbeats.
    pub(in crate::jetstream) fn unanswered(&self) -> Option<&str> {
        self.asked.as_ref().filter(|_| self.is_stalled()).map(|(reply, _)| reply.as_str())
    }

    /// The client answered on `reply`.
    pub(in crate::jetstream) fn confirm(&mut self, reply: &str) -> bool {
        match self.asked.take() {
            Some((asked, bytes)) if asked == reply => {
                self.unconfirmed = self.unconfirmed.saturating_sub(bytes);
                self.window = (self.window * 2).min(MAX_WINDOW);
                true
            }
            other => {
                self.asked = other;
                false
            }
        }
    }

    /// A new subscriber starts with nothing unconfirmed.
    pub(in crate::jetstream) fn reset(&mut self) {
        *self = Push { is_active: self.is_active, next_heartbeat: self.next_heartbeat, ..Push::default() };
    }
}
