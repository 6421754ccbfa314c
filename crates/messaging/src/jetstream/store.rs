//! The messages of one stream in memory, with an index by subject.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use super::log::Place;
use crate::{subject, time::Timestamp};

/// One message.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(super) subject: Arc<str>,
    pub(super) ts: Timestamp,
    pub(super) headers: Bytes,
    pub(super) payload: Bytes,
    pub(super) place: Place,
    pub(super) expiry: Expiry,
    /// Consumers that still need it, in an interest stream.
    pub(super) interest: u32,
}

/// What a message says about its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The stream's `max_age` decides.
    Stream,
    /// It goes at this time, or by `max_age` if that is earlier.
    At(Timestamp),
    /// `max_age` does not touch it.
    Never,
}

#[derive(Default)]
pub(super) struct Store {
    messages: BTreeMap<u64, Stored>,
    subjects: BTreeMap<Arc<str>, VecDeque<u64>>,
    expiries: BTreeSet<(Timestamp, u64)>,
    /// Sizes as a stock server counts them, so that limits mean the same.
    pub(super) bytes: u64,
    pub(super) last_seq: u64,
    pub(super) last_ts: Timestamp,
    is_file: bool,
}

/// Messages looked at one by one before the index by subject is asked. Neighbours mostly match or are few.
const SCAN: usize = 64;

