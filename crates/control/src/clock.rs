//! Broker time: what deadlines in a record are in, so that several servers mean the same moment.
//!
//! The broker dates what it stores. A server writes a sign of life every 1.5 s and reads when the broker stored it: that was
//! between its sending and its acknowledgement on this machine's clock, so the difference of the clocks is known to within
//! the round trip, and the smallest change that agrees with each measurement is taken. A slow answer says little and changes
//! little.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use plenum_meeting::state::UnixMs;
use tracing::{info, warn};

use crate::token::now as machine_now;

/// A server whose clock differs from the broker's by more than this is not ready, in ms: its tokens and certificates are
/// checked by this clock, and whatever is wrong with it may get worse.
const OFFSET_MS_MAX: u64 = 2_000;

/// This machine's clock, corrected by what the broker's was seen to show.
#[derive(Clone)]
pub(crate) struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Box<dyn Fn() -> UnixMs + Send + Sync>,
    /// Broker time minus machine time, in ms.
    offset_ms: AtomicI64,
    is_off: AtomicBool,
}

impl Default for Clock {
    fn default() -> Self {
        Self::over(machine_now)
    }
}

impl Clock {
    /// Over a clock that shows the machine's time.
    pub(crate) fn over(machine: impl Fn() -> UnixMs + Send + Sync + 'static) -> Self {
        let inner = Inner {
            machine: Box::new(machine),
            offset_ms: AtomicI64::new(0),
            is_off: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Broker time, as well as it is known.
    pub(crate) fn now(&self) -> UnixMs {
        self.machine().saturating_add_signed(self.inner.offset_ms.load(Ordering::Relaxed))
    }

    /// What this machine's clock shows: for [`Clock::observe`].
    pub(crate) fn machine(&self) -> UnixMs {
        (self.inner.machine)()
    }

    /// The broker stored something at `stored` that was sent and acknowledged at these moments of [`Clock::machine`].
    pub(crate) fn observe(&self, sent: UnixMs, stored: UnixMs, acknowledged: UnixMs) {
        let Inner { offset_ms, is_off, .. } = &*self.inner;
        let (least, most) = (difference(stored, acknowledged), difference(stored, sent));
        if least > most {
            // The machine's clock was set back meanwhile; the next measurement will tell.
            return;
        }
        let offset = offset_ms.load(Ordering::Relaxed).clamp(least, most);
        offset_ms.store(offset, Ordering::Relaxed);
        metrics::gauge!("plenum_control_broker_clock_offset_ms").set(offset as f64);
        let off = offset.unsigned_abs() > OFFSET_MS_MAX;
        match (is_off.swap(off, Ordering::Relaxed), off) {
            (false, true) => warn!(
                offset_ms = offset,
                "This machine's clock is more than 2 s off the broker's: the server is not ready until its time synchronisation works"
            ),
            (true, false) => info!(offset_ms = offset, "This machine's clock agrees with the broker's again"),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether this machine's clock agrees with the broker's.
    pub(crate) fn agrees(&self) -> bool {
        !self.inner.is_off.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("offset_ms", &self.inner.offset_ms).finish_non_exhaustive()
    }
}

fn difference(a: UnixMs, b: UnixMs) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A machine whose clock is set by hand.
    fn machine(at: UnixMs) -> (Arc<AtomicU64>, Clock) {
        let shown = Arc::new(AtomicU64::new(at));
        let read = Arc::clone(&shown);
        (shown, Clock::over(move || read.load(Ordering::Relaxed)))
    }

    #[test]
    fn a_clock_that_agrees_is_left_alone() {
        let (_, clock) = machine(100_000);
        clock.observe(99_000, 99_400, 100_000);
        assert_eq!(clock.now(), 100_000);
        assert!(clock.agrees());
    }

    #[test]
    fn a_clock_that_is_behind_is_corrected_to_within_the_round_trip() {
        let (shown, clock) = machine(100_000);
        // 10 s behind; the answer took 40 ms.
        clock.observe(99_960, 109_980, 100_000);
        assert!((109_980..=110_020).contains(&clock.now()), "{}", clock.now());
        assert!(!clock.agrees());
        // A slow answer does not make it worse.
        let known = clock.now();
        clock.observe(95_000, 107_000, 100_000);
        assert_eq!(clock.now(), known);
        // Somebody sets the machine's clock right.
        shown.store(110_000, Ordering::Relaxed);
        clock.observe(110_000, 110_000, 110_000);
        assert_eq!(clock.now(), 110_000);
        assert!(clock.agrees());
    }

    #[test]
    fn two_seconds_are_the_limit() {
        for (stored, agrees) in [(98_000, true), (97_999, false), (102_000, true), (102_001, false)] {
            let (_, clock) = machine(100_000);
            clock.observe(100_000, stored, 100_000);
            assert_eq!((clock.now(), clock.agrees()), (stored, agrees));
        }
    }

    #[test]
    fn a_clock_that_jumps_during_a_measurement_says_nothing() {
        let (_, clock) = machine(100_000);
        clock.observe(100_000, 100_000, 50_000);
        assert_eq!(clock.now(), 100_000);
    }
}
