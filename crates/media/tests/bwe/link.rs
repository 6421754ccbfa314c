//! A link in virtual time: rate, delay, jitter, loss, bursts of loss, reordering, a drop-tail queue, a competing flow.

use std::collections::BTreeMap;
use std::time::Duration;

/// A small generator (xorshift), so that a run repeats exactly.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Bits per second.
    pub(crate) rate: f64,
    pub(crate) delay: Duration,
    /// Delay that comes on top, up to this, another every 30 ms; packets keep their order, as on a radio link.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    /// Chance per packet that a burst of losses of this many packets begins.
    pub(crate) bursts: (f64, u32),
    /// Chance that a packet comes 20 ms late.
    pub(crate) reorder: f64,
    /// Bits per second that others send through the same queue.
    pub(crate) competing: f64,
    pub(crate) queue: Duration,
    pub(crate) dropped: u64,
    pub(crate) dice: Dice,
    /// When the last bit in the queue will have left.
    pub(crate) free_at: Duration,
    pub(crate) competed_until: Duration,
    pub(crate) burst_left: u32,
    pub(crate) last_arrival: Duration,
    pub(crate) jitter_now: (u128, f64),
}

impl Link {
    /// One way of a round trip of 60 ms, with 300 ms of queue.
    pub(crate) fn new(kbps: f64) -> Self {
        Self {
            rate: kbps * 1e3,
            delay: Duration::from_millis(30),
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: (0.0, 0),
            reorder: 0.0,
            competing: 0.0,
            queue: Duration::from_millis(300),
            dropped: 0,
            dice: Dice(0x9e37_79b9_7f4a_7c15),
            free_at: Duration::ZERO,
            competed_until: Duration::ZERO,
            burst_left: 0,
            last_arrival: Duration::ZERO,
            jitter_now: (0, 0.0),
        }
    }

    /// How long a packet would wait.
    pub(crate) fn backlog(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// The rate changes; what is in the queue takes longer or shorter.
    pub(crate) fn set_rate(&mut self, now: Duration, kbps: f64) {
        let rate = kbps * 1e3;
        self.free_at = now + self.backlog(now).mul_f64(self.rate / rate).min(self.queue);
        self.rate = rate;
    }

    /// When a packet arrives, if it does.
    pub(crate) fn send(&mut self, now: Duration, bytes: u32) -> Option<Duration> {
        // The others: packets of 1000 bytes, evenly spaced.
        while self.competing > 0.0 && self.competed_until < now {
            self.competed_until += Duration::from_secs_f64(8_000.0 / self.competing);
            let at = self.competed_until;
            if self.backlog(at) < self.queue {
                self.free_at = self.free_at.max(at) + Duration::from_secs_f64(8_000.0 / self.rate);
            }
        }
        if self.burst_left == 0 && self.dice.roll() < self.bursts.0 {
            self.burst_left = self.bursts.1;
        }
        let in_burst = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        if in_burst || self.dice.roll() < self.loss || self.backlog(now) > self.queue {
            self.dropped += 1;
            return None;
        }
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(f64::from(bytes) * 8.0 / self.rate);
        let slot = now.as_millis() / 30;
        if self.jitter_now.0 != slot {
            self.jitter_now = (slot, self.dice.roll());
        }
        let mut arrival = self.free_at + self.delay + self.jitter.mul_f64(self.jitter_now.1);
        if self.dice.roll() < self.reorder {
            return Some(arrival + Duration::from_millis(20));
        }
        arrival = arrival.max(self.last_arrival);
        self.last_arrival = arrival;
        Some(arrival)
    }
}

/// What is on its way, by time of arrival.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    items: BTreeMap<(Duration, u64), T>,
    next: u64,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), next: 0 }
    }
}

impl<T> InFlight<T> {
    pub(crate) fn push(&mut self, at: Duration, item: T) {
        self.items.insert((at, self.next), item);
        self.next += 1;
    }

    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Duration, T)> {
        let first = self.items.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), item) = first.remove_entry();
        Some((at, item))
    }
}
