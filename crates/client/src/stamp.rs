//! What generated packets carry, so that a receiver knows which one it is, whether it is whole, and when it was sent.

use std::time::Duration;

/// Begins what we write into a payload.
const MARK: [u8; 2] = *b"Pm";
/// Fills the rest of a payload; a damaged byte shows.
const FILL: u8 = 0x55;
/// The VP8 payload descriptor that cameras write: X, I, L and T (RFC 7741 §4.2).
const DESCRIPTOR_LEN: usize = 6;
/// Frame header of a key frame with its size, and of another frame (RFC 6386 §9.1).
const KEY_HEADER_LEN: usize = 10;
const DELTA_HEADER_LEN: usize = 3;
/// Table of contents of an Opus packet: one frame of 20 ms, hybrid mode, fullband, mono (RFC 6716 §3.1).
const OPUS_TOC: u8 = 15 << 3;

/// A packet of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Number in the VP8 descriptor, 15 bits; servers change it.
    pub id: u16,
    /// Number of the last picture of temporal layer 0; servers change it.
    pub tl0: u8,
    /// Of a picture that needs no other.
    pub key: bool,
    /// Simulcast layer of the camera, lowest first.
    pub layer: u8,
    /// The camera's own count of pictures.
    pub number: u32,
    /// Which packet of the picture.
    pub part: u8,
    /// Packets of the picture; the last one carries the marker.
    pub parts: u8,
    /// When it was sent, since a moment that the caller has chosen.
    pub sent: Duration,
}

impl Picture {
    /// Shortest payload that holds one.
    pub const MIN_LEN: usize = DESCRIPTOR_LEN + KEY_HEADER_LEN + 18;

    /// A VP8 payload of `len` bytes, at least [`Picture::MIN_LEN`]. `size` are width and height, which key frames say.
    pub fn payload(&self, len: usize, size: (u16, u16)) -> Vec<u8> {
        let starts = self.part == 0;
        let [high, low] = (self.id | 0x8000).to_be_bytes();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&[if starts { 0x90 } else { 0x80 }, 0xe0, high, low, self.tl0, 0]);
        if starts {
            // Shown, version 0; the length of the first partition is not true, but nobody decodes it.
            bytes.extend_from_slice(&[0x10 | u8::from(!self.key), 0x02, 0]);
            if self.key {
                let ([w1, w2], [h1, h2]) = (size.0.to_le_bytes(), size.1.to_le_bytes());
                bytes.extend_from_slice(&[0x9d, 0x01, 0x2a, w1, w2, h1, h2]);
            }
        }
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&[self.layer, u8::from(self.key)]);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&[self.part, self.parts]);
        bytes.extend_from_slice(&nanos(self.sent));
        bytes.resize(len.max(Self::MIN_LEN), FILL);
        bytes
    }

    /// Reads it back; `None` for what is something else, or was damaged on the way.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, 0xe0, high, low, tl0, _, rest @ ..] = bytes else { return None };
        let rest = match (first & 0x10 != 0, rest.first()? & 1) {
            (false, _) => rest,
            (true, 0) => rest.get(KEY_HEADER_LEN..)?,
            (true, _) => rest.get(DELTA_HEADER_LEN..)?,
        };
        let [m1, m2, layer, key, n1, n2, n3, n4, part, parts, rest @ ..] = rest else { return None };
        let (sent, rest) = rest.split_first_chunk()?;
        let whole = [*m1, *m2] == MARK && rest.iter().all(|byte| *byte == FILL);
        whole.then_some(Self {
            id: u16::from_be_bytes([high & 0x7f, *low]),
            tl0: *tl0,
            key: *key == 1,
            layer: *layer,
            number: u32::from_be_bytes([*n1, *n2, *n3, *n4]),
            part: *part,
            parts: *parts,
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }
}

/// A packet of a microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// The microphone's own count.
    pub number: u32,
    /// When it was sent, since a moment that the caller has chosen.
    pub sent: Duration,
}

impl Sound {
    /// Shortest payload that holds one.
    pub const MIN_LEN: usize = 15;

