//! What a consumer has delivered and what is acknowledged: sequences, floors, redeliveries.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::config::{AckPolicy, ConsumerConfig};
use crate::time::Timestamp;

/// A delivery that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Number of the first delivery; the floor of consumer sequences moves over these.
    delivery: u64,
    deadline: Timestamp,
}

/// A consumer's progress through its stream. Sequences of the stream are `seq`, of deliveries `delivery`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The next sequence of the stream to look at.
    pub(crate) next_seq: u64,
    /// The number of the last delivery.
    pub(crate) delivered: u64,
    /// Everything up to here is done.
    pub(crate) floor: Floor,
    pending: BTreeMap<u64, Pending>,
    /// Deliveries of messages that were delivered more than once or too often.
    counts: BTreeMap<u64, u32>,
    redeliver: VecDeque<u64>,
    queued: HashSet<u64>,
    /// No pending delivery is due before.
    due: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub(crate) delivery: u64,
    pub(crate) seq: u64,
}

/// What comes of a message whose turn for redelivery has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redelivery {
    /// Deliver it, for this time.
    Deliver { seq: u64, count: u32 },
    /// It was delivered often enough, this many times.
    Exhausted { seq: u64, deliveries: u32 },
}

impl Progress {
    /// Progress of a consumer that starts at `next_seq`.
    pub(crate) fn starting_at(next_seq: u64) -> Progress {
        let seq = next_seq.saturating_sub(1);
        Progress { next_seq, floor: Floor { delivery: 0, seq }, ..Progress::default() }
    }

    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn redelivered_len(&self) -> usize {
        self.counts.values().filter(|count| **count > 1).count()
    }

    pub(crate) fn redeliveries(&self) -> usize {
        self.redeliver.len()
    }

    /// True while the consumer still has to do with message `seq`, which its filters match.
    pub(crate) fn needs(&self, seq: u64) -> bool {
        seq >= self.next_seq || self.pending.contains_key(&seq) || self.counts.contains_key(&seq)
    }

    /// Notes a delivery of `seq`, the `count`-th, and gives its delivery number.
    pub(crate) fn deliver(&mut self, seq: u64, count: u32, config: &ConsumerConfig, now: Timestamp) -> u64 {
        self.delivered += 1;
        let delivery = self.delivered;
        if config.ack_policy == AckPolicy::None {
            self.floor = Floor { delivery, seq: self.next_seq.saturating_sub(1).max(seq) };
            return delivery;
        }
        if count > 1 {
            self.counts.insert(seq, count);
        }
        let deadline = now.plus(config.ack_wait(count));
        self.pending
            .entry(seq)
            .and_modify(|p| p.deadline = deadline)
            .or_insert(Pending { delivery, deadline });
        self.note_due(deadline);
        delivery
    }

    /// The next message to deliver again.
    pub(crate) fn next_redelivery(&mut self, max_deliver: i64) -> Option<Redelivery> {
        while let Some(seq) = self.redeliver.pop_front() {
            self.queued.remove(&seq);
            if !self.pending.contains_key(&seq) {
                continue;
            }
            let deliveries = self.counts.get(&seq).copied().unwrap_or(1);
            if max_deliver > 0 && i64::from(deliveries) >= max_deliver {
                // It stays counted: the message is kept, and a late acknowledgement still counts.
                self.counts.insert(seq, deliveries);
                let pending = self.pending.remove(&seq);
                self.move_floor(seq, pending.map(|p| p.delivery));
                return Some(Redelivery::Exhausted { seq, deliveries });
            }
            return Some(Redelivery::Deliver { seq, count: deliveries + 1 });
        }
        None
    }

    /// Puts a popped redelivery back, because nobody can take it now.
    pub(crate) fn put_back(&mut self, seq: u64) {
        if self.queued.insert(seq) {
            self.redeliver.push_front(seq);
        }
    }

