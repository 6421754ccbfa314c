//! What a client may send: each packet costs work for every receiver, on a thread that others share.

use std::time::{Duration, Instant};

/// As much as this many seconds of it may come at once.
const AT_ONCE: f64 = 4.0;
/// Data messages a second.
const MESSAGES: f64 = 500.0;
/// Deliveries of packets of data tracks a second: a packet counts once for each receiver.
const DELIVERIES: f64 = 20_000.0;
/// Bytes of data a second.
const DATA_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Packets of media a second: three layers of a camera at 60 pictures and a screen in its full size together have a
/// quarter of them.
const MEDIA_PACKETS: f64 = 10_000.0;
/// Bytes of media a second, 50 Mbit: a few times what a screen of four thousand pixels takes.
const MEDIA_BYTES: f64 = 6_250_000.0;

/// A bucket for packets and one for bytes; both must have enough.
#[derive(Debug)]
pub(super) struct Budget {
    packets: Bucket,
    bytes: Bucket,
    at: Instant,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
}

impl Bucket {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: per_second * AT_ONCE }
    }

    fn fill(&mut self, seconds: f64) {
        self.left = (self.left + seconds * self.per_second).min(self.per_second * AT_ONCE);
    }
}

impl Budget {
    /// For data messages to the room.
    pub(super) fn of_messages(now: Instant) -> Self {
        Self::new(now, MESSAGES, DATA_BYTES)
    }

    /// For packets of data tracks.
    pub(super) fn of_deliveries(now: Instant) -> Self {
        Self::new(now, DELIVERIES, DATA_BYTES)
    }

    /// For sound and pictures.
    pub(super) fn of_media(now: Instant) -> Self {
        Self::new(now, MEDIA_PACKETS, MEDIA_BYTES)
    }

    fn new(now: Instant, packets: f64, bytes: f64) -> Self {
        Self { packets: Bucket::new(packets), bytes: Bucket::new(bytes), at: now }
    }

    /// Whether `count` packets of `len` bytes together may pass; what may not costs nothing.
    pub(super) fn spend(&mut self, now: Instant, count: usize, len: usize) -> bool {
        let passed = now.saturating_duration_since(self.at).max(Duration::ZERO).as_secs_f64();
        self.at = now;
        self.packets.fill(passed);
        self.bytes.fill(passed);
        let (count, len) = (count as f64, len as f64);
        let enough = self.packets.left >= count && self.bytes.left >= len;
        if enough {
            self.packets.left -= count;
            self.bytes.left -= len;
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
        let mut budget = Budget::of_messages(start);
        let passed = (0..10_000).filter(|_| budget.spend(start, 1, 10)).count();
        assert_eq!(passed, 2_000);
        let later = start + Duration::from_secs(1);
        let passed = (0..10_000).filter(|_| budget.spend(later, 1, 10)).count();
        assert_eq!(passed, 500);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let start = Instant::now();
        let mut budget = Budget::of_messages(start);
        let passed = (0..1_000).filter(|_| budget.spend(start, 1, 65_536)).count();
        assert_eq!(passed, 256);
    }
}