impl Store {
    pub(super) fn new(is_file: bool, first_seq: u64) -> Store {
        Store { is_file, last_seq: first_seq.saturating_sub(1), ..Store::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The first sequence, or the next one to come when there is no message.
    pub(super) fn first_seq(&self) -> u64 {
        match self.messages.first_key_value() {
            Some((seq, _)) => *seq,
            None if self.last_seq == 0 => 0,
            None => self.last_seq + 1,
        }
    }

    pub(super) fn first(&self) -> Option<(u64, &Stored)> {
        self.messages.first_key_value().map(|(seq, m)| (*seq, m))
    }

    /// The sequence of the newest message, or 0.
    pub(super) fn last_message_seq(&self) -> u64 {
        self.messages.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Stored> {
        self.messages.get(&seq)
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Stored> {
        self.messages.get_mut(&seq)
    }

    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Stored)> {
        let to = to.max(from);
        self.messages.range(from..=to).map(|(seq, m)| (*seq, m))
    }

    pub(super) fn size_of(&self, subject: usize, headers: usize, payload: usize) -> u64 {
        let size = if self.is_file {
            22 + subject + if headers > 0 { 4 + headers } else { 0 } + payload + 8
        } else {
            16 + subject + headers + payload
        };
        size as u64
    }

    fn size(&self, message: &Stored) -> u64 {
        self.size_of(message.subject.len(), message.headers.len(), message.payload.len())
    }

    /// The shared text of a subject, so that many messages of one subject hold it once.
    pub(super) fn intern(&self, subject: &str) -> Arc<str> {
        match self.subjects.get_key_value(subject) {
            Some((known, _)) => Arc::clone(known),
            None => subject.into(),
        }
    }

    pub(super) fn insert(&mut self, seq: u64, message: Stored) {
        self.bytes += self.size(&message);
        if let Expiry::At(at) = message.expiry {
            self.expiries.insert((at, seq));
        }
        self.last_seq = self.last_seq.max(seq);
        self.last_ts = self.last_ts.max(message.ts);
        let seqs = self.subjects.entry(Arc::clone(&message.subject)).or_default();
        let at = seqs.partition_point(|s| *s < seq);
        seqs.insert(at, seq);
        self.messages.insert(seq, message);
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Stored> {
        let message = self.messages.remove(&seq)?;
        self.bytes = self.bytes.saturating_sub(self.size(&message));
        if let Expiry::At(at) = message.expiry {
            self.expiries.remove(&(at, seq));
        }
        if let Some(seqs) = self.subjects.get_mut(&message.subject) {
            if let Ok(at) = seqs.binary_search(&seq) {
                seqs.remove(at);
            }
            if seqs.is_empty() {
                self.subjects.remove(&message.subject);
            }
        }
        Some(message)
    }

    pub(super) fn num_subjects(&self) -> usize {
        self.subjects.len()
    }

    /// The sequences of one literal subject, oldest first.
    pub(super) fn of_subject(&self, subject: &str) -> Option<&VecDeque<u64>> {
        self.subjects.get(subject)
    }

    /// All subjects that match `filter`, in order, with their sequences.
    pub(super) fn subjects_matching<'a>(
        &'a self,
        filter: &'a str,
    ) -> Box<dyn Iterator<Item = (&'a Arc<str>, &'a VecDeque<u64>)> + 'a> {
        if subject::is_literal(filter) {
            return Box::new(self.subjects.get_key_value(filter).into_iter());
        }
        // Everything that matches starts with the same text, so only that part of the order is looked at.
        let prefix = subject::literal_prefix(filter);
        let range = self.subjects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        Box::new(
            range
                .take_while(move |(s, _)| s.starts_with(prefix))
                .filter(move |(s, _)| subject::matches(filter, s)),
        )
    }

    /// The last message whose subject matches `filter`.
    pub(super) fn last_matching(&self, filter: &str) -> Option<u64> {
        if filter == ">" {
            return self.messages.last_key_value().map(|(seq, _)| *seq);
        }
        self.subjects_matching(filter).filter_map(|(_, seqs)| seqs.back().copied()).max()
    }

    /// The first message at or after `from` that one of `filters` matches; any when there is no filter.
    pub(super) fn next_matching(&self, filters: &[&str], from: u64) -> Option<(u64, &Stored)> {
        if filters.is_empty() {
            return self.messages.range(from..).next().map(|(seq, m)| (*seq, m));
        }
        let mut next = self.messages.range(from..);
        for (seq, message) in next.by_ref().take(SCAN) {
            if filters.iter().any(|f| subject::matches(f, &message.subject)) {
                return Some((*seq, message));
            }
        }
        let (from, _) = next.next()?;
        let seq = filters
            .iter()
            .flat_map(|filter| self.subjects_matching(filter))
            .filter_map(|(_, seqs)| seqs.get(seqs.partition_point(|s| s < from)).copied())
            .min()?;
        Some((seq, self.messages.get(&seq)?))
    }

    /// How many messages at or after `from` the filters match. The filters do not overlap.
    pub(super) fn count_matching(&self, filters: &[&str], from: u64) -> u64 {
        let count = if filters.is_empty() || filters.contains(&">") {
            if from <= self.first_seq() { self.messages.len() } else { self.messages.range(from..).count() }
        } else {
            filters
                .iter()
                .flat_map(|filter| self.subjects_matching(filter))
                .map(|(_, seqs)| seqs.len() - seqs.partition_point(|s| *s < from))
                .sum()
        };
        count as u64
    }

    /// The last sequence of each subject that the filters match, ascending.
    pub(super) fn last_per_subject(&self, filters: &[&str]) -> BTreeSet<u64> {
        let all = [">"];
        let filters = if filters.is_empty() { &all } else { filters };
        filters
            .iter()
            .flat_map(|f| self.subjects_matching(f))
            .filter_map(|(_, seqs)| seqs.back().copied())
            .collect()
    }

    /// The first message with a time at or after `ts`.
    pub(super) fn first_at(&self, ts: Timestamp) -> Option<u64> {
        self.messages.iter().find(|(_, m)| m.ts >= ts).map(|(seq, _)| *seq)
    }

    /// The next own expiry of a message.
    pub(super) fn next_expiry(&self) -> Option<(Timestamp, u64)> {
        self.expiries.first().copied()
    }

    /// The oldest message that `max_age` applies to.
    pub(super) fn oldest_aging(&self) -> Option<(u64, &Stored)> {
        self.messages.iter().find(|(_, m)| m.expiry != Expiry::Never).map(|(seq, m)| (*seq, m))
    }

    /// Sequences between first and last without a message.
    pub(super) fn deleted(&self) -> Vec<u64> {
        let mut gaps = Vec::new();
        let mut expected = self.first_seq();
        if self.messages.is_empty() {
            return gaps;
        }
        for seq in self.messages.keys() {
            gaps.extend(expected..*seq);
            expected = seq + 1;
        }
        gaps.extend(expected..=self.last_seq);
        gaps
    }

    /// How many sequences between first and last have no message.
    pub(super) fn num_deleted(&self) -> u64 {
        if self.messages.is_empty() {
            return 0;
        }
        (self.last_seq + 1 - self.first_seq()) - self.messages.len() as u64
    }
}
