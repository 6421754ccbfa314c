//! Bits per second.

use std::fmt;
use std::time::Duration;

/// A bitrate.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// That many bits per second.
    pub const fn bps(bits: u64) -> Self {
        Self(bits)
    }

    /// That many thousand bits per second.
    pub const fn kbps(kilobits: u64) -> Self {
        Self(kilobits * 1_000)
    }

    /// What carries `bytes` within `time`.
    pub fn of(bytes: u64, time: Duration) -> Self {
        let micros = (time.as_micros() as u64).max(1);
        Self(bytes.saturating_mul(8_000_000) / micros)
    }

    /// Bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Bytes within `time`.
    pub fn bytes_in(self, time: Duration) -> f64 {
        self.0 as f64 / 8.0 * time.as_secs_f64()
    }

    /// This rate times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor) as u64)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of this without the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Debug for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.0 / 1_000)
    }
}
