//! When packets to one subscriber leave: a frame at once if it is small, the excess of a large one spread by ticks.
//!
//! Sound is never held back. Video that fits into the burst allowance leaves in the turn in which it arrived, so that
//! the packets of a frame make one run for the kernel; a tick drains what did not. What waits is named, not copied: the
//! queue holds whatever finds the packet again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bwe::{Bitrate, Probe};

/// Time between ticks while something waits.
pub const TICK: Duration = Duration::from_millis(5);
/// The pacer is this much faster than the estimate: it spreads frames, it does not ration them (as `GoogCC`) …
const FACTOR: f64 = 2.5;
/// … but what is far too large for that, as the first picture of a shared screen, would overflow the queues on the way …
const LONG_FACTOR: f64 = 1.15;
/// … if more of it went at that speed than the estimate carries in this time.
const LONG: Duration = Duration::from_millis(150);
/// What may leave at once: the paced rate for this long …
const BURST: Duration = Duration::from_millis(20);
/// … and at least this many bytes, a few packets.
const BURST_MIN: f64 = 4_500.0;
/// What waits is never older than this at the estimated rate; more of it would only be late …
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// … but a key frame may always wait whole, that of a shared screen too.
const WAITING_MIN: f64 = 256_000.0;
/// Packets that wait at most; fewer than are remembered of a stream.
const MAX_WAITING: usize = 400;
/// A probe that could not be sent within this time will not be: there is nothing to send it with.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);
/// Length of a packet of padding: 255 bytes, its header and its tag.
pub const PADDING_SIZE: u32 = 295;

/// What kind of packet wants to leave. In the order of their rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A packet that is missed.
    Repeat,
    /// Pictures.
    Video,
}

/// The pacer of one connection; `T` names a packet.
#[derive(Debug)]
pub struct Pacer<T> {
    repeats: VecDeque<(u32, T)>,
    video: VecDeque<(u32, T)>,
    waiting: f64,
    estimate: Bitrate,
    /// Bytes that may leave now; negative after what could not wait.
    budget: f64,
    /// Bytes that may still leave faster than at [`LONG_FACTOR`]; what was not used before.
    reserve: f64,
    refilled: Option<Instant>,
    probe: Option<RunningProbe>,
}

#[derive(Debug, Clone, Copy)]
struct RunningProbe {
    probe: Probe,
    since: Instant,
    sent: f64,
}

impl<T> Pacer<T> {
    /// Nothing waits.
    pub fn new(estimate: Bitrate) -> Self {
        Self {
            repeats: VecDeque::new(),
            video: VecDeque::new(),
            waiting: 0.0,
            estimate,
            budget: BURST_MIN,
            reserve: estimate.bytes_in(LONG),
            refilled: None,
            probe: None,
        }
    }

    /// What the connection carries.
    pub fn set_estimate(&mut self, estimate: Bitrate) {
        self.estimate = estimate;
    }

    /// Whether a packet of `size` bytes may leave in this turn; if so it counts as sent. Nothing overtakes what waits.
    pub fn admit(&mut self, now: Instant, class: Class, size: u32) -> bool {
        self.refill(now);
        let overtakes = match class {
            Class::Repeat => !self.repeats.is_empty(),
            Class::Video => !self.is_empty(),
        };
        if overtakes || self.budget <= 0.0 {
            return false;
        }
        self.spend(size);
        true
    }

    /// Keeps a packet for a later tick. Gives it back if too much waits already: then its track is better off with a
    /// fresh start than with old pictures.
    pub fn hold(&mut self, class: Class, size: u32, packet: T) -> Result<(), T> {
        let most = self.estimate.bytes_in(LONGEST_WAIT).max(WAITING_MIN);
        if self.repeats.len() + self.video.len() >= MAX_WAITING || self.waiting + f64::from(size) > most {
            return Err(packet);
        }
        self.waiting += f64::from(size);
        match class {
            Class::Repeat => self.repeats.push_back((size, packet)),
            Class::Video => self.video.push_back((size, packet)),
        }
        Ok(())
    }

    /// The next packet that may leave now. To be called until `None`, at each [`TICK`] while something waits.
    pub fn next(&mut self, now: Instant) -> Option<T> {
        self.refill(now);
        if self.budget <= 0.0 {
            return None;
        }
        let (size, packet) = self.repeats.pop_front().or_else(|| self.video.pop_front())?;
        self.waiting -= f64::from(size);
        self.spend(size);
        Some(packet)
    }

