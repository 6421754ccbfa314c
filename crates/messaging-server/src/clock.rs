//! The time for the broker: Unix time that never goes back.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime},
};

use plenum_messaging::Timestamp;

/// Follows the system's clock forwards at once. When that one is set back, time here goes on at half its
/// pace until both agree again, so that timers keep firing and stored times stay in order.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The last time given, and how long the clock had run then.
    last: AtomicI64,
    last_run: AtomicI64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), last: AtomicI64::new(unix_nanos()), last_run: AtomicI64::new(0) }
    }

    /// The current time. Called under the broker's lock, so there is one caller at a time.
    pub(crate) fn now(&self) -> Timestamp {
        let run = i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let last = self.last.load(Ordering::Relaxed);
        let passed = run - self.last_run.load(Ordering::Relaxed);
        let now = unix_nanos().max(last + passed / 2);
        self.last.store(now, Ordering::Relaxed);
        self.last_run.store(run, Ordering::Relaxed);
        Timestamp(now)
    }
}

fn unix_nanos() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let clock = Clock::new();
        // As if the system's clock had been an hour ahead until now.
        clock.last.fetch_add(3_600_000_000_000, Ordering::Relaxed);
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first && first.0 > unix_nanos());
    }
}
