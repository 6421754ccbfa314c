//! A camera whose only stream has layers inside, and what its packets carry.

use std::collections::HashMap;

use plenum_client::{Dependency, Packet};
use plenum_media::sdp;

use crate::source::FRAME;
use crate::svc::{Encoder, Frame, Mode};

/// Codecs that such a stream may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
        }
    }

    fn described(self) -> sdp::Codec {
        match self {
            Self::Vp9 => sdp::Codec::Vp9,
            Self::Av1 => sdp::Codec::Av1,
        }
    }
}

/// The camera.
pub struct LayeredCamera {
    encoder: Encoder,
    codec: Codec,
    /// Whether packets say which frames they need.
    with_dependencies: bool,
    sequence: u64,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    /// The next picture needs no other.
    pub key: bool,
    /// Bytes of a packet.
    pub len: usize,
    /// The dependency descriptors that were sent, by frame and packet.
    pub sent: HashMap<(u64, u8), Vec<u8>>,
}

impl LayeredCamera {
    /// One whose pictures nobody has seen yet.
    pub fn new(codec: Codec, mode: Mode, with_dependencies: bool) -> Self {
        Self {
            encoder: Encoder::new(mode, 65_500),
            codec,
            with_dependencies,
            sequence: 7_000,
            timestamp: 0x7654_3210,
            picture: 100,
            tl0: 9,
            key: true,
            len: 300,
            sent: HashMap::new(),
        }
    }

    /// Its layers.
    pub fn mode(&self) -> Mode {
        self.encoder.mode
    }

    pub(crate) fn codec_name(&self) -> &'static str {
        self.codec.name()
    }

    /// The next picture; two packets for each frame.
    pub(crate) fn picture(&mut self) -> Vec<Packet> {
        let frames = self.encoder.picture(std::mem::take(&mut self.key));
        if frames.first().is_some_and(|frame| frame.temporal == 0) {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        let mut packets = Vec::new();
        for frame in frames {
            for part in 0..2 {
                let (starts, ends) = (part == 0, part == 1);
                let mut payload = self.descriptor(&frame, starts, ends);
                let piece =
                    Piece { number: frame.number, spatial: frame.spatial, temporal: frame.temporal, part };
                piece.write(&mut payload, self.len);
                let dependency = self.with_dependencies.then(|| {
                    let value = self.encoder.descriptor(&frame, starts, ends);
                    self.sent.insert((frame.number, part), value.clone());
                    Dependency(value)
                });
                packets.push(Packet {
                    codec: self.codec.described(),
                    sequence: self.sequence,
                    timestamp: self.timestamp,
                    marker: ends && frame.last,
                    level: None,
                    dependency,
                    payload,
                });
                self.sequence += 1;
            }
        }
        self.picture += 1;
        self.timestamp = self.timestamp.wrapping_add(90 * FRAME.as_millis() as u32);
        packets
    }

    /// What the codec itself says before its content (RFC 9628 §4.2, AV1 RTP specification §4.4).
    fn descriptor(&self, frame: &Frame, starts: bool, ends: bool) -> Vec<u8> {
        match self.codec {
            Codec::Vp9 => {
                let [high, low] = (self.picture | 0x8000).to_be_bytes();
                let first = 0xa0
                    | if frame.key { 0 } else { 0x40 }
                    | if starts { 8 } else { 0 }
                    | if ends { 4 } else { 0 };
                // No picture needs an earlier one of a higher temporal layer.
                let layers = frame.temporal << 5 | 0x10 | frame.spatial << 1;
                let inter_layer = u8::from(frame.key && frame.spatial > 0);
                vec![first, high, low, layers | inter_layer, self.tl0]
            }
            Codec::Av1 => vec![if frame.key && frame.spatial == 0 && starts { 0x18 } else { 0x10 }, 0x32],
        }
    }
}

/// A packet of such a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Number of the frame; counts over all layers.
    pub number: u64,
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// The second part is the last.
    pub part: u8,
}

const MARK: &[u8] = b"LAYERED";

impl Piece {
    fn write(&self, payload: &mut Vec<u8>, len: usize) {
        payload.extend_from_slice(MARK);
        payload.extend_from_slice(&self.number.to_be_bytes());
        payload.extend_from_slice(&[self.spatial, self.temporal, self.part]);
        payload.resize(len, 0x33);
    }

    /// Reads it back; `None` for what is something else, or was damaged.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let at = payload.windows(MARK.len()).take(12).position(|window| window == MARK)?;
        let [n1, n2, n3, n4, n5, n6, n7, n8, spatial, temporal, part, rest @ ..] =
            &payload[at + MARK.len()..]
        else {
            return None;
        };
        let whole = rest.iter().all(|byte| *byte == 0x33);
        whole.then_some(Self {
            number: u64::from_be_bytes([*n1, *n2, *n3, *n4, *n5, *n6, *n7, *n8]),
            spatial: *spatial,
            temporal: *temporal,
            part: *part,
        })
    }
}
