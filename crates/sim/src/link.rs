//! One way of a link: rate, delay, jitter, loss, bursts of loss, reordering, a drop-tail queue, and others in it.

use std::collections::BTreeMap;
use std::time::Duration;

use plenum_media::bwe::Bitrate;

use crate::dice::Dice;

/// What a link does to packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// What it carries; without it, everything at once.
    pub rate: Option<Bitrate>,
    /// Time from end to end without a queue.
    pub delay: Duration,
    /// Delay that comes on top, up to this, another every 30 ms; packets keep their order, as on a radio link.
    pub jitter: Duration,
    /// Share of packets that are lost, each by itself.
    pub loss: f64,
    /// Losses in a row.
    pub bursts: Bursts,
    /// Share of packets that come [`LATE`] late, so that others overtake them.
    pub reorder: f64,
    /// What others send through the same queue.
    pub competing: Bitrate,
    /// A packet that would wait longer than this is dropped.
    pub queue: Duration,
}

/// How late a packet is that others overtake.
const LATE: Duration = Duration::from_millis(20);
/// How long the delay on top stays the same.
const JITTER_SLOT: Duration = Duration::from_millis(30);
/// Bytes of a packet of others.
const COMPETING_SIZE: u64 = 1_000;

/// Losses in a row: a link that changes between a good and a bad state with every packet (Gilbert and Elliott).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// Chance per packet that the bad state begins.
    pub begin: f64,
    /// … and that it ends: its length is one over this in the mean.
    pub end: f64,
    /// Share of packets that are lost in it.
    pub loss: f64,
}

impl Bursts {
    /// The bad state never begins.
    pub const NONE: Self = Self { begin: 0.0, end: 1.0, loss: 0.0 };
}

impl Conditions {
    /// Carries everything in 15 ms.
    pub const PERFECT: Self = Self {
        rate: None,
        delay: Duration::from_millis(15),
        jitter: Duration::ZERO,
        loss: 0.0,
        bursts: Bursts::NONE,
        reorder: 0.0,
        competing: Bitrate::ZERO,
        queue: Duration::from_millis(300),
    };

    /// One way of a round trip of 60 ms, with 300 ms of queue.
    pub const fn kbps(rate: u64) -> Self {
        Self { rate: Some(Bitrate::kbps(rate)), delay: Duration::from_millis(30), ..Self::PERFECT }
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let seconds = |rate: Bitrate| bytes as f64 * 8.0 / rate.as_bps() as f64;
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(seconds(rate)))
    }
}

/// One way of a link. Times count from a moment of the caller's.
#[derive(Debug, Clone)]
pub struct Link {
    conditions: Conditions,
    dice: Dice,
    dropped: u64,
    /// When the last bit in the queue will have left.
    free_at: Duration,
    competed_until: Duration,
    is_bad: bool,
    last_arrival: Duration,
    jitter_now: (u128, Duration),
}

