//! What a subscriber's connection carries.

use std::time::Instant;

use crate::bwe::{Bitrate, Bwe};
use crate::rtp::twcc::TransportFeedback;

/// Bytes around a datagram: IPv4 and UDP.
const OVERHEAD: u32 = 28;

/// Congestion control of one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    bwe: Bwe,
}

impl Link {
    /// The transport-wide number of the packet that leaves next.
    pub(super) fn next_number(&self) -> u16 {
        self.bwe.next_number()
    }

    /// A datagram of `len` bytes has left, with the next number if it was `numbered`.
    pub(super) fn left(&mut self, now: Instant, len: usize, numbered: bool) {
        if numbered {
            self.bwe.packet_sent(now, len as u32 + OVERHEAD, None);
        }
    }

    /// A datagram has left again, unchanged.
    pub(super) fn left_again(&mut self, number: Option<u16>) {
        if let Some(number) = number {
            self.bwe.packet_repeated(number);
        }
    }

    /// The subscriber tells which packets came when.
    pub(super) fn handle_arrivals(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        self.bwe.handle_feedback(now, feedback);
    }

    /// The subscriber tells what it believes that the connection carries.
    pub(super) fn handle_bandwidth(&mut self, rate: Bitrate) {
        self.bwe.handle_remb(rate);
    }
}
