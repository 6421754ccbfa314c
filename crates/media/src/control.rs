//! RTCP on its way out: packets become datagrams, as few as there may be.

use crate::sending::{Path, SendQueue};
use crate::srtp::SrtpSender;

/// A datagram is as long as this at most, if none of its packets is longer.
const DATAGRAM: usize = 1_200;

/// Packets for one destination, in one turn. What is not flushed is not sent.
pub(crate) struct Control<'a> {
    sender: &'a mut SrtpSender,
    path: Path,
    queue: &'a mut SendQueue,
    compound: Vec<u8>,
}

impl<'a> Control<'a> {
    /// Nothing to send yet.
    pub(crate) fn new(sender: &'a mut SrtpSender, path: Path, queue: &'a mut SendQueue) -> Self {
        Self { sender, path, queue, compound: Vec::new() }
    }

    /// Lets `write` append a packet.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.compound.len();
        write(&mut self.compound);
        if before > 0 && self.compound.len() > DATAGRAM {
            let next = self.compound.split_off(before);
            self.flush();
            self.compound = next;
        }
    }

    /// Protects and queues what there is.
    pub(crate) fn flush(&mut self) {
        if self.compound.is_empty() {
            return;
        }
        let Self { sender, path, queue, compound } = self;
        queue.write(*path, |bytes| {
            let start = bytes.len();
            bytes.append(compound);
            sender.protect_rtcp(bytes, start).ok()
        });
    }
}
