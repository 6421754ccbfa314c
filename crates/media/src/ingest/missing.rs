//! Which packets of a stream are missing, and when they are to be asked for.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::sdp::MediaKind;

/// Packets of a stream that are remembered to be missing (livekit-server: 100); the oldest are given up first.
const MOST: usize = 128;
/// A packet is asked for so often (libwebrtc) …
const ASKS_FOR_PICTURES: u8 = 10;
/// … and sound, which is played soon or never, so often.
const ASKS_FOR_SOUND: u8 = 3;
/// A packet is asked for after this time: it may only have been overtaken, and those lost with it go into one request.
const PATIENCE: Duration = Duration::from_millis(8);
/// A request is repeated after a round trip and this …
const MARGIN: Duration = Duration::from_millis(10);
/// … but no sooner …
const SOONEST: Duration = Duration::from_millis(20);
/// … and no later than this (livekit-server's bounds).
const LATEST: Duration = Duration::from_millis(400);

/// A packet that has not come.
#[derive(Debug, Clone, Copy)]
struct Gap {
    index: u64,
    asks: u8,
    asked: Option<Instant>,
    /// When to ask; `None` once that is no use. The packet is taken all the same if it comes.
    ask_at: Option<Instant>,
}

/// A packet that was missing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// What passed since it was asked for; `None` if it was not, or more than once.
    pub(super) after: Option<Duration>,
}

/// The missing packets of a stream, in order.
#[derive(Debug)]
pub(super) struct Missing {
    gaps: VecDeque<Gap>,
    most_asks: u8,
}

impl Missing {
    pub(super) fn new(kind: MediaKind) -> Self {
        let most_asks = match kind {
            MediaKind::Audio => ASKS_FOR_SOUND,
            MediaKind::Video => ASKS_FOR_PICTURES,
        };
        Self { gaps: VecDeque::new(), most_asks }
    }

    /// These were passed over, and later ones than any before; `ask` for them, or only take them if they come.
    pub(super) fn add(&mut self, now: Instant, passed: Range<u64>, ask: bool) {
        let start = passed.start.max(passed.end.saturating_sub(MOST as u64));
        let ask_at = ask.then_some(now + PATIENCE);
        self.gaps.extend((start..passed.end).map(|index| Gap { index, asks: 0, asked: None, ask_at }));
        let surplus = self.gaps.len().saturating_sub(MOST);
        self.gaps.drain(..surplus);
    }

    /// Nothing that is missing by now is asked for any more.
    pub(super) fn give_up(&mut self) {
        self.gaps.iter_mut().for_each(|gap| gap.ask_at = None);
    }

    /// A packet has come. `None` if it was not missing: it has come before, or is too late.
    pub(super) fn take(&mut self, now: Instant, index: u64) -> Option<Found> {
        let at = self.gaps.binary_search_by_key(&index, |gap| gap.index).ok()?;
        let gap = self.gaps.remove(at)?;
        let asked = gap.asked.filter(|_| gap.asks == 1);
        Some(Found { after: asked.map(|at| now.saturating_duration_since(at)) })
    }

    /// When something is to be asked for.
    pub(super) fn next(&self) -> Option<Instant> {
        self.gaps.iter().filter_map(|gap| gap.ask_at).min()
    }

    /// What is to be asked for now; `rtt` is the round trip to the publisher.
    pub(super) fn due(&mut self, now: Instant, rtt: Duration) -> impl Iterator<Item = u64> {
        let most = self.most_asks;
        let again = now + (rtt + MARGIN).clamp(SOONEST, LATEST);
        self.gaps.iter_mut().filter_map(move |gap| {
            gap.ask_at.filter(|at| now >= *at)?;
            gap.asks += 1;
            gap.asked = Some(now);
            gap.ask_at = (gap.asks < most).then_some(again);
            Some(gap.index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_missing_packet_is_asked_for_until_it_comes() {
        let start = Instant::now();
        let mut missing = Missing::new(MediaKind::Video);
        missing.add(start, 5..7, true);
        assert!(missing.due(start, RTT).next().is_none(), "it may only be late");
        assert_eq!(missing.next(), Some(start + PATIENCE));
        assert_eq!(missing.due(start + PATIENCE, RTT).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(missing.take(start + ms(40), 5), Some(Found { after: Some(ms(32)) }));
        assert_eq!(missing.take(start + ms(40), 5), None, "once");
        assert_eq!(missing.due(start + ms(67), RTT).count(), 0, "the answer is on its way");
        assert_eq!(missing.due(start + ms(68), RTT).collect::<Vec<_>>(), [6]);
        assert_eq!(
            missing.take(start + ms(70), 6),
            Some(Found { after: None }),
            "to which request is not known"
        );
        assert_eq!(missing.next(), None);
    }

    #[test]
    fn nobody_asks_for_ever_and_what_comes_late_is_taken() {
        let start = Instant::now();
        for (kind, most) in [(MediaKind::Audio, ASKS_FOR_SOUND), (MediaKind::Video, ASKS_FOR_PICTURES)] {
            let mut missing = Missing::new(kind);
            missing.add(start, 5..6, true);
            let asks: usize = (0..1_000).map(|nth| missing.due(start + ms(10 * nth), RTT).count()).sum();
            assert_eq!(asks, usize::from(most));
            assert!(missing.take(start + ms(10_000), 5).is_some());
            missing.add(start, 8..9, true);
            missing.give_up();
            missing.add(start, 9..10, false);
            assert_eq!(missing.next(), None);
            assert!(missing.take(start, 8).is_some() && missing.take(start, 9).is_some());
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let start = Instant::now();
        let mut missing = Missing::new(MediaKind::Video);
        missing.add(start, 0..50, true);
        missing.add(start, 51..u64::MAX, true);
        assert_eq!(missing.gaps.len(), MOST);
        assert_eq!(missing.take(start, 49), None);
        assert!(missing.take(start, u64::MAX - 1).is_some());
    }
}
