//! Short bursts that find out whether more would arrive, without sending more for long.

use std::time::{Duration, Instant};

use super::Bitrate;
use super::sent::PacketResult;

/// Length of a probe.
const LENGTH: Duration = Duration::from_millis(30);
/// Bytes of a probe at least: fewer packets measure the clock, not the link.
const FEWEST_BYTES: f64 = 2_500.0;
/// Packets that must have arrived, as a share of those that were sent.
const FEWEST_ARRIVED: f64 = 0.8;
/// A probe asks for this many times what is known at most, so that a small link is not flooded.
const LARGEST_STEP: f64 = 6.0;
/// The result of a probe is waited for this long.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// Time between probes: after one that found enough, after the first that did not (a single one may have been unlucky), and
/// after more of these.
const AFTER_SUCCESS: Duration = Duration::from_millis(100);
const AFTER_FIRST_FAILURE: Duration = Duration::from_millis(700);
const AFTER_FAILURE: Duration = Duration::from_secs(2);
const AFTER_FAILURES: Duration = Duration::from_secs(4);
/// … and after one that says nothing, because it did not leave as it should: a busy machine is not a slow link.
const AFTER_NOTHING: Duration = Duration::from_millis(400);
/// The link is the limit where less than this share of what left arrives in the same time.
const CARRIED: f64 = 0.9;

/// A burst to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Number to send its packets under.
    pub id: u8,
    /// How fast.
    pub rate: Bitrate,
    /// How many bytes.
    pub bytes: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    probe: Probe,
    started: Instant,
    sent: u32,
    sent_first: Option<Instant>,
    sent_last: Option<Instant>,
    seen: Arrivals,
}

#[derive(Debug, Clone, Copy, Default)]
struct Arrivals {
    packets: u32,
    bytes: u64,
    first: Option<(Instant, Duration, u32)>,
    last: Option<(Instant, Duration, u32)>,
}

/// Decides when to probe and measures the result.
#[derive(Debug, Default)]
pub(super) struct ProbeController {
    running: Option<Running>,
    next_id: u8,
    not_before: Option<Instant>,
    failures: u32,
}

impl ProbeController {
    /// A probe that should begin now in order to reach `goal`.
    pub(super) fn poll(&mut self, now: Instant, estimate: Bitrate, goal: Bitrate) -> Option<Probe> {
        if let Some(running) = &self.running {
            if now.saturating_duration_since(running.started) < PATIENCE {
                return None;
            }
            // Its feedback did not come: nothing is known, so nothing grows.
            self.running = None;
            self.fail(now);
        }
        if goal <= estimate || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let rate = goal.min(estimate.times(LARGEST_STEP));
        let probe = Probe { id: self.next_id, rate, bytes: rate.bytes_in(LENGTH).max(FEWEST_BYTES) as u32 };
        self.next_id = self.next_id.wrapping_add(1);
        self.running = Some(Running {
            probe,
            started: now,
            sent: 0,
            sent_first: None,
            sent_last: None,
            seen: Arrivals::default(),
        });
        Some(probe)
    }

    pub(super) fn sent(&mut self, now: Instant, id: u8) {
        if let Some(running) = self.running.as_mut().filter(|running| running.probe.id == id) {
            running.sent += 1;
            running.sent_first.get_or_insert(now);
            running.sent_last = Some(now);
        }
    }

    /// Whether delays may be the probe's own doing.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn observe(&mut self, result: &PacketResult) {
        let (Some(running), Some(id), Some(arrived)) = (&mut self.running, result.probe, result.arrived)
        else {
            return;
        };
        if running.probe.id != id {
            return;
        }
        let seen = &mut running.seen;
        seen.packets += 1;
        seen.bytes += u64::from(result.size);
        let this = (result.sent, arrived, result.size);
        if seen.first.is_none_or(|(_, first, _)| arrived < first) {
            seen.first = Some(this);
        }
        if seen.last.is_none_or(|(_, last, _)| arrived >= last) {
            seen.last = Some(this);
        }
    }

    /// The measured rate, once enough of the probe is known to have arrived. `newest` is when the latest packet of the
    /// feedback was sent: later ones than the probe's mean that no more of it comes. The link loses a share of `natural`
    /// whatever is sent.
    pub(super) fn result(&mut self, now: Instant, newest: Instant, natural: f64) -> Option<Bitrate> {
        let running = self.running?;
        let ended = running.sent_last.is_some_and(|last| newest > last)
            && now.saturating_duration_since(running.started) > LENGTH;
        let all =
            running.seen.packets >= running.sent && now.saturating_duration_since(running.started) > LENGTH;
        if !ended && !all {
            return None;
        }
        self.running = None;
        match running.measure(natural) {
            Outcome::Carried(rate) => {
                self.failures = 0;
                self.not_before = Some(now + AFTER_SUCCESS);
                Some(rate)
            }
            Outcome::Limited(rate) => {
                self.fail(now);
                Some(rate)
            }
            Outcome::Lost => {
                self.fail(now);
                None
            }
            Outcome::Nothing => {
                self.not_before = Some(now + AFTER_NOTHING);
                None
            }
        }
    }

    /// What was sent turned out to be too much: leave the link alone for a while.
    pub(super) fn overused(&mut self, now: Instant) {
        self.running = None;
        let until = now + AFTER_FAILURE;
        self.not_before = Some(self.not_before.map_or(until, |at| at.max(until)));
    }

    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let rest = match self.failures {
            0 | 1 => AFTER_FIRST_FAILURE,
            2 => AFTER_FAILURE,
            _ => AFTER_FAILURES,
        };
        self.not_before = Some(now + rest);
    }
}

