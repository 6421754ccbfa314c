//! How late a subscriber shows pictures: rooms may ask for more time than a browser takes by itself, so that pictures flow
//! evenly. Sound follows the pictures by itself.
//!
//! The wish travels in packets until one of them has arrived, and again when it has changed
//! (`pkg/sfu/playoutdelay.go` of livekit-server). Costs four bytes in those packets, and nothing in rooms without it.

use std::time::{Duration, Instant};

/// Pictures are shown this many times the jitter late …
const JITTERS: u32 = 10;
/// … and this much later for each percent of packets that are missed above …
const PER_MISSED_PERCENT: Duration = Duration::from_millis(2);
/// … this many.
const MANY_MISSED: u32 = 60;
/// Most that it changes in a second: beyond, one would see it.
const CHANGE: Duration = Duration::from_millis(80);

/// Bounds of the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    min: Duration,
    max: Duration,
}

impl PlayoutDelay {
    /// Most that the extension can say: 12 bits of hundredths of a second.
    pub const MAX: Duration = Duration::from_millis(10 * 0xfff);
    /// Where only the least is said.
    const DEFAULT_MAX: Duration = Duration::from_secs(10);

    /// Of two numbers of milliseconds, as rooms are configured; `None` if both are 0.
    pub fn new(min_ms: u32, max_ms: u32) -> Option<Self> {
        if min_ms == 0 && max_ms == 0 {
            return None;
        }
        let min = Duration::from_millis(min_ms.into()).min(Self::MAX);
        let max =
            if max_ms == 0 { Self::DEFAULT_MAX } else { Duration::from_millis(max_ms.into()).min(Self::MAX) };
        Some(Self { min, max: max.max(min) })
    }
}

/// The delay of one track to one subscriber.
#[derive(Debug)]
pub(super) struct Playout {
    bounds: PlayoutDelay,
    current: Duration,
    changed: Option<Instant>,
    /// The first packet that carries what holds now, and whether one of them has arrived.
    carried_from: Option<u64>,
    has_arrived: bool,
}

impl Playout {
    pub(super) fn new(bounds: PlayoutDelay) -> Self {
        Self { bounds, current: bounds.min, changed: None, carried_from: None, has_arrived: false }
    }

    /// The value for the packet of that number, if it is to carry one.
    pub(super) fn extension(&mut self, sequence: u64) -> Option<[u8; 3]> {
        if self.has_arrived {
            return None;
        }
        self.carried_from.get_or_insert(sequence);
        let hundredths = |time: Duration| (time.as_millis() / 10) as u16;
        let (min, max) = (hundredths(self.current), hundredths(self.bounds.max));
        Some([(min >> 4) as u8, (min << 4 | max >> 8) as u8, max as u8])
    }

    /// The subscriber reports the highest packet that it has, the jitter, and how many percent it has missed.
    pub(super) fn report(&mut self, now: Instant, highest: u64, jitter: Duration, missed_percent: u32) {
        self.has_arrived |= self.carried_from.is_some_and(|first| highest >= first);
        let since = self.changed.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        let step = CHANGE.mul_f64(since.as_secs_f64().min(1.0));
        let target = jitter * JITTERS + PER_MISSED_PERCENT * missed_percent.saturating_sub(MANY_MISSED);
        let near = target.clamp(self.current.saturating_sub(step), self.current + step);
        let next = near.clamp(self.bounds.min, self.bounds.max);
        if next != self.current {
            self.current = next;
            self.changed = Some(now);
            self.carried_from = None;
            self.has_arrived = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: Option<[u8; 3]>) -> Option<(u32, u32)> {
        let [a, b, c] = bytes?.map(u32::from);
        Some(((a << 4 | b >> 4) * 10, ((b & 0xf) << 8 | c) * 10))
    }

    #[test]
    fn bounds_are_those_of_the_room_and_of_the_extension() {
        assert_eq!(PlayoutDelay::new(0, 0), None);
        let of = |min, max| shown(Playout::new(PlayoutDelay::new(min, max).expect("some")).extension(1));
        assert_eq!(of(500, 2_000), Some((500, 2_000)));
        assert_eq!(of(500, 0), Some((500, 10_000)));
        assert_eq!(of(0, 100_000), Some((0, 40_950)));
        assert_eq!(of(3_000, 1_000), Some((3_000, 3_000)));
    }

    #[test]
    fn it_is_said_until_it_has_arrived() {
        let now = Instant::now();
        let mut playout = Playout::new(PlayoutDelay::new(100, 1_000).expect("some"));
        assert!((10..20).all(|sequence| playout.extension(sequence).is_some()));
        playout.report(now, 9, Duration::ZERO, 0);
        assert!(playout.extension(20).is_some(), "the first one is still on its way");
        playout.report(now, 12, Duration::ZERO, 0);
        assert_eq!(playout.extension(21), None);
    }

    #[test]
    fn it_follows_the_jitter_slowly() {
        let start = Instant::now();
        let mut playout = Playout::new(PlayoutDelay::new(100, 300).expect("some"));
        let mut after = |seconds: u64, jitter, missed| {
            playout.report(start + Duration::from_secs(seconds), 0, Duration::from_millis(jitter), missed);
            shown(playout.extension(seconds)).map(|(min, _)| min)
        };
        assert_eq!(after(1, 25, 0), Some(180));
        assert_eq!(after(2, 25, 0), Some(250));
        assert_eq!(after(3, 100, 0), Some(300), "no more than is allowed");
        assert_eq!(after(4, 20, 100), Some(280), "20 ms of jitter, and 40 % too many missed");
        assert_eq!(after(5, 0, 0), Some(200));
        assert_eq!(after(7, 0, 0), Some(120));
        assert_eq!(after(9, 0, 0), Some(100), "no less than is wanted");
    }
}