impl Link {
    /// A link without anything on it.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            dice: Dice::new(seed),
            dropped: 0,
            free_at: Duration::ZERO,
            competed_until: Duration::ZERO,
            is_bad: false,
            last_arrival: Duration::ZERO,
            jitter_now: (u128::MAX, Duration::ZERO),
        }
    }

    /// What it does to packets now.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Packets that were lost or dropped since the beginning.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How long a packet would wait.
    pub fn backlog(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// Something else holds from now on; what is in the queue takes longer or shorter.
    pub fn change(&mut self, now: Duration, conditions: Conditions) {
        let waiting = match (self.conditions.rate, conditions.rate) {
            (Some(old), Some(new)) => {
                self.backlog(now).mul_f64(old.as_bps() as f64 / new.as_bps() as f64).min(conditions.queue)
            }
            _ => Duration::ZERO,
        };
        self.free_at = now + waiting;
        self.competed_until = self.competed_until.max(now);
        self.conditions = conditions;
    }

    /// When a packet arrives, if it does.
    pub fn send(&mut self, now: Duration, bytes: u32) -> Option<Duration> {
        self.compete(now);
        let Conditions { queue, loss, bursts, reorder, .. } = self.conditions;
        let turns = if self.is_bad { bursts.end } else { bursts.begin };
        self.is_bad ^= self.dice.roll() < turns;
        let loss = if self.is_bad { loss.max(bursts.loss) } else { loss };
        if self.dice.roll() < loss || self.backlog(now) > queue {
            self.dropped += 1;
            return None;
        }
        self.free_at = self.free_at.max(now) + self.conditions.time_of(bytes.into());
        let arrival = self.free_at + self.conditions.delay + self.jitter(now);
        if self.dice.roll() < reorder {
            return Some(arrival + LATE);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Some(self.last_arrival)
    }

    /// The others' packets, evenly spaced.
    fn compete(&mut self, now: Duration) {
        let Conditions { competing, queue, .. } = self.conditions;
        while competing > Bitrate::ZERO && self.competed_until < now {
            let interval = COMPETING_SIZE as f64 * 8.0 / competing.as_bps() as f64;
            self.competed_until += Duration::from_secs_f64(interval);
            let at = self.competed_until;
            if self.backlog(at) < queue {
                self.free_at = self.free_at.max(at) + self.conditions.time_of(COMPETING_SIZE);
            }
        }
    }

    fn jitter(&mut self, now: Duration) -> Duration {
        let slot = now.as_nanos() / JITTER_SLOT.as_nanos();
        if self.jitter_now.0 != slot {
            self.jitter_now = (slot, self.conditions.jitter.mul_f64(self.dice.roll()));
        }
        self.jitter_now.1
    }
}

/// What is on its way, by time of arrival.
#[derive(Debug)]
pub struct InFlight<T> {
    items: BTreeMap<(Duration, u64), T>,
    next: u64,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), next: 0 }
    }
}

impl<T> InFlight<T> {
    /// Something arrives at that time; after what was sent before and arrives at the same.
    pub fn push(&mut self, at: Duration, item: T) {
        self.items.insert((at, self.next), item);
        self.next += 1;
    }

