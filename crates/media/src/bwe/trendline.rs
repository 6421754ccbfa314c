//! Whether a queue fills on the way: the trend of one-way delays (draft-ietf-rmcat-gcc-02 §5, with a regression in place
//! of the Kalman filter).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets sent within this time are one group (§5.2).
const BURST: Duration = Duration::from_millis(5);
/// Groups that the regression looks at.
const GROUPS: usize = 20;
/// Share of the old value in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Makes the slope comparable with the threshold.
const GAIN: f64 = 4.0;
/// Groups that confirm a trend at most.
const MAX_COUNTED: f64 = 60.0;
/// The threshold in milliseconds: first value, bounds, and how fast it follows up and down (§5.4).
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A trend must last this long to count, in milliseconds (§5.4: 10).
const OVERUSE_TIME: f64 = 10.0;
/// The lowest delay is looked for in this many windows of [`BASE_WINDOW`].
const BASE_WINDOWS: usize = 6;
const BASE_WINDOW: Duration = Duration::from_secs(5);
/// … and one that stands in the last one to two of these: radio links give their quickest packets more seldom.
const MOMENT: Duration = Duration::from_millis(200);

/// What the trend means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// Delays stay.
    #[default]
    Normal,
    /// A queue fills.
    Over,
    /// A queue empties.
    Under,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: Instant,
    last_sent: Instant,
    first_arrival: Duration,
    last_arrival: Duration,
}

/// Follows the delays of one connection.
#[derive(Debug, Default)]
pub(super) struct Trendline {
    current: Option<Group>,
    previous: Option<Group>,
    origin: Option<(Instant, Duration)>,
    accumulated: f64,
    smoothed: f64,
    /// Arrival and smoothed delay in milliseconds.
    samples: VecDeque<(f64, f64)>,
    counted: f64,
    threshold: Option<f64>,
    over_for: f64,
    last_trend: f64,
    base: LowestDelay,
    queue: Duration,
    standing: Duration,
    usage: Usage,
}

impl Trendline {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// How long the latest packets waited on the way, compared with the quickest of the last half minute.
    pub(super) fn queue(&self) -> Duration {
        self.queue
    }

    /// How long even the quickest of the latest packets waited: what jitter cannot explain. A queue that has just come up is
    /// not seen here yet, one that has gone is.
    pub(super) fn standing_queue(&self) -> Duration {
        self.standing
    }

    /// Takes a packet that arrived; in the order of sending.
    pub(super) fn push(&mut self, sent: Instant, arrival: Duration) {
        self.observe_queue(sent, arrival);
        let Some(group) = &mut self.current else {
            self.current = Some(Group::of(sent, arrival));
            return;
        };
        if sent < group.first_sent {
            return; // from before: its group is closed
        }
        if group.takes(sent, arrival) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            return;
        }
        let closed = std::mem::replace(group, Group::of(sent, arrival));
        if let Some(previous) = self.previous.replace(closed) {
            self.compare(previous, closed);
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.samples.len() <= GROUPS && self.base.windows.len() <= BASE_WINDOWS
    }

    fn observe_queue(&mut self, sent: Instant, arrival: Duration) {
        let (sent0, arrival0) = *self.origin.get_or_insert((sent, arrival));
        let sent_ms = signed_ms(sent.saturating_duration_since(sent0), sent0.saturating_duration_since(sent));
        let arrival_ms = signed_ms(arrival.saturating_sub(arrival0), arrival0.saturating_sub(arrival));
        let delay = (arrival_ms - sent_ms).clamp(-1e9, 1e9);
        let (smooth, standing) = self.base.push(sent, delay);
        self.queue = Duration::from_secs_f64(smooth / 1e3);
        self.standing = Duration::from_secs_f64(standing / 1e3);
    }

    fn compare(&mut self, before: Group, after: Group) {
        let sent = after.last_sent.saturating_duration_since(before.last_sent).as_secs_f64() * 1e3;
        let arrived = signed_ms(
            after.last_arrival.saturating_sub(before.last_arrival),
            before.last_arrival.saturating_sub(after.last_arrival),
        );
        // A pause of the receiver or of its clock says nothing about queues.
        if arrived < 0.0 || (arrived - sent).abs() > 3_000.0 {
            self.reset();
            return;
        }
        self.accumulated += arrived - sent;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        let at = after.last_arrival.as_secs_f64() * 1e3;
        self.samples.push_back((at, self.smoothed));
        self.counted = (self.counted + 1.0).min(MAX_COUNTED);
        if self.samples.len() > GROUPS {
            self.samples.pop_front();
        }
        if let Some(slope) = slope(&self.samples) {
            self.judge(slope * self.counted * GAIN, sent);
        }
    }

