//! What was sent under which number, so that it can be sent again.

use std::time::Instant;

use super::Outgoing;

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Number in the ring of its layer.
    pub source_sequence: u64,
    /// Layer.
    pub layer: u8,
    /// How often it was repeated.
    pub repeats: u8,
    /// When it was last repeated.
    pub last_repeat: Option<Instant>,
    /// As it was sent, with the number that the subscriber saw.
    pub outgoing: Outgoing,
}

/// The latest packets of a stream, by number; grows with the first packets, so that an idle one costs nothing.
#[derive(Debug)]
pub struct History {
    capacity: usize,
    slots: Vec<Option<Sent>>,
}

impl History {
    /// Room for `capacity` packets.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), slots: Vec::new() }
    }

    /// Remembers a packet in place of the one that is `capacity` older.
    pub fn insert(&mut self, sent: Sent) {
        if self.slots.is_empty() {
            self.slots.resize(self.capacity, None);
        }
        let at = (sent.outgoing.numbers.sequence % self.capacity as u64) as usize;
        self.slots[at] = Some(sent);
    }

    /// The packet of that number.
    pub fn get_mut(&mut self, sequence: u64) -> Option<&mut Sent> {
        let at = (sequence % self.capacity as u64) as usize;
        self.slots.get_mut(at)?.as_mut().filter(|sent| sent.outgoing.numbers.sequence == sequence)
    }
}
