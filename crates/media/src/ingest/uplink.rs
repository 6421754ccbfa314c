//! Whether a publisher sends more than its link carries: much of it is lost, and what comes has waited in a queue.
//!
//! One without the other says nothing: what is lost on the air is worth asking for again, and a queue alone empties by the
//! publisher's own congestion control. Both together mean that each packet that is asked for takes the place of a new one.

use std::time::{Duration, Instant};

/// How many of the last packets are looked at …
const RECENT: u32 = 32;
/// … and how many of them may be lost.
const MOST_LOST: u32 = 5;
/// Packets that come this much later than the quickest have waited in a queue.
const QUEUED: Duration = Duration::from_millis(100);
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
    congested_until: Option<Instant>,
}

impl Uplink {
    /// The packet of that transport-wide number has come, a picture's or another.
    pub(super) fn came(&mut self, now: Instant, number: u64) {
        if self.came == 0 {
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
        if lost > MOST_LOST && self.late >= QUEUED {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(300);

    #[test]
    fn losses_and_a_queue_together_are_congestion() {
        let now = Instant::now();
        let mut uplink = Uplink::default();
        (100..200).for_each(|number| uplink.came(now, number));
        uplink.observe(LATE);
        uplink.came(now, 200);
        assert!(!uplink.is_congested(now), "nothing is lost");
        uplink.observe(Duration::from_millis(20));
        (201..230).filter(|number| number % 4 == 0).for_each(|number| uplink.came(now, number));
        assert!(!uplink.is_congested(now), "lost on the air");
        uplink.observe(LATE);
        uplink.came(now, 230);
        assert!(uplink.is_congested(now) && uplink.is_congested(now + HOLD - Duration::from_millis(1)));
        (231..270).for_each(|number| uplink.came(now, number));
        uplink.came(now + HOLD, 270);
        assert!(!uplink.is_congested(now + HOLD), "a queue that empties");
    }

    #[test]
    fn what_comes_out_of_order_is_not_lost() {
        let now = Instant::now();
        let mut uplink = Uplink::default();
        (100..140).for_each(|number| uplink.came(now, number));
        uplink.came(now, 150);
        (140..150).for_each(|number| uplink.came(now, number));
        uplink.came(now, 20);
        uplink.observe(LATE);
        uplink.came(now, 151);
        assert!(!uplink.is_congested(now));
        uplink.came(now, u64::MAX);
        assert!(uplink.is_congested(now));
    }
}
