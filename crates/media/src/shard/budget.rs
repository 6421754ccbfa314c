//! How many data packets a client may send: each costs work for every receiver, on a thread that others share.

use std::time::{Duration, Instant};

/// Messages a second in the long run. Four times that many may come at once.
const MESSAGES_PER_SECOND: f64 = 500.0;
/// Deliveries of packets of data tracks a second in the long run: a packet counts once for each receiver.
const DELIVERIES_PER_SECOND: f64 = 20_000.0;
const AT_ONCE: f64 = 4.0;
/// Bytes a second in the long run, and at once.
const BYTES_PER_SECOND: f64 = 4.0 * 1024.0 * 1024.0;
const BYTES_AT_ONCE: f64 = 16.0 * 1024.0 * 1024.0;

/// A bucket for messages and one for bytes; both must have enough.
#[derive(Debug)]
pub(super) struct DataBudget {
    per_second: f64,
    messages: f64,
    bytes: f64,
    at: Instant,
}

impl DataBudget {
    /// For messages to the room.
    pub(super) fn of_messages(now: Instant) -> Self {
        Self::new(now, MESSAGES_PER_SECOND)
    }

    /// For packets of data tracks.
    pub(super) fn of_deliveries(now: Instant) -> Self {
        Self::new(now, DELIVERIES_PER_SECOND)
    }

    fn new(now: Instant, per_second: f64) -> Self {
        Self { per_second, messages: per_second * AT_ONCE, bytes: BYTES_AT_ONCE, at: now }
    }

    /// Whether `count` messages of `len` bytes together may pass; what may not costs nothing.
    pub(super) fn spend(&mut self, now: Instant, count: usize, len: usize) -> bool {
        let passed = now.saturating_duration_since(self.at).max(Duration::ZERO).as_secs_f64();
        self.at = now;
        self.messages = (self.messages + passed * self.per_second).min(self.per_second * AT_ONCE);
        self.bytes = (self.bytes + passed * BYTES_PER_SECOND).min(BYTES_AT_ONCE);
        let (count, len) = (count as f64, len as f64);
        let enough = self.messages >= count && self.bytes >= len;
        if enough {
            self.messages -= count;
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
        let mut budget = DataBudget::of_messages(start);
        let passed = (0..10_000).filter(|_| budget.spend(start, 1, 10)).count();
        assert_eq!(passed, 2_000);
        let later = start + Duration::from_secs(1);
        let passed = (0..10_000).filter(|_| budget.spend(later, 1, 10)).count();
        assert_eq!(passed, 500);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let start = Instant::now();
        let mut budget = DataBudget::of_messages(start);
        let passed = (0..1_000).filter(|_| budget.spend(start, 1, 65_536)).count();
        assert_eq!(passed, 256);
    }
}
