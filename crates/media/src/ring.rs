//! The latest packets of one stream, decrypted once and kept for everybody who forwards or repeats them.

use std::sync::Arc;

use crate::rtp::{dd, vp8, vp9};
use crate::sdp::Codec;

/// Packets kept of a video layer (as LiveKit: 500).
pub const VIDEO_PACKETS: usize = 512;
/// Packets kept of a sound track (as LiveKit: 200).
pub const AUDIO_PACKETS: usize = 256;

/// A packet of a published stream and what forwarding needs to know of it.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Sequence number with its roll-overs; counted by us, so that it never starts at zero and padding has none.
    pub sequence: u64,
    /// Timestamp in ticks of the codec.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// What the payload is.
    pub codec: Codec,
    /// First packet of a picture that needs no other; always true for sound.
    pub keyframe_start: bool,
    /// What it says about layers and about the frames that it needs.
    pub layering: Layering,
    /// Payload.
    pub payload: Arc<[u8]>,
}

/// How a packet tells which layers it belongs to.
#[derive(Debug, Clone)]
pub enum Layering {
    /// Not at all: every packet goes to everybody.
    None,
    /// By the descriptor of VP8.
    Vp8(vp8::Descriptor),
    /// By the descriptor of VP9.
    Vp9(vp9::Descriptor),
    /// By the dependency descriptor.
    Dependency(Box<dd::Descriptor>),
    /// By a dependency descriptor that cannot be read, with the number of its frame if there is one.
    Unreadable(Option<u16>),
}

impl Packet {
    /// The descriptor of VP8.
    pub fn vp8(&self) -> Option<&vp8::Descriptor> {
        match &self.layering {
            Layering::Vp8(descriptor) => Some(descriptor),
            _ => None,
        }
    }

    /// The dependency descriptor.
    pub fn dependency(&self) -> Option<&dd::Descriptor> {
        match &self.layering {
            Layering::Dependency(descriptor) => Some(descriptor),
            _ => None,
        }
    }
}

/// A fixed number of packets by sequence number, a power of two. Everything downstream names a packet by its number, so no
/// reference is counted per receiver.
#[derive(Debug)]
pub struct StreamRing {
    slots: Box<[Option<Packet>]>,
}

impl StreamRing {
    /// An empty ring of at least `capacity` packets.
    pub fn new(capacity: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(capacity.next_power_of_two()).collect() }
    }

    /// Keeps a packet in place of the one that is a whole ring older.
    pub fn push(&mut self, packet: Packet) -> &Packet {
        let at = self.at(packet.sequence);
        self.slots[at].insert(packet)
    }

    /// The packet of that number, if it is still here.
    pub fn get(&self, sequence: u64) -> Option<&Packet> {
        self.slots[self.at(sequence)].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// The packet whose number ends in these 32 bits, if it is still here.
    pub fn get_by_lower_half(&self, sequence: u32) -> Option<&Packet> {
        let slot = &self.slots[self.at(u64::from(sequence))];
        slot.as_ref().filter(|packet| packet.sequence as u32 == sequence)
    }

    fn at(&self, sequence: u64) -> usize {
        (sequence % self.slots.len() as u64) as usize
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn packet(sequence: u64, timestamp: u32) -> Packet {
        Packet {
            sequence,
            timestamp,
            marker: false,
            codec: Codec::Vp8,
            keyframe_start: false,
            layering: Layering::None,
            payload: Arc::from(&b"payload"[..]),
        }
    }

    #[test]
    fn a_ring_keeps_the_latest() {
        let mut ring = StreamRing::new(4);
        for sequence in 10..16 {
            ring.push(packet(sequence, 0));
        }
        assert!(ring.get(11).is_none());
        assert!((12..16).all(|sequence| ring.get(sequence).is_some_and(|p| p.sequence == sequence)));
        assert!(ring.get(16).is_none());
        ring.push(packet(0x7_0000_0002, 0));
        assert!(ring.get_by_lower_half(2).is_some_and(|packet| packet.sequence == 0x7_0000_0002));
        assert!(ring.get_by_lower_half(14).is_none() && ring.get_by_lower_half(15).is_some());
    }
}