    fn judge(&mut self, trend: f64, sent_ms: f64) {
        let threshold = self.threshold.unwrap_or(THRESHOLD);
        if trend > threshold {
            self.over_for += sent_ms.min(100.0);
            if self.over_for > OVERUSE_TIME && trend >= self.last_trend {
                self.over_for = 0.0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = 0.0;
            self.usage = if trend < -threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_trend = trend;
        // Sudden spikes do not move the threshold.
        if trend.abs() <= threshold + 15.0 {
            let speed = if trend.abs() < threshold { THRESHOLD_DOWN } else { THRESHOLD_UP };
            let moved = threshold + speed * (trend.abs() - threshold) * sent_ms.min(100.0);
            self.threshold = Some(moved.clamp(THRESHOLD_MIN, THRESHOLD_MAX));
        }
    }

    fn reset(&mut self) {
        self.samples.clear();
        (self.accumulated, self.smoothed, self.counted, self.over_for) = (0.0, 0.0, 0.0, 0.0);
        self.usage = Usage::Normal;
    }
}

impl Group {
    fn of(sent: Instant, arrival: Duration) -> Self {
        Self { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival }
    }

    /// Whether a packet belongs to this group: sent with it, or queued with it on the way and let go at once.
    fn takes(&self, sent: Instant, arrival: Duration) -> bool {
        if sent.saturating_duration_since(self.first_sent) <= BURST {
            return true;
        }
        let between_sent = sent.saturating_duration_since(self.last_sent);
        let between_arrivals = arrival.saturating_sub(self.last_arrival);
        between_arrivals < between_sent
            && between_arrivals <= BURST
            && arrival.saturating_sub(self.first_arrival) < Duration::from_millis(100)
    }
}

fn signed_ms(ahead: Duration, behind: Duration) -> f64 {
    (ahead.as_secs_f64() - behind.as_secs_f64()) * 1e3
}

/// Least squares.
fn slope(samples: &VecDeque<(f64, f64)>) -> Option<f64> {
    if samples.len() < GROUPS / 2 {
        return None;
    }
    let n = samples.len() as f64;
    let (x0, y0) = samples.iter().fold((0.0, 0.0), |(x, y), s| (x + s.0 / n, y + s.1 / n));
    let (above, below) = samples
        .iter()
        .fold((0.0, 0.0), |(a, b), s| (a + (s.0 - x0) * (s.1 - y0), b + (s.0 - x0) * (s.0 - x0)));
    (below > 0.0).then(|| above / below)
}

/// The lowest of what was seen in the last half minute, and two distances to it: a smooth one, and that of the lowest of the
/// last moments.
#[derive(Debug, Default)]
struct LowestDelay {
    windows: VecDeque<(Instant, f64)>,
    smooth: Option<f64>,
    /// The lowest since then, and the lowest of the [`MOMENT`] before.
    latest: Option<(Instant, f64, f64)>,
}

impl LowestDelay {
    fn push(&mut self, now: Instant, delay: f64) -> (f64, f64) {
        match self.windows.back_mut() {
            Some((since, lowest)) if now.saturating_duration_since(*since) < BASE_WINDOW => {
                *lowest = lowest.min(delay);
            }
            _ => {
                self.windows.push_back((now, delay));
                if self.windows.len() > BASE_WINDOWS {
                    self.windows.pop_front();
                }
            }
        }
        let lowest = self.windows.iter().fold(delay, |lowest, (_, own)| lowest.min(*own));
        let above = delay - lowest;
        let smooth = self.smooth.map_or(above, |smooth| smooth + (above - smooth) / 8.0);
        self.smooth = Some(smooth);
        let (since, current, before) = match self.latest {
            Some((since, current, before)) if now.saturating_duration_since(since) < MOMENT => {
                (since, current.min(delay), before)
            }
            Some((_, current, _)) => (now, delay, current),
            None => (now, delay, delay),
        };
        self.latest = Some((since, current, before));
        (smooth.max(0.0), (current.min(before) - lowest).max(0.0))
    }
}
