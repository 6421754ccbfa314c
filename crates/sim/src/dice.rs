//! Chance that repeats.

/// A small generator (xorshift64), so that a run repeats exactly.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// One that always rolls the same for the same seed.
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// From 0 up to, but not including, 1.
    pub fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fair_and_repeats() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..10_000).map(|_| dice.roll()).collect::<Vec<f64>>()
        };
        let mean = rolls(7).iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert!(rolls(7).iter().all(|roll| (0.0..1.0).contains(roll)));
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }
}
