//! Whether the application sends less than it could: then nothing that arrives shows what else would.

use std::time::Instant;

use super::Bitrate;

/// Sending less than this share of the estimate is limited by the application …
const ENTER: f64 = 0.65;
/// … until it is more than this.
const LEAVE: f64 = 0.80;
/// Time over which what is sent is averaged, in seconds.
const TIME_CONSTANT: f64 = 0.5;

/// Compares what is sent with what might be.
#[derive(Debug, Default)]
pub(super) struct AlrDetector {
    sent_bps: f64,
    pending: f64,
    at: Option<Instant>,
    limited: bool,
}

impl AlrDetector {
    pub(super) fn sent(&mut self, size: u32) {
        self.pending += f64::from(size) * 8.0;
    }

    /// Looks again, at each feedback.
    pub(super) fn update(&mut self, now: Instant, estimate: Bitrate) -> bool {
        let passed = self.at.map_or(0.1, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        if passed > 0.0 {
            let keep = (-passed / TIME_CONSTANT).exp();
            self.sent_bps = self.sent_bps * keep + self.pending / passed * (1.0 - keep);
            self.pending = 0.0;
        }
        let share = self.sent_bps / (estimate.as_bps() as f64).max(1.0);
        self.limited = if self.limited { share < LEAVE } else { share < ENTER };
        self.limited
    }
}
