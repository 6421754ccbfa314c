//! A microphone without sound: packets that every server takes for Opus.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_media::sdp::Codec;

use crate::stamp::Sound;
use crate::track::Packet;

/// Time between packets.
const INTERVAL: Duration = Duration::from_millis(20);
/// Ticks of 48 kHz in it.
const TICKS: u32 = 960;

/// A microphone.
#[derive(Debug)]
pub struct Microphone {
    next: Instant,
    epoch: Instant,
    number: u32,
    len: usize,
    /// How loud, in dB below the loudest: 0 to 127 (RFC 6464).
    pub level: u8,
}

impl Microphone {
    /// One that begins now and speaks loudly. `len`: bytes of payload, at least [`Sound::MIN_LEN`]; 80 are 32 kbit/s.
    pub fn new(now: Instant, len: usize) -> Self {
        Self { next: now, epoch: now, number: 0, len, level: 20 }
    }

    /// [`Sound::sent`] counts from this moment.
    pub fn with_epoch(mut self, epoch: Instant) -> Self {
        self.epoch = epoch;
        self
    }

    /// What announces it.
    pub fn request(&self) -> proto::AddTrackRequest {
        proto::AddTrackRequest {
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            ..Default::default()
        }
    }

    /// When the next packet is due.
    pub fn next_timeout(&self) -> Instant {
        self.next
    }

    /// The next packet that is due. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        if now < self.next {
            return None;
        }
        let sound = Sound { number: self.number, sent: now.saturating_duration_since(self.epoch) };
        let packet = Packet {
            codec: Codec::Opus,
            sequence: 1_000 + u64::from(self.number),
            timestamp: 0x1234_5678_u32.wrapping_add(self.number.wrapping_mul(TICKS)),
            marker: false,
            level: Some(self.level),
            dependency: None,
            payload: sound.payload(self.len),
        };
        self.number = self.number.wrapping_add(1);
        self.next += INTERVAL;
        Some(packet)
    }

    /// Leaves out what was due before, as after a pause in which nothing could be sent.
    pub fn skip_to(&mut self, now: Instant) {
        self.next = self.next.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_packets_a_second() {
        let start = Instant::now();
        let mut microphone = Microphone::new(start, 80);
        let packets: Vec<Packet> =
            std::iter::from_fn(|| microphone.poll(start + Duration::from_millis(999))).collect();
        assert_eq!(packets.len(), 50);
        let numbers: Vec<u32> =
            packets.iter().map(|packet| Sound::parse(&packet.payload).expect("sound").number).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        assert!(packets.windows(2).all(|pair| pair[1].timestamp - pair[0].timestamp == 960));
    }
}
