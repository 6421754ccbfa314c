//! What a receiver tells about what arrived: transport-wide feedback and receiver reports, in RTCP's bytes.

use std::time::{Duration, Instant};

use plenum_media::rtp::twcc;

/// Most packets that one feedback speaks of: about 1,200 bytes.
const MAX_STATUSES: usize = 500;
/// Packets that may arrive between two feedbacks; more are a flood, of which the rest is not told.
const MAX_ARRIVALS: usize = 8_192;

/// Arrivals of a connection since the last feedback.
#[derive(Debug)]
pub(crate) struct Arrivals {
    start: Instant,
    /// Highest number so far; `None` before the first packet.
    highest: Option<u64>,
    /// First number that no feedback has spoken of.
    base: u64,
    /// Extended number and time, in units of 250 µs since `start`.
    came: Vec<(u64, i64)>,
    count: u8,
}

impl Arrivals {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, highest: None, base: 0, came: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, now: Instant, number: u16) {
        let number = match self.highest {
            // From 2^16 on, so that what is older than the first has a number too.
            None => {
                self.base = 0x1_0000 + u64::from(number);
                self.base
            }
            Some(highest) => extend(highest, number),
        };
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        if number >= self.base && self.came.len() < MAX_ARRIVALS {
            let at = now.saturating_duration_since(self.start).as_micros() / 250;
            self.came.push((number, at as i64));
        }
    }

    /// Appends what is to be told, as compound packets of one part each, and forgets it.
    pub(crate) fn write(&mut self, sender: u32, media: u32, mut packet: impl FnMut(Vec<u8>)) {
        self.came.sort_unstable();
        self.came.dedup_by_key(|(number, _)| *number);
        let mut came = std::mem::take(&mut self.came);
        let mut rest = came.as_slice();
        while let Some((last, _)) = rest.last() {
            // Whatever a stranger's numbers do, gaps are told in bounded pieces; one that is wider is left out.
            let first = rest.first().map_or(self.base, |(first, _)| *first);
            if first - self.base >= MAX_STATUSES as u64 {
                self.base = first;
            }
            let end = (last + 1).min(self.base + MAX_STATUSES as u64);
            let split = rest.partition_point(|(number, _)| *number < end);
            let mut statuses = vec![None; (end - self.base) as usize];
            for (number, at) in &rest[..split] {
                statuses[(number - self.base) as usize] = Some(*at);
            }
            let mut bytes = header(15, 205, sender, media);
            twcc::write(&mut bytes, self.base as u16, &statuses, self.count);
            finish(&mut bytes);
            packet(bytes);
            self.count = self.count.wrapping_add(1);
            self.base = end;
            rest = &rest[split..];
        }
        came.clear();
        self.came = came;
    }
}

/// What a receiver report says of a stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) ssrc: u32,
    /// Of the packets since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    /// Middle of the last sender report's NTP time, and how long ago it came.
    pub(crate) last: Option<(u32, Duration)>,
}

/// A receiver report of at most 31 streams.
pub(crate) fn receiver_report(sender: u32, blocks: &[Block]) -> Vec<u8> {
    let blocks = &blocks[..blocks.len().min(31)];
    let mut bytes = vec![0x80 | blocks.len() as u8, 201, 0, 0];
    bytes.extend_from_slice(&sender.to_be_bytes());
    for block in blocks {
        bytes.extend_from_slice(&block.ssrc.to_be_bytes());
        let lost = u32::from(block.fraction_lost) << 24 | block.lost.min(0x7f_ffff);
        bytes.extend_from_slice(&lost.to_be_bytes());
        bytes.extend_from_slice(&block.highest.to_be_bytes());
        // Jitter, which is not measured: nobody who counts plays anything.
        bytes.extend_from_slice(&0u32.to_be_bytes());
        let (last, ago) = block.last.unwrap_or_default();
        bytes.extend_from_slice(&last.to_be_bytes());
        bytes.extend_from_slice(&((ago.as_secs_f64() * 65_536.0) as u32).to_be_bytes());
    }
    finish(&mut bytes);
    bytes
}

/// A request for a key frame (RFC 4585 §6.3.1).
pub(crate) fn picture_loss(sender: u32, media: u32) -> Vec<u8> {
    let mut bytes = header(1, 206, sender, media);
    finish(&mut bytes);
    bytes
}

/// The extended number that is nearest.
pub(crate) fn extend(highest: u64, number: u16) -> u64 {
    let step = number.wrapping_sub(highest as u16).cast_signed();
    highest.saturating_add_signed(step.into())
}

fn header(format: u8, kind: u8, sender: u32, media: u32) -> Vec<u8> {
    let mut bytes = vec![0x80 | format, kind, 0, 0];
    bytes.extend_from_slice(&sender.to_be_bytes());
    bytes.extend_from_slice(&media.to_be_bytes());
    bytes
}

/// Pads to whole words and writes the length.
fn finish(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let words = (bytes.len() / 4 - 1) as u16;
    bytes[2..4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use plenum_media::rtp::rtcp::{self, Feedback};

    use super::*;

    /// What the feedback says: number and whether it came.
    fn told(arrivals: &mut Arrivals) -> Vec<(u16, bool)> {
        let mut told = Vec::new();
        arrivals.write(1, 2, |bytes| {
            assert!(bytes.len() < 1_300);
            let all: Vec<Feedback<'_>> = rtcp::parse(&bytes).collect();
            let [Feedback::Arrivals(feedback)] = all.as_slice() else { panic!("{all:?}") };
            told.extend(feedback.iter().map(|packet| (packet.sequence, packet.arrival.is_some())));
        });
        told
    }

    #[test]
    fn every_number_is_told_once_whether_it_came_or_not() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        for (nth, number) in [65_534u16, 65_535, 1, 0, 4].into_iter().enumerate() {
            arrivals.push(start + Duration::from_millis(nth as u64), number);
        }
        let expected =
            [(65_534, true), (65_535, true), (0, true), (1, true), (2, false), (3, false), (4, true)];
        assert_eq!(told(&mut arrivals), expected);
        assert_eq!(told(&mut arrivals), []);
        // What comes late was told to be missing; the next begins after it.
        arrivals.push(start, 3);
        assert_eq!(told(&mut arrivals), []);
        arrivals.push(start, 6);
        assert_eq!(told(&mut arrivals), [(5, false), (6, true)]);
    }

    #[test]
    fn many_packets_and_wide_gaps_take_several() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        (0..1_200).for_each(|number| arrivals.push(start, number));
        assert_eq!(told(&mut arrivals), (0..1_200).map(|number| (number, true)).collect::<Vec<_>>());
        arrivals.push(start, 20_000);
        assert_eq!(told(&mut arrivals), [(20_000, true)]);
    }

    #[test]
    fn a_report_is_read_by_servers() {
        let block = Block {
            ssrc: 9,
            fraction_lost: 64,
            lost: 3,
            highest: 77,
            last: Some((0x1234, Duration::from_millis(500))),
        };
        let report = receiver_report(1, &[block]);
        let all: Vec<_> = rtcp::parse(&report).collect();
        let [Feedback::Report(read)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((read.ssrc, read.fraction_lost, read.last_sr, read.delay), (9, 64, 0x1234, 32_768));
        assert_eq!(receiver_report(1, &[block; 40]).len(), 8 + 31 * 24);
        let request = picture_loss(1, 9);
        assert_eq!(rtcp::parse(&request).next(), Some(Feedback::KeyframeRequest { ssrc: 9 }));
    }
}