    /// Queues everything whose time for an acknowledgement is over. True when something was.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let mut due = None;
        let mut any = false;
        for (seq, pending) in &self.pending {
            if self.queued.contains(seq) {
                continue;
            }
            if pending.deadline <= now {
                self.queued.insert(*seq);
                self.redeliver.push_back(*seq);
                any = true;
            } else if due.is_none_or(|d| pending.deadline < d) {
                due = Some(pending.deadline);
            }
        }
        self.due = due;
        any
    }

    /// When to call [`Progress::expire`] next.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Acknowledges `seq`. Gives the sequences that are done by it, so that their messages may go.
    pub(crate) fn acknowledge(&mut self, seq: u64, delivery: u64, policy: AckPolicy) -> Vec<u64> {
        match policy {
            AckPolicy::None => Vec::new(),
            AckPolicy::Explicit => self.settle(seq).then_some(seq).into_iter().collect(),
            AckPolicy::All => {
                if seq <= self.floor.seq {
                    return Vec::new();
                }
                let delivery = self.pending.get(&seq).map_or(delivery.min(self.delivered), |p| p.delivery);
                let before = self.floor.seq;
                self.floor = Floor { delivery: delivery.max(self.floor.delivery), seq };
                let later = self.pending.split_off(&(seq + 1));
                self.pending = later;
                self.counts = self.counts.split_off(&(seq + 1));
                self.redeliver.retain(|s| *s > seq);
                self.queued.retain(|s| *s > seq);
                (before + 1..=seq).collect()
            }
        }
    }

    /// Ends the life of `seq` here, by an acknowledgement or because the message is gone. True when it was wanted.
    pub(crate) fn settle(&mut self, seq: u64) -> bool {
        let pending = self.pending.remove(&seq);
        let counted = self.counts.remove(&seq).is_some();
        if self.queued.remove(&seq) {
            self.redeliver.retain(|s| *s != seq);
        }
        self.move_floor(seq, pending.map(|p| p.delivery));
        pending.is_some() || counted
    }

    /// Is `seq` delivered and not yet acknowledged?
    pub(crate) fn is_pending(&self, seq: u64) -> bool {
        self.pending.contains_key(&seq)
    }

    /// How often `seq` was delivered.
    pub(crate) fn deliveries(&self, seq: u64) -> u32 {
        self.counts.get(&seq).copied().unwrap_or(1)
    }

    /// The client works on `seq` still.
    pub(crate) fn extend(&mut self, seq: u64, config: &ConsumerConfig, now: Timestamp) {
        let count = self.deliveries(seq);
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.deadline = now.plus(config.ack_wait(count));
            let deadline = pending.deadline;
            self.note_due(deadline);
        }
    }

    /// The client wants `seq` again, at once or after `delay`.
    pub(crate) fn refuse(&mut self, seq: u64, delay: Option<Duration>, now: Timestamp) {
        let Some(pending) = self.pending.get_mut(&seq) else { return };
        match delay {
            Some(delay) if !delay.is_zero() => {
                pending.deadline = now.plus(delay);
                let deadline = pending.deadline;
                if self.queued.remove(&seq) {
                    self.redeliver.retain(|s| *s != seq);
                }
                self.note_due(deadline);
            }
            _ => {
                if self.queued.insert(seq) {
                    self.redeliver.push_back(seq);
                }
            }
        }
    }

    /// Everything below `seq` is gone from the stream.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        if seq > self.next_seq {
            self.next_seq = seq;
        }
        if seq.saturating_sub(1) > self.floor.seq && self.pending.is_empty() {
            self.floor = Floor { delivery: self.delivered, seq: self.next_seq.saturating_sub(1) };
        }
    }

    fn note_due(&mut self, deadline: Timestamp) {
        if self.due.is_none_or(|due| deadline < due) {
            self.due = Some(deadline);
        }
    }

    fn move_floor(&mut self, seq: u64, delivery: Option<u64>) {
        match self.pending.first_key_value() {
            None => {
                let seq = self.next_seq.saturating_sub(1).max(self.floor.seq);
                self.floor = Floor { delivery: self.delivered, seq };
            }
            Some(_) if delivery == Some(self.floor.delivery + 1) => {
                // Deliveries up to the first that still waits are done.
                self.floor = match self.pending.range(seq + 1..).next() {
                    Some((first, waiting)) => {
                        Floor { delivery: waiting.delivery.saturating_sub(1), seq: first - 1 }
                    }
                    None => Floor { delivery: self.floor.delivery + 1, seq },
                };
            }
            Some(_) => {}
        }
    }

    /// What has to survive a restart.
    pub(crate) fn save(&self) -> Saved {
        Saved {
            next_seq: self.next_seq,
            delivered: self.delivered,
            floor: self.floor,
            pending: self.pending.iter().map(|(seq, p)| (*seq, p.delivery, p.deadline.0)).collect(),
            counts: self.counts.iter().map(|(seq, count)| (*seq, *count)).collect(),
        }
    }

    pub(crate) fn restore(saved: &Saved) -> Progress {
        let pending: BTreeMap<u64, Pending> = saved
            .pending
            .iter()
            .map(|(seq, delivery, deadline)| {
                (*seq, Pending { delivery: *delivery, deadline: Timestamp(*deadline) })
            })
            .collect();
        Progress {
            next_seq: saved.next_seq,
            delivered: saved.delivered,
            floor: saved.floor,
            due: pending.values().map(|p| p.deadline).min(),
            pending,
            counts: saved.counts.iter().copied().collect(),
            redeliver: VecDeque::new(),
            queued: HashSet::new(),
        }
    }

    /// The sequences that wait for an acknowledgement.
    pub(crate) fn pending_seqs(&self) -> impl Iterator<Item = u64> + '_ {
        self.pending.keys().copied()
    }
}

