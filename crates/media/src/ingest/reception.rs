//! How one stream of a publisher arrives: what is missing of it, and what its reports say (RFC 3550 §6.4).

use std::time::{Duration, Instant};

use super::missing::Missing;
use super::source::LARGEST_GAP;
use crate::rtp::rtcp::{self, Report, SenderReport};
use crate::rtp::{Incoming, extend};
use crate::sdp::MediaKind;

/// Packets before the first that came: they are taken if they only were overtaken. A picture that begins the stream is of
/// no use without its first packet.
const BEFORE: u64 = 16;

/// How much of what packets come late is forgotten in a second: a queue grows faster than clocks differ, and those who send
/// by sleeping are slower than their own clock.
const FORGOTTEN: f64 = 0.02;
/// A clock that stood still or jumped for longer says nothing of a queue.
const CLOCK_BREAK: f64 = 2.0;

/// The loss of fewer packets than this says nothing.
const FEWEST_RATED: u64 = 20;

/// Counts of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    /// Packets that should have come, by their numbers.
    expected: u64,
    /// Packets that came by themselves.
    came: u64,
}

impl Counted {
    /// How many packets are missing of how many that should have come since `before`.
    fn since(self, before: Self) -> (u64, u64) {
        let due = self.expected - before.expected;
        (due.saturating_sub(self.came - before.came), due)
    }
}

/// One stream.
#[derive(Debug)]
pub(super) struct Reception {
    first: u64,
    highest: u64,
    came: u64,
    /// What the publisher was told last.
    reported: Counted,
    /// What was there when quality was looked at last.
    rated: Counted,
    /// In seconds.
    jitter: f64,
    /// How much later than the quickest the last picture came, in seconds.
    late: f64,
    clock_rate: u32,
    /// Arrival and timestamp of the last packet that was new.
    last: (Instant, u32),
    sender_report: Option<(u32, Instant)>,
    pub(super) missing: Missing,
}

impl Reception {
    /// The first packet came, under this number.
    pub(super) fn new(now: Instant, kind: MediaKind, index: u64, timestamp: u32) -> Self {
        let mut missing = Missing::new(kind);
        missing.add(now, index.saturating_sub(BEFORE)..index, false);
        Self {
            first: index,
            highest: index,
            came: 1,
            reported: Counted::default(),
            rated: Counted::default(),
            jitter: 0.0,
            late: 0.0,
            clock_rate: 90_000,
            last: (now, timestamp),
            sender_report: None,
            missing,
        }
    }

