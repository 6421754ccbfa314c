//! What the cameras and microphones of the tests send: payloads that say which frame they are of.

/// Where a packet of a camera belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Number in the VP8 descriptor, 15 bits.
    pub(crate) id: u16,
    /// Number of the last picture of temporal layer 0.
    pub(crate) tl0: u8,
    /// Needs no other picture.
    pub(crate) key: bool,
    /// Simulcast layer of the camera, lowest first.
    pub(crate) layer: u8,
    /// The camera's own count.
    pub(crate) number: u32,
    /// Which packet of the picture; the last one carries the marker.
    pub(crate) part: u8,
}

impl Picture {
    /// A VP8 payload (RFC 7741 §4.2) with both numbers, and the rest of this as its content.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let first = self.part == 0;
        let [high, low] = self.id.to_be_bytes();
        let mut bytes =
            vec![if first { 0x90 } else { 0x80 }, 0xc0, 0x80 | high, low, self.tl0, u8::from(!self.key)];
        bytes.push(self.layer);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.push(self.part);
        bytes.resize(400 + 300 * usize::from(self.layer), 0x55);
        bytes
    }

    /// Reads it back; `None` for a payload that was damaged on the way.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [_, 0xc0, high, low, tl0, delta, layer, n1, n2, n3, n4, part, rest @ ..] = bytes else {
            return None;
        };
        let whole = rest.len() + 12 == 400 + 300 * usize::from(*layer) && rest.iter().all(|b| *b == 0x55);
        whole.then_some(Self {
            id: u16::from_be_bytes([high & 0x7f, *low]),
            tl0: *tl0,
            key: *delta == 0,
            layer: *layer,
            number: u32::from_be_bytes([*n1, *n2, *n3, *n4]),
            part: *part,
        })
    }
}
