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
    /// The sound before, where every packet carries it again.
    before: Option<Option<Vec<u8>>>,
    /// How loud, in dB below the loudest: 0 to 127 (RFC 6464).
    pub level: u8,
}

impl Microphone {
    /// One that begins now and speaks loudly. `len`: bytes of payload, at least [`Sound::MIN_LEN`]; 80 are 32 kbit/s.
    pub fn new(now: Instant, len: usize) -> Self {
        Self { next: now, epoch: now, number: 0, len, before: None, level: 20 }
    }

    /// Every packet carries the sound before it again (RFC 2198), as Chromium does.
    pub fn with_redundancy(mut self) -> Self {
        self.before = Some(None);
        self
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
        let payload = sound.payload(self.len);
        let (codec, payload) = match &mut self.before {
            None => (Codec::Opus, payload),
            Some(before) => (Codec::Red, redundant(before.replace(payload.clone()).as_deref(), &payload)),
        };
        let packet = Packet {
            codec,
            sequence: 1_000 + u64::from(self.number),
            timestamp: 0x1234_5678_u32.wrapping_add(self.number.wrapping_mul(TICKS)),
            marker: false,
            level: Some(self.level),
            dependency: None,
            payload,
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

/// Blocks of RFC 2198 §3: what came before, and what is new.
fn redundant(before: Option<&[u8]>, new: &[u8]) -> Vec<u8> {
    let kind = Codec::Opus.payload_type();
    let mut bytes = Vec::with_capacity(5 + new.len() * 2);
    if let Some(before) = before {
        let offset_and_len = TICKS << 10 | before.len() as u32 & 0x3ff;
        bytes.push(0x80 | kind);
        bytes.extend_from_slice(&offset_and_len.to_be_bytes()[1..]);
    }
    bytes.push(kind);
    bytes.extend_from_slice(before.unwrap_or_default());
    bytes.extend_from_slice(new);
    bytes
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

    #[test]
    fn every_packet_may_carry_the_one_before() {
        let start = Instant::now();
        let mut microphone = Microphone::new(start, 80).with_redundancy();
        let mut next = || microphone.poll(start + Duration::from_secs(1)).expect("it is due");
        let (first, second) = (next(), next());
        let numbers =
            |packet: &Packet| Sound::parse_all(&packet.payload).map(|sound| sound.number).collect::<Vec<_>>();
        assert_eq!((numbers(&first), numbers(&second)), (vec![0], vec![0, 1]));
        assert_eq!((first.codec, second.payload.len()), (Codec::Red, 5 + 2 * 80));
        let primary = plenum_media::rtp::red::primary(&second.payload).expect("well-formed");
        assert_eq!(Sound::parse(primary).map(|sound| sound.number), Some(1));
    }
}
