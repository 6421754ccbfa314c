//! How many data packets a client may send: each costs work for every receiver, on a thread that others share.

use std::time::{Duration, Instant};

/// Messages a second in the long run, and at once.
const MESSAGES_PER_SECOND: f64 = 500.0;
const MESSAGES_AT_ONCE: f64 = 2_000.0;
/// Bytes a second in the long run, and at once.
const BYTES_PER_SECOND: f64 = 4.0 * 1024.0 * 1024.0;
const BYTES_AT_ONCE: f64 = 16.0 * 1024.0 * 1024.0;

/// A bucket for messages and one for bytes; both must have enough.
#[derive(Debug)]
pub(super) struct DataBudget {
    messages: f64,
    bytes: f64,
    at: Instant,
}

impl DataBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { messages: MESSAGES_AT_ONCE, bytes: BYTES_AT_ONCE, at: now }
    }

    /// Whether a message of `len` bytes may pass; one that may not costs nothing.
    pub(super) fn spend(&mut self, now: Instant, len: usize) -> bool {
        let passed = now.saturating_duration_since(self.at).max(Duration::ZERO).as_secs_f64();
        self.at = now;
        self.messages = (self.messages + passed * MESSAGES_PER_SECOND).min(MESSAGES_AT_ONCE);
        self.bytes = (self.bytes + passed * BYTES_PER_SECOND).min(BYTES_AT_ONCE);
        let len = len as f64;
        let enough = self.messages >= 1.0 && self.bytes >= len;
        if enough {
            self.messages -= 1.0;
            self.bytes -= len;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut budget = DataBudget::new(start);
        let passed = (0..10_000).filter(|_| budget.spend(start, 10)).count();
        assert_eq!(passed, 2_000);
        let later = start + Duration::from_secs(1);
        let passed = (0..10_000).filter(|_| budget.spend(later, 10)).count();
        assert_eq!(passed, 500);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let start = Instant::now();
        let mut budget = DataBudget::new(start);
        let passed = (0..1_000).filter(|_| budget.spend(start, 65_536)).count();
        assert_eq!(passed, 256);
    }
}
