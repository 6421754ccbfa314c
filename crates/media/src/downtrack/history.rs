//! What was sent under which number, so that the same packet can be written again.

use std::time::{Duration, Instant};

use super::{Content, Outgoing, Rewritten};
use crate::ring::{Packet, StreamRing};
use crate::rtp::vp8::Patch;

/// A packet is repeated at most this often: on a link that loses every fifth, one of 300,000 stays missing …
const MAX_REPEATS: u8 = 7;
/// … and not again within this share of a round trip: before, its receiver cannot know that it was lost again.
const REPEAT_INTERVAL: f64 = 0.7;
/// Repetitions are dated in these units. Their count rolls over after four seconds, when nobody asks any more.
const UNIT: Duration = Duration::from_millis(16);

/// A packet that was sent: what cannot be derived from the packet that came in. There are hundreds for each track, so
/// that every byte counts.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Number in the ring of its layer, the lower half.
    source: u32,
    timestamp: u32,
    numbers: Numbers,
    layer: u8,
    shape: Shape,
    repeats: u8,
    /// When it was last repeated, in units after the first packet of the history.
    repeated: u8,
}

/// Numbers inside of packets that have some.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    None,
    Vp8 {
        picture: u16,
        tl0: u8,
    },
    Frame(u16),
    /// … and the decode targets that are named, as two halves, which need no alignment.
    Masked(u16, [u16; 2]),
}

/// The marker bit, and whether there is any content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Empty,
    Inner,
    Last,
}

impl Sent {
    /// `packet` of `layer` leaves as `outgoing`.
    pub fn new(packet: &Packet, layer: usize, outgoing: &Outgoing) -> Self {
        let numbers = match (outgoing.numbers.vp8, outgoing.numbers.frame_number, outgoing.mask) {
            (Some(Patch { picture_id, tl0_index }), ..) => {
                Numbers::Vp8 { picture: picture_id, tl0: tl0_index }
            }
            (None, None, _) => Numbers::None,
            (None, Some(frame), None) => Numbers::Frame(frame),
            (None, Some(frame), Some(mask)) => Numbers::Masked(frame, [(mask >> 16) as u16, mask as u16]),
        };
        Self {
            source: packet.sequence as u32,
            timestamp: outgoing.numbers.timestamp,
            numbers,
            layer: layer as u8,
            shape: match (outgoing.content, outgoing.marker) {
                (Content::Nothing, _) => Shape::Empty,
                (Content::Whole | Content::Primary, false) => Shape::Inner,
                (Content::Whole | Content::Primary, true) => Shape::Last,
            },
            repeats: 0,
            repeated: 0,
        }
    }

    /// Its layer.
    pub fn layer(&self) -> usize {
        usize::from(self.layer)
    }

    /// The packet as it came in, if the ring of its layer still has it.
    pub fn packet<'a>(&self, ring: &'a StreamRing) -> Option<&'a Packet> {
        ring.get_by_lower_half(self.source)
    }

    /// As it was sent under `sequence`; `payload_type` and `content` are those of the packet for this subscriber.
    pub fn outgoing(&self, sequence: u64, payload_type: u8, content: Content) -> Outgoing {
        let (vp8, frame_number, mask) = match self.numbers {
            Numbers::None => (None, None, None),
            Numbers::Vp8 { picture, tl0 } => {
                (Some(Patch { picture_id: picture, tl0_index: tl0 }), None, None)
            }
            Numbers::Frame(frame) => (None, Some(frame), None),
            Numbers::Masked(frame, [high, low]) => {
                (None, Some(frame), Some(u32::from(high) << 16 | u32::from(low)))
            }
        };
        Outgoing {
            numbers: Rewritten { sequence, timestamp: self.timestamp, vp8, frame_number },
            payload_type,
            marker: self.shape == Shape::Last,
            mask,
            content: if self.shape == Shape::Empty { Content::Nothing } else { content },
        }
    }
}

/// The latest packets of a stream, by number; takes no memory before the first one.
#[derive(Debug)]
pub struct History {
    capacity: usize,
    slots: Vec<Option<Sent>>,
    /// What has left, where the very same bytes may have to leave again.
    left: Vec<Option<Left>>,
    highest: u64,
    began: Option<Instant>,
}

/// A packet that has left, with the transport-wide number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The number, if it had one.
    pub transport: Option<u16>,
}

