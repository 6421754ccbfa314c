//! Gives the packets of changing layers one continuous row of numbers.

use std::time::{Duration, Instant};

use super::Clocks;
use super::selector::extend_cut;
use crate::numbering::Numbering;
use crate::ring::Packet;
use crate::rtp::vp8::Patch;

/// Packets later than this are not forwarded any more.
const MAX_LATE: u64 = 512;
/// Beyond this the publisher's reports are not believed and the time that passed here counts.
const MAX_CLOCK_ERROR: Duration = Duration::from_millis(500);

/// New numbers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended sequence number: its upper part is the roll-over counter of SRTP.
    pub sequence: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Numbers of the picture, for VP8.
    pub vp8: Option<Patch>,
    /// Number of the frame, where a dependency descriptor is sent.
    pub frame_number: Option<u16>,
}

/// Rewrites sequence numbers, timestamps, VP8's picture numbers and the dependency descriptor's frame numbers.
///
/// What is left out of a stretch leaves no gap; what was lost on the way here does, so that it can be asked for.
#[derive(Debug)]
pub struct Munger {
    clock_rate: u32,
    first_sequence: u16,
    first_timestamp: u32,
    next_sequence: u64,
    /// The stretch of one source that is being sent; none before the first packet.
    stretch: Option<Stretch>,
    /// What was sent last.
    last: Option<Last>,
}

/// A stretch of packets of one layer without interruption.
#[derive(Debug)]
struct Stretch {
    /// First source number of the stretch and the number that it was sent under.
    source_start: u64,
    sequence_start: u64,
    timestamp_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
    frame_offset: u16,
    /// What was left out: packets, and pictures of VP8.
    packets: Numbering,
    pictures: Numbering,
    /// The highest picture of VP8 so far, counted without end.
    picture: Option<u64>,
}

impl Stretch {
    /// The number of a VP8 picture, counted without end.
    fn picture_of(&mut self, picture: u16, wide: bool) -> u64 {
        let number = extend_cut(self.picture, picture, if wide { 15 } else { 7 });
        self.picture = self.picture.max(Some(number));
        number
    }
}

#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    timestamp: u32,
    source_timestamp: u32,
    at: Instant,
    picture: u16,
    tl0: u8,
    frame: u16,
}

impl Munger {
    /// Numbers begin with these.
    pub fn new(first_sequence: u16, first_timestamp: u32, clock_rate: u32) -> Self {
        Self {
            clock_rate,
            first_sequence,
            first_timestamp,
            next_sequence: u64::from(first_sequence),
            stretch: None,
            last: None,
        }
    }

    /// Takes back the numbers after `last_left`, or all if there is none: nothing of them has left yet.
    pub fn rewind(&mut self, last_left: Option<u64>) {
        let next = last_left.map_or(u64::from(self.first_sequence), |last| last + 1);
        if next < self.next_sequence {
            self.next_sequence = next;
            self.stretch = None;
            if let Some(last) = &mut self.last {
                last.sequence = next.saturating_sub(1);
            }
        }
    }

    /// Whether that number is of the running stretch.
    pub fn is_of_stretch(&self, sequence: u64) -> bool {
        self.stretch.as_ref().is_some_and(|stretch| sequence >= stretch.sequence_start)
    }

    /// Begins a stretch with `packet`, which must be the start of a key frame.
    pub fn switch(&mut self, now: Instant, packet: &Packet, clocks: Clocks) -> bool {
        let timestamp = match self.last {
            None => self.first_timestamp,
            Some(last) => last.timestamp.wrapping_add(self.ticks_since(now, last, packet, clocks)),
        };
        let (picture, tl0) = packet.vp8().map_or((0, 0), |descriptor| {
            (descriptor.picture_id.map_or(0, |(id, _)| id), descriptor.tl0_index.unwrap_or(0))
        });
        let (next_picture, next_tl0) = self
            .last
            .map_or((picture, tl0), |last| (last.picture.wrapping_add(1) & 0x7fff, last.tl0.wrapping_add(1)));
        let frame = packet.dependency().map_or(0, |descriptor| descriptor.frame_number);
        let next_frame = self.last.map_or(frame, |last| last.frame.wrapping_add(1));
        self.stretch = Some(Stretch {
            source_start: packet.sequence,
            sequence_start: self.next_sequence,
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
            picture_offset: next_picture.wrapping_sub(picture),
            tl0_offset: next_tl0.wrapping_sub(tl0),
            frame_offset: next_frame.wrapping_sub(frame),
            packets: Numbering::default(),
            pictures: Numbering::default(),
            picture: None,
        });
        true
    }

