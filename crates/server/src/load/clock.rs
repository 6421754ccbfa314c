//! One clock for everything: packets say when they left, the kernel when they came.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on both of this machine's clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Everything that is stamped counts from here.
    pub(super) start: Instant,
    unix: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), unix }
    }

    /// The moment that the kernel gave a datagram, at latest now.
    pub(super) fn at(&self, stamp: Option<Duration>, now: Instant) -> Instant {
        let since = stamp.and_then(|stamp| stamp.checked_sub(self.unix));
        since.map_or(now, |since| (self.start + since).min(now))
    }
}