    /// Forgets what waits and is not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let waiting = &mut self.waiting;
        for queue in [&mut self.repeats, &mut self.video] {
            queue.retain(|(size, packet)| {
                let kept = keep(packet);
                if !kept {
                    *waiting -= f64::from(*size);
                }
                kept
            });
        }
    }

    /// Something has left that does not wait: sound, reports, data.
    pub fn spend(&mut self, size: u32) {
        let debt = -self.burst();
        self.budget = (self.budget - f64::from(size)).max(debt);
        if let Some(running) = &mut self.probe {
            running.sent += f64::from(size);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.repeats.is_empty() && self.video.is_empty()
    }

    /// When to tick, if there is anything to do.
    pub fn needs_tick(&self) -> bool {
        !self.is_empty() || self.probe.is_some()
    }

    /// Begins a probe: from now on packets belong to it, and padding fills up what they leave of its rate.
    pub fn start_probe(&mut self, now: Instant, probe: Probe) {
        self.probe = Some(RunningProbe { probe, since: now, sent: 0.0 });
    }

    /// The probe that packets belong to now.
    pub fn probe(&self) -> Option<u8> {
        self.probe.map(|running| running.probe.id)
    }

    /// Bytes of the probe that packets belong to now; few large packets would not say much of the link.
    pub fn probe_size(&self) -> u32 {
        self.probe.map_or(0, |running| running.probe.bytes)
    }

    /// Whether a packet of padding of [`PADDING_SIZE`] should leave for the probe now. To be called until `false`.
    pub fn wants_padding(&mut self, now: Instant) -> bool {
        let Some(running) = &self.probe else { return false };
        let passed = now.saturating_duration_since(running.since);
        if running.sent >= f64::from(running.probe.bytes) || passed >= PROBE_PATIENCE {
            self.probe = None;
            return false;
        }
        // One tick ahead, so that the burst begins at once and has its rate.
        running.sent < running.probe.rate.bytes_in(passed + TICK)
    }

    fn burst(&self) -> f64 {
        self.estimate.times(FACTOR).bytes_in(BURST).max(BURST_MIN)
    }

    fn refill(&mut self, now: Instant) {
        let passed = self.refilled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.refilled = Some(now);
        let carried = self.estimate.bytes_in(passed);
        let extra = (carried * (FACTOR - LONG_FACTOR)).min(self.reserve);
        let filled = self.budget + carried * LONG_FACTOR + extra;
        self.budget = filled.min(self.burst());
        self.reserve = (self.reserve - extra + filled - self.budget).min(self.estimate.bytes_in(LONG));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_frame_leaves_at_once_and_a_large_one_is_spread() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Bitrate::kbps(1_000));
        assert!((0..4).all(|_| pacer.admit(start, Class::Video, 1_100)));
        let later = start + Duration::from_millis(100);
        let mut left = (0..40).filter(|_| pacer.admit(later, Class::Video, 1_100)).count();
        assert!((4..=8).contains(&left), "{left}");
        for packet in left..40 {
            assert_eq!(pacer.hold(Class::Video, 1_100, packet), Ok(()));
        }
        assert!(!pacer.admit(later, Class::Video, 10), "nothing overtakes");
        let mut now = later;
        while pacer.needs_tick() {
            now += TICK;
            while let Some(packet) = pacer.next(now) {
                assert_eq!(packet, left);
                left += 1;
            }
        }
        // 44 kB at 2.5 Mbit/s.
        let took = now - later;
        assert!((Duration::from_millis(110)..Duration::from_millis(150)).contains(&took), "{took:?}");
    }

    #[test]
    fn the_first_picture_of_a_screen_does_not_overflow_the_link() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Bitrate::kbps(500));
        for packet in 0..180 {
            assert_eq!(pacer.hold(Class::Video, 1_000, packet), Ok(()), "it waits whole");
        }
        let (mut now, mut left, mut longest) = (start, 0, 0.0f64);
        while !pacer.is_empty() {
            while pacer.next(now).is_some() {
                left += 1;
            }
            let carried = Bitrate::kbps(500).bytes_in(now - start);
            longest = longest.max(f64::from(left * 1_000) - carried);
            now += TICK;
        }
        // 180 kB at 575 kbit/s; less waits on the way than a queue of 300 ms holds together with a twentieth of it all.
        assert!((now - start).as_millis() > 2_000 && (now - start).as_millis() < 2_600, "{:?}", now - start);
        assert!(longest < 40_000.0, "{longest}");
    }

    #[test]
    fn repeats_go_first_and_what_waits_is_bounded() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Bitrate::kbps(300));
        pacer.spend(10_000);
        let held = (0..2_000).filter(|packet| pacer.hold(Class::Video, 1_000, *packet).is_ok()).count();
        assert_eq!(held, 256);
        pacer.retain(|packet| *packet >= 10);
        assert_eq!(pacer.hold(Class::Repeat, 1_000, 7_777), Ok(()));
        assert_eq!(pacer.next(now), None, "the debt comes first");
        let later = now + Duration::from_secs(1);
        assert_eq!([pacer.next(later), pacer.next(later)], [Some(7_777), Some(10)]);
    }

    #[test]
    fn a_probe_has_its_rate() {
        let mut now = Instant::now();
        let start = now;
        let mut pacer = Pacer::<()>::new(Bitrate::kbps(300));
        pacer.start_probe(now, Probe { id: 3, rate: Bitrate::kbps(2_000), bytes: 7_500 });
        let mut bytes = 0;
        while pacer.needs_tick() {
            while pacer.wants_padding(now) {
                assert_eq!(pacer.probe(), Some(3));
                pacer.spend(PADDING_SIZE);
                bytes += PADDING_SIZE;
            }
            now += TICK;
        }
        assert!((7_500..8_000).contains(&bytes), "{bytes}");
        assert!((now - start).as_millis() <= 40);
    }
}