    /// A packet came that is not the first. Returns whether it is new and of use.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        index: u64,
        header: &Incoming<'_>,
        clock_rate: u32,
    ) -> bool {
        if index <= self.highest {
            let is_missing = self.missing.take(now, index).is_some();
            self.came += u64::from(is_missing && index > self.first);
            return is_missing;
        }
        // More than that are not asked for one by one: the source asks for a key frame.
        let ask = index - self.highest <= LARGEST_GAP;
        if !ask {
            self.missing.give_up();
        }
        self.missing.add(now, self.highest + 1..index, ask);
        self.highest = index;
        self.came += 1;
        self.clock_rate = clock_rate;
        self.note_jitter(now, header.timestamp);
        true
    }

    /// A packet was repeated in another stream. Its whole number, if it was missing, and what passed since it was asked
    /// for.
    pub(super) fn repaired(&mut self, now: Instant, number: u16) -> Option<(u64, Option<Duration>)> {
        let index = extend(self.highest, number);
        let found = self.missing.take(now, index)?;
        Some((index, found.after))
    }

    /// A new packet came: jitter by RFC 3550 §A.8, and what of the differences does not even out.
    fn note_jitter(&mut self, now: Instant, timestamp: u32) {
        let (at, before) = std::mem::replace(&mut self.last, (now, timestamp));
        let ticks = timestamp.wrapping_sub(before).cast_signed();
        // The packets of one picture leave one after the other, whatever their timestamp says.
        if ticks != 0 {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            let due = f64::from(ticks) / f64::from(self.clock_rate);
            let later = passed - due;
            self.jitter += (later.abs() - self.jitter) / 16.0;
            let is_break = later.abs() > CLOCK_BREAK;
            self.late = if is_break { 0.0 } else { (self.late + later - passed * FORGOTTEN).max(0.0) };
        }
    }

    /// How much later than the quickest the last picture or piece of sound came.
    pub(super) fn late(&self) -> Duration {
        Duration::try_from_secs_f64(self.late).unwrap_or(Duration::MAX)
    }

    /// The publisher's clock was told.
    pub(super) fn sender_reported(&mut self, now: Instant, report: &SenderReport) {
        self.sender_report = Some((report.middle(), now));
    }

    fn counted(&self) -> Counted {
        Counted { expected: self.highest - self.first + 1, came: self.came }
    }

    /// Share of packets that were lost since the last look, from 0 to 1, and how unevenly they came. `None` if they were
    /// too few to tell.
    pub(super) fn take_quality(&mut self) -> Option<(f32, Duration)> {
        let counted = self.counted();
        let (missing, due) = counted.since(std::mem::replace(&mut self.rated, counted));
        (due >= FEWEST_RATED).then(|| (missing as f32 / due as f32, Duration::from_secs_f64(self.jitter)))
    }

    /// What the publisher is told about stream `ssrc` now.
    pub(super) fn report(&mut self, now: Instant, ssrc: u32) -> Report {
        let counted = self.counted();
        let (missing, due) = counted.since(std::mem::replace(&mut self.reported, counted));
        let (last_sr, at) = self.sender_report.unwrap_or((0, now));
        Report {
            ssrc,
            fraction_lost: rtcp::fraction_lost(missing, due),
            lost: u32::try_from(counted.expected.saturating_sub(counted.came)).unwrap_or(u32::MAX),
            highest: self.highest as u32,
            jitter: (self.jitter * f64::from(self.clock_rate)) as u32,
            last_sr,
            delay: rtcp::delay(now.saturating_duration_since(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(timestamp: u32) -> [u8; 12] {
        let mut bytes = [0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 77];
        bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
        bytes
    }

    fn accept(reception: &mut Reception, now: Instant, index: u64, timestamp: u32) -> bool {
        let bytes = header(timestamp);
        let header = Incoming::parse(&bytes).expect("well-formed");
        reception.accept(now, index, &header, 90_000)
    }

    #[test]
    fn packets_are_taken_once_in_whatever_order() {
        let now = Instant::now();
        let mut reception = Reception::new(now, MediaKind::Video, 100, 0);
        assert!(accept(&mut reception, now, 99, 0), "overtaken by the first");
        assert!(!accept(&mut reception, now, 99, 0) && !accept(&mut reception, now, 100, 0));
        assert!(accept(&mut reception, now, 104, 0) && accept(&mut reception, now, 102, 0));
        assert!(!accept(&mut reception, now, 102, 0));
        assert_eq!(reception.repaired(now, 103), Some((103, None)));
        assert_eq!(reception.repaired(now, 103), None);
        assert!(!accept(&mut reception, now, 103, 0), "it was repaired before");
        assert!(!accept(&mut reception, now, 50, 0), "too late");
    }

    #[test]
    fn a_gap_too_large_is_not_asked_for() {
        let now = Instant::now();
        let mut reception = Reception::new(now, MediaKind::Video, 100, 0);
        accept(&mut reception, now, 102, 0);
        assert!(reception.missing.next().is_some());
        accept(&mut reception, now, 103 + LARGEST_GAP, 0);
        assert!(reception.missing.next().is_none(), "nor what was missing before");
        assert!(accept(&mut reception, now, 101, 0));
    }

    #[test]
    fn reports_say_what_was_lost_since_the_last() {
        let start = Instant::now();
        let mut reception = Reception::new(start, MediaKind::Video, 0xfffe, 0);
        for index in [0xffff, 0x1_0001, 0x1_0003] {
            accept(&mut reception, start, index, 0);
        }
        let sent = SenderReport { ssrc: 7, ntp: 0x1122_3344_5566_7788, rtp: 0, packets: 0, octets: 0 };
        reception.sender_reported(start, &sent);
        let first = reception.report(start + Duration::from_millis(500), 7);
        assert_eq!((first.ssrc, first.fraction_lost, first.lost, first.highest), (7, 85, 2, 0x1_0003));
        assert_eq!((first.last_sr, first.delay), (0x3344_5566, 32_768));
        accept(&mut reception, start, 0x1_0004, 0);
        accept(&mut reception, start, 0x1_0002, 0);
        let second = reception.report(start, 7);
        assert_eq!((second.fraction_lost, second.lost), (0, 1), "one came late");
        assert_eq!(reception.take_quality(), None, "too few");
        (0x1_0005..0x1_0025).for_each(|index| _ = accept(&mut reception, start, index + index % 2, 0));
        let (loss, _) = reception.take_quality().expect("enough");
        assert!((0.4..=0.5).contains(&loss), "{loss}");
        assert_eq!(reception.take_quality(), None, "since then nothing");
    }

    #[test]
    fn jitter_is_what_packets_come_unevenly() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut even = Reception::new(start, MediaKind::Video, 0, 0);
        let mut uneven = Reception::new(start, MediaKind::Video, 0, 0);
        for nth in 1..200u32 {
            let (index, timestamp) = (u64::from(nth), nth * 900);
            accept(&mut even, at(10 * index), index, timestamp);
            accept(&mut uneven, at(10 * index + 5 * (index % 2)), index, timestamp);
        }
        assert!(even.report(start, 7).jitter < 2);
        // Five milliseconds.
        assert!((400..=450).contains(&uneven.report(start, 7).jitter), "{}", uneven.jitter);
        let (_, jitter) = uneven.take_quality().expect("enough");
        assert!(jitter > Duration::from_millis(4));
    }
}
