//! What a decision takes from outside: the time and randomness.

use rand::{Rng, RngExt as _};

use crate::state::UnixMs;

/// Time and randomness of one decision.
pub struct Env<'a> {
    /// Broker time.
    pub now: UnixMs,
    /// For identifiers and keys: cryptographically secure outside tests.
    pub rng: &'a mut dyn Rng,
}

impl Env<'_> {
    /// A random (version 4) UUID.
    pub fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// `len` random letters and digits.
    pub fn secret(&mut self, len: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..len).map(|_| char::from(ALPHABET[self.rng.random_range(0..ALPHABET.len())])).collect()
    }
}

#[cfg(test)]
pub(crate) use tests::test_env;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    /// A seeded environment at an arbitrary moment.
    pub(crate) struct TestEnv {
        pub(crate) now: UnixMs,
        rng: StdRng,
    }

    impl TestEnv {
        pub(crate) fn env(&mut self) -> Env<'_> {
            Env { now: self.now, rng: &mut self.rng }
        }
    }

    pub(crate) fn test_env() -> TestEnv {
        TestEnv { now: 1_760_000_000_000, rng: StdRng::seed_from_u64(7) }
    }
}
