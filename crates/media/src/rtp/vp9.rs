//! The VP9 payload descriptor (RFC 9628 §4.2).

/// What a descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of a frame, which is one spatial layer of a picture.
    pub starts_frame: bool,
    /// Last packet of a frame.
    pub ends_frame: bool,
    /// Number of the picture, and whether it has 15 bits (else 7).
    pub picture_id: Option<(u16, bool)>,
    /// The frame needs earlier pictures.
    pub inter_picture: bool,
    /// The frame needs the spatial layer below it in the same picture.
    pub inter_layer: bool,
    /// Spatial layer, 0 where layers are not told.
    pub spatial: u8,
    /// Temporal layer, 0 where layers are not told.
    pub temporal: u8,
    /// Pictures of higher temporal layers after this one need none of these layers from before it.
    pub switching_up: bool,
    /// No frame of a higher spatial layer needs this one.
    pub not_for_upper: bool,
    /// Number of the last picture of temporal layer 0.
    pub tl0_index: Option<u8>,
    /// How many spatial layers the stream has, where the packet says so.
    pub spatial_layers: Option<u8>,
    /// Length of the descriptor, in bytes.
    pub len: usize,
}

impl Descriptor {
    /// Reads the descriptor at the start of a payload.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = payload.iter().copied();
        let first = bytes.next()?;
        let has = |bit: u8| first & bit != 0;
        let (flexible, inter_picture) = (has(0x10), has(0x40));
        let mut descriptor = Self {
            starts_frame: has(0x08),
            ends_frame: has(0x04),
            picture_id: None,
            inter_picture,
            inter_layer: false,
            spatial: 0,
            temporal: 0,
            switching_up: false,
            not_for_upper: has(0x01),
            tl0_index: None,
            spatial_layers: None,
            len: 0,
        };
        if has(0x80) {
            let high = bytes.next()?;
            descriptor.picture_id = Some(if high & 0x80 != 0 {
                (u16::from_be_bytes([high & 0x7f, bytes.next()?]), true)
            } else {
                (u16::from(high), false)
            });
        }
        if has(0x20) {
            let layers = bytes.next()?;
            descriptor.temporal = layers >> 5;
            descriptor.switching_up = layers & 0x10 != 0;
            descriptor.spatial = layers >> 1 & 7;
            descriptor.inter_layer = layers & 1 != 0;
            if !flexible {
                descriptor.tl0_index = Some(bytes.next()?);
            }
        }
        if flexible && inter_picture {
            // Up to three distances; the lowest bit says whether another follows.
            for nth in 0.. {
                if bytes.next()? & 1 == 0 {
                    break;
                }
                if nth == 2 {
                    return None;
                }
            }
        }
        if has(0x02) {
            descriptor.spatial_layers = Some(skip_structure(&mut bytes)?);
        }
        descriptor.len = payload.len() - bytes.len();
        Some(descriptor)
    }

    /// First packet of a picture that needs no other.
    pub fn starts_keyframe(&self) -> bool {
        self.starts_frame && !self.inter_picture && !self.inter_layer && self.spatial == 0
    }
}

/// Reads over the scalability structure and returns how many spatial layers there are.
fn skip_structure(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = bytes.next()?;
    let layers = (first >> 5) + 1;
    if first & 0x10 != 0 {
        skip(bytes, 4 * layers)?;
    }
    if first & 0x08 != 0 {
        for _ in 0..bytes.next()? {
            let references = bytes.next()? >> 2 & 3;
            skip(bytes, references)?;
        }
    }
    Some(layers)
}

fn skip(bytes: &mut impl Iterator<Item = u8>, count: u8) -> Option<()> {
    (0..count).try_for_each(|_| bytes.next().map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        // I, L, B, V; picture 0x1234; temporal 0, spatial 0; TL0 9; structure: three layers with sizes, two pictures.
        let mut payload = vec![0xaa, 0x92, 0x34, 0x00, 9, 0x58];
        payload.extend_from_slice(&[0; 12]);
        payload.extend_from_slice(&[2, 0x10, 0x54, 2, 0xee, 0xee]);
        let read = Descriptor::parse(&payload).expect("complete");
        assert!(read.starts_keyframe() && !read.ends_frame);
        assert_eq!((read.picture_id, read.tl0_index), (Some((0x1234, true)), Some(9)));
        assert_eq!((read.spatial_layers, read.len), (Some(3), payload.len() - 2));
        assert!((0..read.len).all(|len| Descriptor::parse(&payload[..len]).is_none()), "cut anywhere");
    }

    #[test]
    fn layers_and_references_are_read() {
        // I, P, L, F, E, Z; picture 5; temporal 2, switching up, spatial 1, inter-layer; two distances.
        let read = Descriptor::parse(&[0xf5, 5, 0x53, 0x03, 0x04, 0xff]).expect("complete");
        assert_eq!((read.temporal, read.spatial), (2, 1));
        assert!(read.switching_up && read.inter_layer && read.inter_picture && read.not_for_upper);
        assert!(read.ends_frame && !read.starts_frame && !read.starts_keyframe());
        assert_eq!((read.picture_id, read.tl0_index, read.len), (Some((5, false)), None, 5));
        assert_eq!(Descriptor::parse(&[0x50, 1, 1, 1, 0]), None, "four distances");
        let upper = Descriptor::parse(&[0xa8, 5, 0x03, 1]).expect("complete");
        assert!(!upper.starts_keyframe(), "an upper layer of a key picture needs the one below");
        assert!(Descriptor::parse(&[0x08]).is_some_and(|read| read.starts_keyframe()));
        assert_eq!(Descriptor::parse(&[]), None);
    }
}
