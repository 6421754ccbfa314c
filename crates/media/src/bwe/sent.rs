//! What was sent under which transport-wide number, until the receiver says what became of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::twcc::TransportFeedback;

/// Packets that are remembered at most; at 10 Mbit/s about three seconds …
const REMEMBERED: usize = 4_096;
/// … and no longer than this: feedback comes every 100 ms, a whole queue later.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);

/// A packet that was sent. There may be thousands for each connection, so that every byte counts.
#[derive(Debug, Clone, Copy)]
struct Record {
    sent: Instant,
    size: u16,
    fate: Fate,
    probe: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lost,
    Arrived,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketResult {
    /// When it was sent.
    pub(super) sent: Instant,
    /// Its length in bytes.
    pub(super) size: u32,
    /// The probe that it belongs to.
    pub(super) probe: Option<u8>,
    /// When it arrived, on the receiver's clock, whose zero means nothing.
    pub(super) arrived: Option<Duration>,
    /// It had been taken for lost before.
    pub(super) was_lost: bool,
}

/// The packets of a connection. Takes as much memory as was in flight at most.
#[derive(Debug, Default)]
pub(super) struct SentPackets {
    /// Number of the next packet; the last record is of the one before.
    next: u64,
    records: VecDeque<Record>,
    /// Receiver's clock of the last feedback in units of 64 ms, with its roll-overs.
    reference: Option<i64>,
}

impl SentPackets {
    /// The number of the packet that is pushed next.
    pub(super) fn next_number(&self) -> u16 {
        self.next as u16
    }

    /// Remembers a packet and gives it its number.
    pub(super) fn push(&mut self, sent: Instant, size: u32, probe: Option<u8>) -> u16 {
        let is_old = |record: &Record| sent.saturating_duration_since(record.sent) > REMEMBERED_FOR;
        while self.records.len() >= REMEMBERED || self.records.front().is_some_and(is_old) {
            self.records.pop_front();
        }
        let number = self.next_number();
        self.next += 1;
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        self.records.push_back(Record { sent, size, fate: Fate::Unknown, probe });
        number
    }

    /// What becomes of that packet is of no interest any more.
    pub(super) fn settle(&mut self, number: u16) {
        if let Some(record) = self.record(number) {
            record.fate = Fate::Arrived;
        }
    }

    /// Appends what `feedback` says of packets that are still remembered, in the order of their numbers.
    pub(super) fn results(&mut self, feedback: &TransportFeedback<'_>, results: &mut Vec<PacketResult>) {
        let reference = self.unroll(feedback.reference);
        for status in feedback.iter() {
            let Some(record) = self.record(status.sequence) else { continue };
            let arrived = status.arrival.map(|ticks| {
                // Half the range of the clock is added, so that no time is negative.
                let ticks = (1i64 << 40) + reference * 256 + i64::from(ticks);
                Duration::from_micros(ticks.max(0) as u64 * 250)
            });
            let fate = if arrived.is_some() { Fate::Arrived } else { Fate::Lost };
            // What has arrived cannot be lost later, and nothing counts twice.
            if record.fate == Fate::Arrived || record.fate == fate {
                continue;
            }
            let was_lost = record.fate == Fate::Lost;
            record.fate = fate;
            let Record { sent, size, probe, .. } = *record;
            results.push(PacketResult { sent, size: u32::from(size), probe, arrived, was_lost });
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.records.len() <= REMEMBERED
    }

    fn record(&mut self, sequence: u16) -> Option<&mut Record> {
        let behind = usize::from(self.next_number().wrapping_sub(1).wrapping_sub(sequence));
        let at = self.records.len().checked_sub(1)?.checked_sub(behind)?;
        self.records.get_mut(at)
    }

    fn unroll(&mut self, reference: u32) -> i64 {
        let before = self.reference.unwrap_or(i64::from(reference));
        // The nearest moment with these 24 bits.
        let ahead = i64::from(((reference.wrapping_sub(before as u32)) << 8).cast_signed() >> 8);
        let now = (before + ahead).clamp(-(1 << 30), 1 << 30);
        self.reference = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::twcc;

    fn feed(sent: &mut SentPackets, base: u16, arrivals: &[Option<i64>]) -> Vec<PacketResult> {
        let mut body = Vec::new();
        twcc::write(&mut body, base, arrivals, 0);
        let mut results = Vec::new();
        sent.results(&TransportFeedback::parse(&body).expect("own"), &mut results);
        results
    }

    #[test]
    fn each_packet_has_one_fate_and_a_late_one_is_found() {
        let now = Instant::now();
        let mut sent = SentPackets::default();
        (0..4).for_each(|i| assert_eq!(sent.push(now, 100 + u32::from(i), None), i));
        let first = feed(&mut sent, 0, &[Some(10), None, Some(12)]);
        assert_eq!(first.iter().map(|p| p.arrived.is_some()).collect::<Vec<_>>(), [true, false, true]);
        let second = feed(&mut sent, 0, &[None, Some(20), Some(12), Some(13)]);
        assert_eq!(
            second.iter().map(|p| (p.size, p.was_lost)).collect::<Vec<_>>(),
            [(101, true), (103, false)]
        );
        assert!(feed(&mut sent, 7, &[Some(1)]).is_empty(), "never sent");
    }

    #[test]
    fn memory_is_as_large_as_what_is_in_flight() {
        assert!(size_of::<Record>() <= 24);
        let now = Instant::now();
        let mut sent = SentPackets::default();
        // Fifty packets a second, as of sound.
        (0..10_000u32).for_each(|i| _ = sent.push(now + Duration::from_millis(20) * i, 100, None));
        assert!(sent.records.len() <= 101, "{}", sent.records.len());
        let last = now + Duration::from_millis(20) * 9_999;
        (0..100_000).for_each(|_| _ = sent.push(last, 100, None));
        assert_eq!(sent.records.len(), REMEMBERED);
        sent.settle(sent.next_number().wrapping_sub(2));
        let base = sent.next_number().wrapping_sub(3);
        let told = feed(&mut sent, base, &[Some(1), Some(2), Some(3)]);
        assert_eq!(told.len(), 2, "one of them was sent twice");
    }

    #[test]
    fn clock_and_numbers_roll_over() {
        let now = Instant::now();
        let mut sent = SentPackets::default();
        (0..65_536).for_each(|_| _ = sent.push(now, 1, None));
        sent.push(now, 1, None);
        let wrap = (1i64 << 24) * 256;
        let last = feed(&mut sent, 65_535, &[Some(wrap - 10)])[0].arrived.expect("arrived");
        let next = feed(&mut sent, 0, &[Some(wrap + 10)])[0].arrived.expect("arrived");
        assert_eq!(next - last, Duration::from_millis(5));
    }
}
