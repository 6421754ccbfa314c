//! What a media thread does when it has too much to do: first no new rooms, then no high layers of pictures. Sound is
//! never touched.

use std::time::{Duration, Instant};

/// The part of its time that a thread works, from which on it takes no new rooms.
pub const DEFAULT_CEILING: f32 = 0.8;

/// Rooms are taken again below this part of the ceiling.
const RELIEF: f32 = 0.9;
/// Measurements follow what is measured by this part each time.
const SMOOTHING: f32 = 0.5;
/// A step of shedding has this long to show what it brings …
const STEP: Duration = Duration::from_secs(2);
/// … and is taken back when there was room for this long.
const CALM: Duration = Duration::from_secs(10);
/// The highest layer that is sent, by step of shedding.
const LAYERS: [Option<usize>; 3] = [None, Some(1), Some(0)];

/// How much of its time a thread works, and what follows from that.
#[derive(Debug)]
pub struct Overload {
    ceiling: f32,
    busy: f32,
    refuses: bool,
    step: usize,
    stepped: Option<Instant>,
    calm_since: Option<Instant>,
}

impl Overload {
    /// `ceiling`: from 0 to 1, see [`DEFAULT_CEILING`]; 1 for none.
    pub fn new(ceiling: f32) -> Self {
        Self { ceiling, busy: 0.0, refuses: false, step: 0, stepped: None, calm_since: None }
    }

    /// Of the time since the last call the thread has worked this part, from 0 to 1. To be called about once a second.
    pub fn measured(&mut self, now: Instant, busy: f32) {
        self.busy += (busy - self.busy) * SMOOTHING;
        let line = if self.refuses { self.ceiling * RELIEF } else { self.ceiling };
        self.refuses = self.busy > line && self.ceiling < 1.0;
        // Half way between the ceiling and all of its time.
        let is_drowning = self.refuses && self.busy > f32::midpoint(self.ceiling, 1.0);
        if self.refuses {
            self.calm_since = None;
        } else {
            self.calm_since.get_or_insert(now);
        }
        let has_settled = self.stepped.is_none_or(|at| now.saturating_duration_since(at) >= STEP);
        let is_calm = self.calm_since.is_some_and(|at| now.saturating_duration_since(at) >= CALM);
        if is_drowning && has_settled && self.step + 1 < LAYERS.len() {
            self.step += 1;
            self.stepped = Some(now);
        } else if is_calm && self.step > 0 {
            self.step -= 1;
            self.stepped = Some(now);
            // The next step back waits as long.
            self.calm_since = Some(now);
        }
    }

    /// The part of its time that the thread works, smoothed.
    pub fn busy(&self) -> f32 {
        self.busy
    }

    /// Whether the thread takes no new rooms.
    pub fn refuses_rooms(&self) -> bool {
        self.refuses
    }

    /// The highest layer that is to be sent; no bound when `None`.
    pub fn highest_layer(&self) -> Option<usize> {
        LAYERS[self.step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds after each of these seconds.
    fn after(overload: &mut Overload, start: Instant, from: u64, busy: &[f32]) -> Vec<(bool, Option<usize>)> {
        let mut second = from;
        let each = busy.iter().map(|busy| {
            second += 1;
            overload.measured(start + Duration::from_secs(second), *busy);
            (overload.refuses_rooms(), overload.highest_layer())
        });
        each.collect()
    }

    #[test]
    fn rooms_are_refused_first_and_layers_shed_then() {
        let start = Instant::now();
        let mut overload = Overload::new(0.8);
        let seen = after(&mut overload, start, 0, &[0.85; 8]);
        assert_eq!(seen[0], (false, None), "a moment says nothing");
        assert_eq!(seen[7], (true, None), "too much for more rooms, but it goes");
        let seen = after(&mut overload, start, 8, &[1.0; 6]);
        let layers: Vec<_> = seen.iter().map(|(_, layer)| *layer).collect();
        assert_eq!(layers, [Some(1), Some(1), Some(0), Some(0), Some(0), Some(0)]);
        // Between the lines nothing changes.
        assert_eq!(after(&mut overload, start, 14, &[0.75; 60]).last(), Some(&(true, Some(0))));
        let seen = after(&mut overload, start, 74, &[0.3; 30]);
        assert_eq!(seen[2], (false, Some(0)));
        let back: Vec<usize> = (1..30).filter(|second| seen[*second].1 != seen[second - 1].1).collect();
        assert_eq!(back.len(), 2, "one step at a time");
        assert!(back[1] - back[0] >= 10);
        assert_eq!(seen[29], (false, None));
    }

    #[test]
    fn a_ceiling_of_all_is_none() {
        let mut overload = Overload::new(1.0);
        assert!(after(&mut overload, Instant::now(), 0, &[1.0; 9]).iter().all(|seen| *seen == (false, None)));
    }
}
