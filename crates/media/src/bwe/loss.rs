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

/// Sending less has been tried once this share of what was sent before is left …
const TRIED: f64 = 0.8;
/// … and is of no use where more than this share of the losses is left as well: a link loses that much whatever it carries.
const USELESS: f64 = 0.7;
/// Then that many times what it loses is taken for its nature …
const NATURE: f64 = 1.5;
/// … but no more than this.
const MOST_NATURAL: f64 = 0.4;

/// … and is slowly forgotten where it loses little.
const FORGOTTEN: f64 = 0.97;

/// Counts losses between decisions.
#[derive(Debug, Default)]
pub(super) struct LossController {
    arrived: u32,
    lost: u32,
    since: Option<Instant>,
    bound: Option<Bitrate>,
    smooth: f64,
    /// Losses up to this share have turned out to be the link's nature.
    natural: f64,
    /// Share and rate from where sending less is being tried.
    trial: Option<(f64, Bitrate)>,
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

    /// Share of packets that are lost whatever is sent, from 0 to 1.
    pub(super) fn natural(&self) -> f64 {
        self.natural
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
            // Before anything is known to arrive the estimate must do.
            let arriving = acked.unwrap_or(estimate);
            let sent = Bitrate::bps((arriving.as_bps() as f64 / (1.0 - self.smooth.min(0.9))) as u64);
            self.bound = match self.smooth {
                low if low <= HARMLESS => {
                    (self.natural, self.trial) = (self.natural * FORGOTTEN, None);
                    self.bound.map(|bound| bound.times(1.25)).filter(|b| *b < estimate.times(4.0))
                }
                high if high > HARMFUL.max(self.natural) => self.lower(high, estimate, sent, arriving),
                high if high <= self.natural => None,
                _ => self.bound,
            };
        }
        self.bound
    }

    /// Less should be sent, unless that was tried and is of no use.
    fn lower(&mut self, share: f64, estimate: Bitrate, sent: Bitrate, arriving: Bitrate) -> Option<Bitrate> {
        let (before, from) = *self.trial.get_or_insert((share, sent));
        if sent <= from.times(TRIED) {
            if share > before * USELESS {
                (self.natural, self.trial) = ((share * NATURE).min(MOST_NATURAL), None);
                return None;
            }
            self.trial = Some((share, sent));
        }
        // What arrives is what the link carries: less than that no loss asks for.
        let most = self.bound.map_or(estimate, |bound| bound.min(estimate)).min(sent);
        Some(most.times(1.0 - 0.5 * share).max(arriving))
    }
}