impl History {
    /// Room for `capacity` packets.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), slots: Vec::new(), left: Vec::new(), highest: 0, began: None }
    }

    /// Remembers the packet of that number in place of the one that is `capacity` older.
    pub fn insert(&mut self, now: Instant, sequence: u64, sent: Sent) {
        if self.slots.is_empty() {
            self.slots.resize(self.capacity, None);
            self.began = Some(now);
            self.highest = sequence;
        }
        if sequence + self.capacity as u64 <= self.highest {
            return;
        }
        // Numbers that are missing have no packet, least of all an older one's.
        let gap = sequence.saturating_sub(self.highest + 1).min(self.capacity as u64);
        for missing in sequence - gap..sequence {
            let at = self.at(missing);
            self.slots[at] = None;
        }
        self.highest = self.highest.max(sequence);
        let at = self.at(sequence);
        self.slots[at] = Some(sent);
        if let Some(left) = self.left.get_mut(at) {
            *left = None;
        }
    }

    /// The packet of that number.
    pub fn get(&self, sequence: u64) -> Option<Sent> {
        let is_kept = sequence <= self.highest && sequence + self.capacity as u64 > self.highest;
        self.slots.get(self.at(sequence)).copied().flatten().filter(|_| is_kept)
    }

    /// Forgets all packets.
    pub fn forget(&mut self) {
        self.slots.fill(None);
    }

    /// Forgets the packets after `last`.
    pub fn forget_after(&mut self, last: u64) {
        for number in last + 1..=self.highest {
            let at = self.at(number);
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = None;
            }
        }
        self.highest = self.highest.min(last);
    }

    /// The packet of that number has left.
    pub fn note_left(&mut self, sequence: u64, left: Left) {
        if self.left.is_empty() {
            self.left.resize(self.capacity, None);
        }
        let at = self.at(sequence);
        if self.get(sequence).is_some() {
            self.left[at] = Some(left);
        }
    }

    /// How the packet of that number has left, if it has.
    pub fn left(&self, sequence: u64) -> Option<Left> {
        self.get(sequence)?;
        self.left.get(self.at(sequence)).copied().flatten()
    }

    /// Counts a repetition of that packet. `false` if there were enough, or one less than a round trip ago.
    pub fn may_repeat(&mut self, now: Instant, sequence: u64, rtt: Duration) -> bool {
        let (at, Some(began)) = (self.at(sequence), self.began) else { return false };
        let Some(Some(sent)) = self.slots.get_mut(at) else { return false };
        let units = (now.saturating_duration_since(began).as_millis() / UNIT.as_millis()) as u8;
        let passed = UNIT * u32::from(units.wrapping_sub(sent.repeated));
        if sent.repeats >= MAX_REPEATS
            || (sent.repeats > 0 && passed < rtt.mul_f64(REPEAT_INTERVAL).max(UNIT))
        {
            return false;
        }
        sent.repeats += 1;
        sent.repeated = units;
        true
    }

    fn at(&self, sequence: u64) -> usize {
        (sequence % self.capacity as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::packet;

    fn sent(sequence: u64) -> Sent {
        let numbers = Rewritten { sequence, timestamp: sequence as u32, vp8: None, frame_number: Some(7) };
        let outgoing = Outgoing {
            numbers,
            payload_type: 1,
            marker: true,
            mask: Some(0x8001_0203),
            content: Content::Whole,
        };
        Sent::new(&packet(sequence, 0), 2, &outgoing)
    }

    #[test]
    fn a_packet_takes_twenty_bytes() {
        assert_eq!(size_of::<Option<Sent>>(), 20);
    }

    #[test]
    fn what_is_remembered_is_what_was_sent() {
        let now = Instant::now();
        let mut history = History::new(8);
        history.insert(now, 100, sent(100));
        assert_eq!(history.left(100), None, "it may still wait");
        history.note_left(100, Left { transport: Some(65_000) });
        history.insert(now, 101, sent(101));
        let again = history.get(100).expect("remembered");
        let outgoing = again.outgoing(100, 96, Content::Primary);
        assert_eq!((outgoing.numbers.timestamp, outgoing.numbers.frame_number), (100, Some(7)));
        assert_eq!((outgoing.mask, outgoing.marker), (Some(0x8001_0203), true));
        assert_eq!((again.layer(), outgoing.content), (2, Content::Primary));
        assert_eq!(history.left(100), Some(Left { transport: Some(65_000) }));
        history.insert(now, 108, sent(108));
        assert!(history.left(100).is_none() && history.left(101).is_none() && history.left(108).is_none());
    }

    #[test]
    fn a_missing_number_has_nobodys_packet() {
        let now = Instant::now();
        let mut history = History::new(8);
        (0..8).for_each(|number| history.insert(now, number, sent(number)));
        history.insert(now, 11, sent(11));
        assert!((8..11).all(|number| history.get(number).is_none()), "never sent");
        assert!((0..4).all(|number| history.get(number).is_none()), "too old");
        assert!([4, 5, 6, 7, 11].into_iter().all(|number| history.get(number).is_some()));
        history.insert(now, 9, sent(9));
        history.insert(now, 3, sent(3));
        assert!(history.get(9).is_some() && history.get(3).is_none() && history.get(12).is_none());
        history.forget_after(8);
        assert!(history.get(7).is_some() && history.get(9).is_none() && history.get(11).is_none());
        history.insert(now, 9, sent(9));
        assert!(history.get(7).is_some() && history.get(9).is_some() && history.get(11).is_none());
        history.insert(now, 1_000, sent(1_000));
        assert!((0..1_000).all(|number| history.get(number).is_none()));
    }

    #[test]
    fn repetitions_are_few_and_take_their_time() {
        let now = Instant::now();
        let mut history = History::new(8);
        history.insert(now, 1, sent(1));
        let at = |ms| now + Duration::from_millis(ms);
        let rtt = Duration::from_millis(140);
        assert!(history.may_repeat(at(5_000), 1, rtt) && !history.may_repeat(at(5_080), 1, rtt));
        assert!((1..7).all(|nth| history.may_repeat(at(5_000 + nth * 120), 1, rtt)));
        assert!(!history.may_repeat(at(6_500), 1, rtt), "often enough");
    }
}
