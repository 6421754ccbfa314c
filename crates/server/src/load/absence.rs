//! How somebody comes back who was sent away or lost: as clients do, soon at first, then more seldom, and not all at once.

use std::time::{Duration, Instant};

/// Whoever is not back after this long stays away.
const RETURN_WITHIN: Duration = Duration::from_secs(60);
/// The longest first wait; each later one may be twice as long …
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Since when somebody is away, and how often coming back was tried.
#[derive(Debug, Default)]
pub(super) struct Absence {
    since: Option<Instant>,
    tries: i32,
}

impl Absence {
    /// How long to wait before the next try; `None` if it is too late. `chance` is between 0 and 1.
    pub(super) fn next_wait(&mut self, now: Instant, chance: f64) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > RETURN_WITHIN {
            return None;
        }
        let longest = FIRST_WAIT.mul_f64(2f64.powi(self.tries)).min(LONGEST_WAIT);
        self.tries = (self.tries + 1).min(16);
        Some(longest.mul_f64(0.5 + 0.5 * chance))
    }

    /// Somebody is there; for how long they were away.
    pub(super) fn end(&mut self, now: Instant) -> Option<Duration> {
        let since = std::mem::take(self).since?;
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let start = Instant::now();
        let mut absence = Absence::default();
        assert_eq!(absence.end(start), None, "was never away");
        let waits: Vec<_> =
            (0..6).filter_map(|_| absence.next_wait(start, 1.0)).map(|w| w.as_millis()).collect();
        assert_eq!(waits, [300, 600, 1_200, 2_000, 2_000, 2_000]);
        assert_eq!(absence.next_wait(start, 0.0), Some(LONGEST_WAIT / 2));
        assert_eq!(absence.next_wait(start + RETURN_WITHIN + Duration::from_millis(1), 0.5), None);
        assert_eq!(absence.end(start + Duration::from_secs(7)), Some(Duration::from_secs(7)));
        assert_eq!(absence.next_wait(start, 1.0), Some(FIRST_WAIT), "another absence begins anew");
    }
}