/// A consumer's progress as the log keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    next_seq: u64,
    delivered: u64,
    floor: Floor,
    pending: Vec<(u64, u64, i64)>,
    counts: Vec<(u64, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn config(max_deliver: i64) -> ConsumerConfig {
        ConsumerConfig {
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(1).into(),
            max_deliver,
            ..ConsumerConfig::default()
        }
    }

    fn with_deliveries(n: u64, config: &ConsumerConfig) -> Progress {
        let mut progress = Progress::starting_at(1);
        for seq in 1..=n {
            progress.next_seq = seq + 1;
            progress.deliver(seq, 1, config, NOW);
        }
        progress
    }

    #[test]
    fn the_floor_follows_the_first_unacknowledged() {
        let config = config(-1);
        let mut progress = with_deliveries(4, &config);
        progress.acknowledge(2, 2, AckPolicy::Explicit);
        assert_eq!(progress.floor, Floor { delivery: 0, seq: 0 });
        progress.acknowledge(1, 1, AckPolicy::Explicit);
        assert_eq!(progress.floor, Floor { delivery: 2, seq: 2 });
        progress.acknowledge(4, 4, AckPolicy::Explicit);
        progress.acknowledge(3, 3, AckPolicy::Explicit);
        assert_eq!(progress.floor, Floor { delivery: 4, seq: 4 });
        assert!(progress.acknowledge(3, 3, AckPolicy::Explicit).is_empty());
    }

    #[test]
    fn unacknowledged_comes_again_until_exhausted() {
        let config = config(2);
        let mut progress = with_deliveries(1, &config);
        assert!(!progress.expire(NOW));
        let later = NOW.plus(Duration::from_secs(1));
        assert!(progress.expire(later));
        assert_eq!(progress.next_redelivery(2), Some(Redelivery::Deliver { seq: 1, count: 2 }));
        progress.deliver(1, 2, &config, later);
        progress.refuse(1, None, later);
        assert_eq!(progress.next_redelivery(2), Some(Redelivery::Exhausted { seq: 1, deliveries: 2 }));
        assert!(progress.needs(1));
        assert_eq!(progress.acknowledge(1, 2, AckPolicy::Explicit), [1]);
        assert!(!progress.needs(1));
    }

    #[test]
    fn delays_and_progress_move_the_deadline() {
        let config = config(-1);
        let mut progress = with_deliveries(2, &config);
        progress.refuse(1, Some(Duration::from_secs(5)), NOW);
        progress.extend(2, &config, NOW.plus(Duration::from_millis(900)));
        assert!(!progress.expire(NOW.plus(Duration::from_millis(1500))));
        assert!(progress.expire(NOW.plus(Duration::from_secs(2))));
        assert_eq!(progress.next_redelivery(-1), Some(Redelivery::Deliver { seq: 2, count: 2 }));
        assert!(progress.expire(NOW.plus(Duration::from_secs(5))));
        assert_eq!(progress.next_redelivery(-1), Some(Redelivery::Deliver { seq: 1, count: 2 }));
    }

    #[test]
    fn acknowledging_all_takes_everything_before() {
        let config = config(-1);
        let mut progress = with_deliveries(5, &config);
        assert_eq!(progress.acknowledge(3, 3, AckPolicy::All), [1, 2, 3]);
        assert_eq!((progress.floor, progress.pending_len()), (Floor { delivery: 3, seq: 3 }, 2));
    }

    #[test]
    fn saved_progress_is_the_same_progress() {
        let config = config(-1);
        let mut progress = with_deliveries(3, &config);
        progress.acknowledge(2, 2, AckPolicy::Explicit);
        let saved = progress.save();
        assert_eq!(Progress::restore(&saved).save(), saved);
    }
}
