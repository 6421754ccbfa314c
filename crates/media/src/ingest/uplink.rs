//! Whether a publisher sends more than its link carries: much of it is lost, and what comes has waited in a queue.
//!
//! One without the other says nothing: what is lost on the air is worth asking for again, and a queue alone empties by the
//! publisher's own congestion control. Both together mean that each packet that is asked for takes the place of a new one.

use std::time::{Duration, Instant};

/// Numbers that go back by more begin anew.
const LARGEST_STEP_BACK: u64 = 1_000;
/// How many of the last packets are looked at …
const RECENT: u32 = 32;
/// … and how many of them may be lost.
const MOST_LOST: u32 = 5;
/// Packets that come this much later than the quickest have waited in a queue.
const QUEUED: Duration = Duration::from_millis(100);
/// This long both must last: a moment without the air, or without a processor here, is over sooner.
const LASTING: Duration = Duration::from_millis(100);
/// What once was too much counts as too much for this long: what a publisher has encoded before it knew still comes, and
/// Chromium lets what was lost go again before anything new.
const HOLD: Duration = Duration::from_secs(2);

/// What is known of a publisher's link.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    /// The highest transport-wide number so far, with roll-overs.
    highest: u64,
    /// Which of the last 64 came: bit n stands for `highest - n`.
    came: u64,
    /// How much later than the quickest the last picture came.
    late: Duration,
    /// Since when it has been too much.
    since: Option<Instant>,
    congested_until: Option<Instant>,
}

impl Uplink {
    /// The packet of that transport-wide number has come, a picture's or another.
    pub(super) fn came(&mut self, now: Instant, number: u64) {
        if self.came == 0 || number + LARGEST_STEP_BACK < self.highest {
            // Before the first there were none to be lost.
            (self.highest, self.came) = (number, u64::MAX);
        } else if number > self.highest {
            let passed = u32::try_from(number - self.highest).unwrap_or(u32::MAX);
            self.came = self.came.checked_shl(passed).unwrap_or(0) | 1;
            self.highest = number;
        } else {
            let bit = u32::try_from(self.highest - number).ok().and_then(|passed| 1u64.checked_shl(passed));
            self.came |= bit.unwrap_or(0);
        }
        let lost = (!self.came << (u64::BITS - RECENT)).count_ones();
        if lost <= MOST_LOST || self.late < QUEUED {
            self.since = None;
        } else if now.saturating_duration_since(*self.since.get_or_insert(now)) >= LASTING {
            self.congested_until = Some(now + HOLD);
        }
    }

    /// A picture has come, that much later than the quickest.
    pub(super) fn observe(&mut self, late: Duration) {
        self.late = late;
    }

    /// Whether the publisher sends more than its link carries.
    pub(super) fn is_congested(&self, now: Instant) -> bool {
        self.congested_until.is_some_and(|until| now < until)
    }

    /// Until when that counts, if it was ever so.
    pub(super) fn congested_until(&self) -> Option<Instant> {
        self.congested_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(300);

    /// Packets with these numbers, one a millisecond.
    fn come(uplink: &mut Uplink, now: &mut Instant, numbers: impl Iterator<Item = u64>) -> bool {
        for number in numbers {
            *now += Duration::from_millis(1);
            uplink.came(*now, number);
        }
        uplink.is_congested(*now)
    }

    #[test]
    fn losses_and_a_queue_together_are_congestion() {
        let mut now = Instant::now();
        let mut uplink = Uplink::default();
        uplink.observe(LATE);
        assert!(!come(&mut uplink, &mut now, 100..500), "nothing is lost");
        uplink.observe(Duration::from_millis(20));
        let lossy = |numbers: std::ops::Range<u64>| numbers.filter(|number| number % 4 == 0);
        assert!(!come(&mut uplink, &mut now, lossy(500..1_300)), "lost on the air");
        uplink.observe(LATE);
        assert!(!come(&mut uplink, &mut now, lossy(1_300..1_600)), "it may be over in a moment");
        assert!(come(&mut uplink, &mut now, lossy(1_600..1_800)));
        assert!(come(&mut uplink, &mut now, 1_800..3_700), "what is on its way was sent before");
        assert!(!come(&mut uplink, &mut now, 3_700..4_000), "a queue that empties");
        assert!(uplink.congested_until() < Some(now));
    }

    #[test]
    fn what_comes_out_of_order_is_not_lost() {
        let mut now = Instant::now();
        let mut uplink = Uplink::default();
        uplink.observe(LATE);
        for start in (1_000..10_000).step_by(20) {
            let overtaken = (start + 10..start + 20).chain(start..start + 10);
            assert!(!come(&mut uplink, &mut now, overtaken));
        }
        assert!(
            !come(&mut uplink, &mut now, [20, u64::MAX - 2_000, 30].into_iter().chain(31..400)),
            "begun anew"
        );
    }
}