    /// When the next thing arrives.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.items.keys().next().map(|(at, _)| *at)
    }

    /// How much is on its way.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets what is not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.items.retain(|_, item| keep(item));
    }

    /// What has arrived, with its time.
    pub fn pop(&mut self, now: Duration) -> Option<(Duration, T)> {
        let first = self.items.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), item) = first.remove_entry();
        Some((at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Sends a packet of 1,000 bytes every `interval`; when each arrived.
    fn send(link: &mut Link, interval: Duration, packets: u32) -> Vec<Option<Duration>> {
        (0..packets).map(|nth| link.send(interval * nth, 1_000)).collect()
    }

    #[test]
    fn a_link_carries_its_rate_and_drops_what_its_queue_has_no_room_for() {
        // 8 kbit every 4 ms are 2,000 kbit/s.
        let mut link = Link::new(Conditions::kbps(1_000), 1);
        let arrivals = send(&mut link, ms(4), 2_500);
        let arrived = arrivals.iter().flatten().count();
        // 10 s at 1,000 kbit/s, and what the queue holds: 300 ms and the packet that just fits.
        assert_eq!(arrived, 1_250 + 38);
        assert_eq!(link.dropped() as usize, 2_500 - arrived);
        assert_eq!(link.backlog(ms(10_000)), ms(304));
        for (nth, arrival) in arrivals.iter().enumerate().filter_map(|(nth, at)| Some((nth, (*at)?))) {
            let took = arrival - ms(4) * nth as u32;
            assert!((ms(38)..=ms(338)).contains(&took), "{took:?}");
        }
        let last: Vec<Duration> = arrivals.into_iter().flatten().collect();
        assert!(last.windows(2).all(|pair| pair[1] - pair[0] >= ms(8)), "one packet in 8 ms");
    }

    #[test]
    fn a_change_takes_effect_at_once() {
        let mut link = Link::new(Conditions::kbps(1_000), 1);
        (0..10).for_each(|_| _ = link.send(Duration::ZERO, 1_000));
        assert_eq!(link.backlog(Duration::ZERO), ms(80));
        link.change(ms(40), Conditions::kbps(500));
        assert_eq!(link.backlog(ms(40)), ms(80), "the half that waits takes twice as long");
        link.change(ms(40), Conditions::kbps(100));
        assert_eq!(link.backlog(ms(40)), ms(300), "what does not fit is gone");
        link.change(ms(40), Conditions::PERFECT);
        assert_eq!((link.backlog(ms(40)), link.send(ms(400), 1_000)), (Duration::ZERO, Some(ms(415))));
    }

    #[test]
    fn losses_are_as_many_as_said_alone_or_in_a_row() {
        let lost = |conditions: Conditions| {
            let mut link = Link::new(conditions, 3);
            let arrivals = send(&mut link, ms(10), 20_000);
            let mut runs = arrivals.split(Option::is_some).map(<[_]>::len).filter(|run| *run > 0);
            let count = runs.clone().count();
            (runs.by_ref().sum::<usize>() as f64 / 20_000.0, link.dropped() as f64 / count.max(1) as f64)
        };
        assert_eq!(lost(Conditions::kbps(5_000)).0, 0.0);
        let (share, run) = lost(Conditions { loss: 0.2, ..Conditions::PERFECT });
        assert!((0.19..0.21).contains(&share) && run < 1.4, "{share} in runs of {run}");
        // Bad for 10 of 210 packets, and then 8 of 10 are lost.
        let bursts = Bursts { begin: 0.005, end: 0.1, loss: 0.8 };
        let (share, run) = lost(Conditions { bursts, ..Conditions::PERFECT });
        assert!((0.03..0.046).contains(&share) && run > 2.5, "{share} in runs of {run}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let in_order = |conditions: Conditions| {
            let arrivals = send(&mut Link::new(conditions, 5), ms(2), 5_000);
            let took = |(nth, at): (usize, &Option<Duration>)| at.expect("no loss") - ms(2) * nth as u32;
            let (least, most) = arrivals
                .iter()
                .enumerate()
                .map(took)
                .fold((Duration::MAX, Duration::ZERO), |(least, most), took| {
                    (least.min(took), most.max(took))
                });
            (arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count(), most - least)
        };
        assert_eq!(in_order(Conditions::PERFECT), (0, Duration::ZERO));
        let (overtaken, spread) = in_order(Conditions { jitter: ms(50), ..Conditions::PERFECT });
        assert!(overtaken == 0 && (ms(45)..=ms(50)).contains(&spread), "{overtaken}, {spread:?}");
        let (overtaken, spread) = in_order(Conditions { reorder: 0.02, ..Conditions::PERFECT });
        assert!((80..120).contains(&overtaken) && spread == ms(20), "{overtaken}, {spread:?}");
    }

    #[test]
    fn others_take_their_share() {
        let conditions = Conditions { competing: Bitrate::kbps(400), ..Conditions::kbps(1_000) };
        let mut link = Link::new(conditions, 1);
        let arrived = send(&mut link, ms(10), 1_000).into_iter().flatten().count();
        assert!((740..=800).contains(&arrived), "600 of 1,000 kbit/s, and a queue full: {arrived}");
    }

    #[test]
    fn a_seed_repeats_exactly() {
        let bursts = Bursts { begin: 0.01, end: 0.2, loss: 0.9 };
        let conditions =
            Conditions { jitter: ms(20), loss: 0.05, bursts, reorder: 0.05, ..Conditions::kbps(2_000) };
        let run = |seed| send(&mut Link::new(conditions, seed), ms(5), 2_000);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
