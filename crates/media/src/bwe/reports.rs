//! What receiver reports say where transport-wide feedback has ceased: whether the link lives, and how much is lost.
//!
//! Firefox gives no such feedback any more once the first stream that it received is over, and goes on to report.

use std::time::{Duration, Instant};

use super::Bitrate;

/// Reports come once a second and stream; after this long without any the link is taken for broken.
const RECENT: Duration = Duration::from_secs(3);
/// Losses below this share let the estimate grow (draft-ietf-rmcat-gcc-02 §6) …
const HARMLESS: f64 = 0.02;
/// … and above this they lower it.
const HARMFUL: f64 = 0.10;
/// Growth per second. More than next to feedback: no probe can tell, and without a loss there is nothing to be careful of.
const GROWTH: f64 = 1.25;
/// Reports of other streams within this time speak of the same losses.
const STEP: Duration = Duration::from_millis(500);
/// Time that one report makes up for at most.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The reports of a receiver.
#[derive(Debug, Default)]
pub(super) struct Reports {
    last: Option<Instant>,
    step: Option<Instant>,
}

impl Reports {
    pub(super) fn heard(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Whether something was reported lately.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) < RECENT)
    }

    /// What `estimate` becomes after a report of that share of losses.
    pub(super) fn judge(&mut self, now: Instant, estimate: Bitrate, lost: f64) -> Bitrate {
        let passed = self.step.map_or(STEP, |step| now.saturating_duration_since(step)).min(LONGEST_STEP);
        if passed < STEP {
            return estimate;
        }
        self.step = Some(now);
        match lost {
            high if high > HARMFUL => estimate.times(1.0 - 0.5 * high),
            low if low < HARMLESS => estimate.times(GROWTH.powf(passed.as_secs_f64())),
            _ => estimate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bwe, MIN_ESTIMATE};
    use super::*;
    use crate::rtp::twcc::{self, TransportFeedback};

    /// Sends 50 packets a second for some seconds; each second something is said of them.
    fn run(bwe: &mut Bwe, now: &mut Instant, seconds: u32, mut say: impl FnMut(&mut Bwe, Instant, u16)) {
        for _ in 0..seconds {
            let first = bwe.next_number();
            for _ in 0..50 {
                *now += Duration::from_millis(20);
                bwe.packet_sent(*now, 1_000, None);
                bwe.handle_timeout(*now);
            }
            say(bwe, *now, first);
        }
    }

    fn feedback(bwe: &mut Bwe, now: Instant, first: u16) {
        let arrivals: Vec<_> = (0..50).map(|at| Some(80 * at)).collect();
        let mut body = Vec::new();
        twcc::write(&mut body, first, &arrivals, 0);
        bwe.handle_feedback(now, &TransportFeedback::parse(&body).expect("own"));
    }

    #[test]
    fn a_link_that_is_reported_on_lives_without_feedback() {
        let (mut bwe, mut now) = (Bwe::default(), Instant::now());
        run(&mut bwe, &mut now, 3, feedback);
        let before = bwe.estimate();
        // Reports of two streams, together.
        run(&mut bwe, &mut now, 10, |bwe, now, _| {
            bwe.handle_report(now, 0.0);
            bwe.handle_report(now, 0.0);
        });
        assert!(bwe.estimate() > before.times(3.0), "it grows: {:?} from {before:?}", bwe.estimate());
        assert!(bwe.estimate() < before.times(15.0), "once for both: {:?}", bwe.estimate());
        assert!(bwe.poll_probe(now, Some(Bitrate::kbps(9_000))).is_none(), "nobody would answer a probe");
        let grown = bwe.estimate();
        run(&mut bwe, &mut now, 5, |bwe, now, _| bwe.handle_report(now, 0.3));
        assert!(bwe.estimate() < grown.times(0.6), "losses lower it: {:?}", bwe.estimate());
        run(&mut bwe, &mut now, 20, |_, _, _| {});
        assert_eq!(bwe.estimate(), MIN_ESTIMATE, "without any word it is broken");
    }

    #[test]
    fn reports_beside_feedback_change_nothing() {
        let (mut bwe, mut now) = (Bwe::default(), Instant::now());
        run(&mut bwe, &mut now, 3, feedback);
        let before = bwe.estimate();
        bwe.handle_report(now, 0.9);
        assert_eq!(bwe.estimate(), before);
    }
}