    /// Ticks between what was sent last and `packet` of another stretch: by the publisher's clock where both
    /// layers have one, else by the time that passed here. At least one.
    fn ticks_since(&self, now: Instant, last: Last, packet: &Packet, clocks: Clocks) -> u32 {
        let rate = f64::from(self.clock_rate);
        let passed = now.saturating_duration_since(last.at).as_secs_f64();
        let by_clock = clocks.from.zip(clocks.to).map(|(from, to)| {
            let since = |rtp: u32, anchor: u32| f64::from(rtp.wrapping_sub(anchor).cast_signed()) / rate;
            // 2^-32 seconds.
            let between = (to.ntp.wrapping_sub(from.ntp).cast_signed() as f64) / 4_294_967_296.0;
            between + since(packet.timestamp, to.rtp) - since(last.source_timestamp, from.rtp)
        });
        let seconds = by_clock
            .filter(|seconds| (seconds - passed).abs() < MAX_CLOCK_ERROR.as_secs_f64())
            .unwrap_or(passed);
        ((seconds * rate).round().clamp(1.0, f64::from(u32::MAX / 2))) as u32
    }

    /// Leaves a packet of the running stretch out. `false` if one that came after it was sent before: then its number
    /// is missed already, and something must go out under it.
    pub fn leave_out(&mut self, packet: &Packet) -> bool {
        let Some(stretch) = &mut self.stretch else { return true };
        if packet.sequence < stretch.source_start {
            return true;
        }
        if let Some((picture, wide)) = packet.vp8().and_then(|descriptor| descriptor.picture_id) {
            let picture = stretch.picture_of(picture, wide);
            stretch.pictures.leave_out(picture);
        }
        stretch.packets.leave_out(packet.sequence)
    }

    /// New numbers for a packet of the running stretch. `None` for packets from before it, and for very late ones.
    pub fn rewrite(&mut self, now: Instant, packet: &Packet) -> Option<Rewritten> {
        let stretch = self.stretch.as_mut()?;
        packet.sequence.checked_sub(stretch.source_start)?;
        let ahead = stretch.packets.number(packet.sequence)?.checked_sub(stretch.source_start)?;
        let sequence = stretch.sequence_start + ahead;
        if sequence + MAX_LATE < self.next_sequence {
            return None;
        }
        let timestamp = packet.timestamp.wrapping_add(stretch.timestamp_offset);
        let vp8 = packet.vp8().map(|descriptor| {
            let picture = descriptor.picture_id.and_then(|(picture, wide)| {
                let picture = stretch.picture_of(picture, wide);
                stretch.pictures.number(picture)
            });
            Patch {
                picture_id: (picture.unwrap_or(0) as u16).wrapping_add(stretch.picture_offset) & 0x7fff,
                tl0_index: descriptor.tl0_index.unwrap_or(0).wrapping_add(stretch.tl0_offset),
            }
        });
        let frame_number =
            packet.dependency().map(|descriptor| descriptor.frame_number.wrapping_add(stretch.frame_offset));
        if sequence >= self.next_sequence {
            self.next_sequence = sequence + 1;
            let before = self.last.map_or((0, 0), |last| (last.picture, last.tl0));
            let (picture, tl0) = vp8.map_or(before, |patch| (patch.picture_id, patch.tl0_index));
            let frame = frame_number.unwrap_or_else(|| self.last.map_or(0, |last| last.frame));
            let source_timestamp = packet.timestamp;
            self.last = Some(Last { sequence, timestamp, source_timestamp, at: now, picture, tl0, frame });
        }
        Some(Rewritten { sequence, timestamp, vp8, frame_number })
    }

    /// A source timestamp as the subscriber would see it.
    pub fn timestamp_of(&self, source_timestamp: u32) -> u32 {
        self.stretch
            .as_ref()
            .map_or(source_timestamp, |stretch| source_timestamp.wrapping_add(stretch.timestamp_offset))
    }
}
