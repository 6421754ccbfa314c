//! What losses say when delays say nothing: a policer drops without a queue, a radio link loses without congestion.

use std::time::{Duration, Instant};

use super::Bitrate;

/// Losses up to this share are the link's nature and change nothing (draft-ietf-rmcat-gcc-02 §6: 2 %; wireless links
/// have more, and a queue shows in delays first).
const HARMLESS: f64 = 0.05;
/// Losses above this share mean that less should be sent (§6).
const HARMFUL: f64 = 0.10;
/// Packets that a share is computed from at least.
const FEWEST: u32 = 20;
/// Time that a share is computed over at least.
const SHORTEST: Duration = Duration::from_millis(400);

/// Counts losses between decisions.
#[derive(Debug, Default)]
pub(super) struct LossController {
    arrived: u32,
    lost: u32,
    since: Option<Instant>,
    bound: Option<Bitrate>,
    smooth: f64,
}

impl LossController {
    pub(super) fn arrived(&mut self, was_lost: bool) {
        self.arrived = self.arrived.saturating_add(1);
        if was_lost {
            self.lost = self.lost.saturating_sub(1);
        }
    }

    pub(super) fn lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// Share of packets that were lost lately, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.smooth
    }

    /// The most that should be sent as far as losses are concerned, `None` without limit.
    pub(super) fn update(
        &mut self,
        now: Instant,
        estimate: Bitrate,
        acked: Option<Bitrate>,
    ) -> Option<Bitrate> {
        let since = *self.since.get_or_insert(now);
        let count = self.arrived.saturating_add(self.lost);
        if count >= FEWEST && now.saturating_duration_since(since) >= SHORTEST {
            let share = f64::from(self.lost) / f64::from(count);
            self.smooth += (share - self.smooth) * 0.5;
            (self.arrived, self.lost, self.since) = (0, 0, Some(now));
            self.bound = match self.smooth {
                low if low <= HARMLESS => {
                    self.bound.map(|bound| bound.times(1.25)).filter(|b| *b < estimate.times(4.0))
                }
                high if high > HARMFUL => {
                    let lower =
                        self.bound.map_or(estimate, |bound| bound.min(estimate)).times(1.0 - 0.5 * high);
                    // What arrives is what the link carries: less than that no loss asks for.
                    Some(lower.max(acked.unwrap_or(Bitrate::ZERO)))
                }
                _ => self.bound,
            };
        }
        self.bound
    }
}