    /// An Opus payload of `len` bytes, at least [`Sound::MIN_LEN`].
    pub fn payload(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        bytes.push(OPUS_TOC);
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&nanos(self.sent));
        bytes.resize(len.max(Self::MIN_LEN), FILL);
        bytes
    }

    /// Reads all that a payload carries, of Opus alone or with what came before (RFC 2198), the newest last.
    pub fn parse_all(payload: &[u8]) -> impl Iterator<Item = Self> {
        let alone = Self::parse(payload);
        let blocks = if alone.is_some() { Vec::new() } else { red_blocks(payload) };
        alone.into_iter().chain(blocks.into_iter().filter_map(Self::parse))
    }

    /// Reads it back; `None` for what is something else, or was damaged on the way.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [OPUS_TOC, m1, m2, n1, n2, n3, n4, rest @ ..] = bytes else { return None };
        let (sent, rest) = rest.split_first_chunk()?;
        let whole = [*m1, *m2] == MARK && rest.iter().all(|byte| *byte == FILL);
        whole.then_some(Self {
            number: u32::from_be_bytes([*n1, *n2, *n3, *n4]),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }
}

/// The blocks of a payload of redundant audio (RFC 2198 §3); nothing of one that is not well-formed.
fn red_blocks(payload: &[u8]) -> Vec<&[u8]> {
    let (mut lens, mut rest) = (Vec::new(), payload);
    while let [first, _, high, low, more @ ..] = rest
        && first & 0x80 != 0
    {
        lens.push(usize::from(u16::from_be_bytes([high & 3, *low])));
        rest = more;
    }
    let mut rest = rest.get(1..).unwrap_or_default();
    let mut blocks = Vec::new();
    for len in lens {
        let Some((block, more)) = rest.split_at_checked(len) else { return Vec::new() };
        blocks.push(block);
        rest = more;
    }
    blocks.push(rest);
    blocks
}

/// The content of a data packet of `len` bytes, at least eight, that says when it was sent.
pub fn data_payload(sent: Duration, len: usize) -> Vec<u8> {
    let mut bytes = nanos(sent).to_vec();
    bytes.resize(len.max(8), FILL);
    bytes
}

/// Reads it back; `None` for what is something else.
pub fn data_sent(bytes: &[u8]) -> Option<Duration> {
    let (sent, rest) = bytes.split_first_chunk()?;
    rest.iter().all(|byte| *byte == FILL).then(|| Duration::from_nanos(u64::from_be_bytes(*sent)))
}

fn nanos(time: Duration) -> [u8; 8] {
    // 584 years.
    (time.as_nanos() as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use plenum_media::rtp::vp8;

    use super::*;

    #[test]
    fn a_picture_is_read_back_and_servers_see_vp8_in_it() {
        for (key, part, len) in [(true, 0, 34), (true, 1, 500), (false, 0, 1_000), (false, 6, 1_000)] {
            let picture = Picture {
                id: 0x1234,
                tl0: 7,
                key,
                layer: 2,
                number: 99,
                part,
                parts: 7,
                sent: Duration::from_nanos(123_456_789),
            };
            let mut bytes = picture.payload(len, (1280, 720));
            assert_eq!(bytes.len(), len);
            assert_eq!(Picture::parse(&bytes), Some(picture));
            let descriptor = vp8::Descriptor::parse(&bytes).expect("well-formed");
            assert_eq!(descriptor.keyframe_start, key && part == 0);
            assert_eq!((descriptor.picture_id, descriptor.tl0_index), (Some((0x1234, true)), Some(7)));
            assert_eq!((descriptor.temporal_id, descriptor.len), (Some(0), DESCRIPTOR_LEN));
            if descriptor.keyframe_start {
                // Start code, then width and height (RFC 6386 §9.1).
                assert_eq!(bytes[9..16], [0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
            }
            assert_eq!(Sound::parse(&bytes), None);
            if len > 100 {
                bytes[len - 1] ^= 1;
                assert_eq!(Picture::parse(&bytes), None, "damaged");
            }
            for cut in 0..Picture::MIN_LEN - 10 {
                assert_eq!(Picture::parse(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn sound_is_read_back() {
        let sound = Sound { number: 7, sent: Duration::from_millis(5) };
        let mut bytes = sound.payload(80);
        assert_eq!(Sound::parse(&bytes), Some(sound));
        assert_eq!(Picture::parse(&bytes), None);
        bytes[40] = 0;
        assert_eq!(Sound::parse(&bytes), None, "damaged");
        assert_eq!(sound.payload(0).len(), Sound::MIN_LEN);
    }
}
