//! How loud a track is.

use std::time::Duration;

/// Speaking if the level is at most this many dB below the loudest possible (LiveKit's default).
const ACTIVE_LEVEL: u8 = 35;
/// … in at least this many percent of the packets (LiveKit's default).
const ACTIVE_PERCENT: u32 = 40;
/// Levels are reported in steps of this size, so that small changes make no messages.
const LEVEL_STEPS: f32 = 8.0;

/// How loud a track is, over windows of [`LevelMeter::WINDOW`].
#[derive(Debug, Default)]
pub struct LevelMeter {
    packets: u32,
    active: u32,
    loudest: u8,
    smooth: f32,
}

impl LevelMeter {
    /// Length of a window (LiveKit's default).
    pub const WINDOW: Duration = Duration::from_millis(400);

    pub(super) fn observe(&mut self, level: u8) {
        if self.packets == 0 {
            self.loudest = 127;
        }
        self.packets += 1;
        self.loudest = self.loudest.min(level);
        self.active += u32::from(level <= ACTIVE_LEVEL);
    }

    /// Ends a window: loudness from 0 (silent) to 1, in eighths.
    pub fn take(&mut self) -> f32 {
        let speaking = self.packets > 0 && self.active * 100 >= self.packets * ACTIVE_PERCENT;
        let linear = if speaking {
            let share = self.active as f32 / self.packets as f32;
            // Somebody who speaks half of the time counts as a little less loud.
            10f32.powf(-(f32::from(self.loudest) - 20.0 * share.log10()) / 20.0)
        } else {
            0.0
        };
        // Exponential average over two windows.
        self.smooth += (linear - self.smooth) * 2.0 / 3.0;
        (self.packets, self.active, self.loudest) = (0, 0, 127);
        if self.smooth < 10f32.powf(-f32::from(ACTIVE_LEVEL) / 20.0) {
            self.smooth = 0.0;
        }
        (self.smooth * LEVEL_STEPS).ceil().min(LEVEL_STEPS) / LEVEL_STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_with_speech_and_fall_to_zero() {
        let mut meter = LevelMeter::default();
        (0..20).for_each(|_| meter.observe(100));
        assert_eq!(meter.take(), 0.0);
        (0..20).for_each(|_| meter.observe(10));
        let loud = meter.take();
        assert!(loud > 0.2, "{loud}");
        (0..20).for_each(|i| meter.observe(if i == 0 { 10 } else { 100 }));
        assert!(meter.take() < loud, "one packet in twenty is no speech");
        for _ in 0..6 {
            meter.take();
        }
        assert_eq!(meter.take(), 0.0);
    }
}
