//! The VP8 payload descriptor (RFC 7741 §4.2).

/// What a descriptor says, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of a frame that needs no other.
    pub keyframe_start: bool,
    /// Number of the picture, and whether it has 15 bits (else 7).
    pub picture_id: Option<(u16, bool)>,
    /// Number of the last picture of temporal layer 0.
    pub tl0_index: Option<u8>,
    /// Temporal layer.
    pub temporal_id: Option<u8>,
    /// The picture needs no other than those of temporal layer 0.
    pub layer_sync: bool,
    /// Length of the descriptor, in bytes.
    pub len: usize,
    picture_at: usize,
    tl0_at: usize,
}

/// New numbers for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Number of the picture, 15 bits.
    pub picture_id: u16,
    /// Number of the last picture of temporal layer 0.
    pub tl0_index: u8,
}

impl Descriptor {
    /// Reads the descriptor at the start of a payload.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut at = 1;
        let mut descriptor = Self {
            keyframe_start: false,
            picture_id: None,
            tl0_index: None,
            temporal_id: None,
            layer_sync: false,
            len: 0,
            picture_at: 0,
            tl0_at: 0,
        };
        if first & 0x80 != 0 {
            let extended = *payload.get(at)?;
            at += 1;
            if extended & 0x80 != 0 {
                descriptor.picture_at = at;
                let high = *payload.get(at)?;
                at += 1;
                if high & 0x80 != 0 {
                    let low = *payload.get(at)?;
                    at += 1;
                    descriptor.picture_id = Some((u16::from_be_bytes([high & 0x7f, low]), true));
                } else {
                    descriptor.picture_id = Some((u16::from(high), false));
                }
            }
            if extended & 0x40 != 0 {
                descriptor.tl0_at = at;
                descriptor.tl0_index = Some(*payload.get(at)?);
                at += 1;
            }
            if extended & 0x30 != 0 {
                let layers = *payload.get(at)?;
                at += 1;
                if extended & 0x20 != 0 {
                    descriptor.temporal_id = Some(layers >> 6);
                    descriptor.layer_sync = layers & 0x20 != 0;
                }
            }
        }
        let starts_frame = first & 0x10 != 0 && first & 0x07 == 0;
        // The inverse key frame bit of the VP8 frame header (RFC 6386 §9.1).
        descriptor.keyframe_start = starts_frame && *payload.get(at)? & 0x01 == 0;
        descriptor.len = at;
        Some(descriptor)
    }
}

/// Appends `payload` with new numbers where it has numbers; the length stays.
pub fn write_rewritten(to: &mut Vec<u8>, payload: &[u8], descriptor: &Descriptor, patch: Patch) {
    let start = to.len();
    to.extend_from_slice(payload);
    match descriptor.picture_id {
        Some((_, true)) => {
            let bytes = (patch.picture_id | 0x8000).to_be_bytes();
            to[start + descriptor.picture_at..start + descriptor.picture_at + 2].copy_from_slice(&bytes);
        }
        Some((_, false)) => to[start + descriptor.picture_at] = (patch.picture_id & 0x7f) as u8,
        None => {}
    }
    if descriptor.tl0_index.is_some() {
        to[start + descriptor.tl0_at] = patch.tl0_index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_and_rewritten() {
        // X, S; I, L, T; picture 0x1234, TL0 5, TID 1; key frame.
        let payload = [0x90, 0xe0, 0x92, 0x34, 5, 0x40, 0x00, 0xaa];
        let descriptor = Descriptor::parse(&payload).expect("complete");
        assert!(descriptor.keyframe_start);
        assert_eq!(descriptor.picture_id, Some((0x1234, true)));
        assert_eq!((descriptor.tl0_index, descriptor.temporal_id, descriptor.len), (Some(5), Some(1), 6));
        let mut out = Vec::new();
        write_rewritten(&mut out, &payload, &descriptor, Patch { picture_id: 0x7fff, tl0_index: 9 });
        assert_eq!(out, [0x90, 0xe0, 0xff, 0xff, 9, 0x40, 0x00, 0xaa]);

        assert!(!descriptor.layer_sync);
        let sync = Descriptor::parse(&[0x90, 0x20, 0x60, 0x01]).expect("complete");
        assert!(sync.layer_sync && sync.temporal_id == Some(1));

        let short = [0x90, 0x80, 0x05, 0x01];
        let descriptor = Descriptor::parse(&short).expect("complete");
        assert!(!descriptor.keyframe_start, "an inter frame");
        out.clear();
        write_rewritten(&mut out, &short, &descriptor, Patch { picture_id: 0x81, tl0_index: 9 });
        assert_eq!(out, [0x90, 0x80, 0x01, 0x01]);

        assert!(Descriptor::parse(&[0x10, 0x00]).is_some_and(|d| d.keyframe_start && d.len == 1));
        assert!(Descriptor::parse(&[0x11, 0x00]).is_some_and(|d| !d.keyframe_start), "another partition");
        assert_eq!(Descriptor::parse(&[0x90, 0xe0, 0x92]), None);
        assert_eq!(Descriptor::parse(&[]), None);
    }
}