/// What a probe has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// It arrived as fast as it left.
    Carried(Bitrate),
    /// It arrived, but no faster than this.
    Limited(Bitrate),
    /// Too much of it did not arrive.
    Lost,
    /// Too few packets, or all at once.
    Nothing,
}

impl Running {
    fn measure(&self, natural: f64) -> Outcome {
        if f64::from(self.seen.packets) < f64::from(self.sent) * FEWEST_ARRIVED * (1.0 - natural) {
            return Outcome::Lost;
        }
        let times = self.seen.first.zip(self.seen.last).zip(self.sent_first.zip(self.sent_last));
        let Some(((first, last), (sent_first, sent_last))) = times else { return Outcome::Nothing };
        let arrived_within = last.1.saturating_sub(first.1);
        let sent_within = sent_last.saturating_duration_since(sent_first);
        let shortest = Duration::from_millis(2);
        if self.seen.packets < 4 || arrived_within < shortest || sent_within < shortest {
            return Outcome::Nothing;
        }
        // The first packet opens the interval of arrivals, the last one closes that of departures.
        let arrived = Bitrate::of(self.seen.bytes - u64::from(first.2), arrived_within);
        let sent = Bitrate::of(self.seen.bytes - u64::from(last.2), sent_within);
        let rate = arrived.min(sent);
        if arrived < sent.times(CARRIED) {
            // Less arrives than was sent: that is the link, and it is used up to a small margin.
            Outcome::Limited(rate.times(0.95))
        } else {
            Outcome::Carried(rate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESTIMATE: Bitrate = Bitrate::kbps(300);
    const GOAL: Bitrate = Bitrate::kbps(600);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Sends a probe of `packets` that leave every 8 ms and arrive every `spacing`; returns what it showed.
    fn probe(
        controller: &mut ProbeController,
        now: Instant,
        packets: u32,
        spacing: Duration,
    ) -> Option<Bitrate> {
        let probe = controller.poll(now, ESTIMATE, GOAL).expect("it is time");
        for nth in 0..packets {
            let sent = now + ms(8) * nth;
            controller.sent(sent, probe.id);
            let arrived = Some(ms(1_000) + spacing * nth);
            controller.observe(&PacketResult {
                sent,
                size: 600,
                probe: Some(probe.id),
                arrived,
                was_lost: false,
            });
        }
        controller.result(now + ms(100), now + ms(90), 0.0)
    }

    #[test]
    fn too_few_packets_say_nothing_and_a_slow_link_is_left_alone_for_longer() {
        let start = Instant::now();
        let mut controller = ProbeController::default();
        assert_eq!(probe(&mut controller, start, 2, ms(8)), None);
        assert!(controller.poll(start + ms(400), ESTIMATE, GOAL).is_none());
        let second = start + ms(501);
        let found = probe(&mut controller, second, 6, ms(16)).expect("half as fast as it left");
        assert!((270_000..300_000).contains(&found.as_bps()), "{found:?}");
        assert!(controller.poll(second + ms(700), ESTIMATE, GOAL).is_none());
        let third = second + ms(801);
        assert!(probe(&mut controller, third, 6, ms(16)).is_some());
        assert!(controller.poll(third + ms(2_000), ESTIMATE, GOAL).is_none(), "twice is no bad luck");
        let fourth = third + ms(2_101);
        assert_eq!(probe(&mut controller, fourth, 6, ms(8)), Some(Bitrate::kbps(600)));
        assert!(controller.poll(fourth + ms(201), ESTIMATE, GOAL).is_some(), "it went well");
    }
}
