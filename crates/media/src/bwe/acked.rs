//! How much arrives: the acknowledged bitrate.

use std::collections::VecDeque;
use std::time::Duration;

use super::Bitrate;

/// Time that the rate is measured over: several pictures, but few enough packets to follow a fall.
const WINDOW: Duration = Duration::from_millis(400);
/// … and while a queue fills: what the bottleneck lets through is smooth, so that less is enough.
const SHORT_WINDOW: Duration = Duration::from_millis(150);
/// A rate needs this much of a window.
const SHORTEST: Duration = Duration::from_millis(80);
/// Arrivals that are remembered; what hostile feedback piles up falls out.
const REMEMBERED: usize = 1_024;

/// Arrivals of the last moments, by the receiver's clock.
#[derive(Debug, Default)]
pub(super) struct AckedBitrate {
    arrivals: VecDeque<(Duration, u32)>,
}

impl AckedBitrate {
    pub(super) fn push(&mut self, arrived: Duration, size: u32) {
        // Reordering of a few milliseconds does not change a rate.
        let newest = self.arrivals.back().map_or(arrived, |(at, _)| *at);
        self.arrivals.push_back((arrived.max(newest), size));
        while self.arrivals.len() > REMEMBERED
            || self.arrivals.front().is_some_and(|(at, _)| *at + WINDOW < arrived.max(newest))
        {
            self.arrivals.pop_front();
        }
    }

    /// What arrived within the last moments.
    pub(super) fn rate(&self) -> Option<Bitrate> {
        self.within(WINDOW)
    }

    /// What arrived within the very last moments.
    pub(super) fn recent(&self) -> Option<Bitrate> {
        self.within(SHORT_WINDOW)
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.arrivals.len() <= REMEMBERED
    }

    fn within(&self, window: Duration) -> Option<Bitrate> {
        let (newest, _) = self.arrivals.back()?;
        let mut inside = self.arrivals.iter().filter(|(at, _)| *at + window >= *newest);
        // The first packet only opens the interval: its bits came before.
        let (oldest, _) = inside.next()?;
        let time = newest.saturating_sub(*oldest);
        let bytes = inside.map(|(_, size)| u64::from(*size)).sum();
        (time >= SHORTEST.min(window / 2)).then(|| Bitrate::of(bytes, time))
    }
}
