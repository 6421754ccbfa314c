//! AV1 (AV1 RTP specification §4.4): where a picture begins that needs no other.

/// Type of a sequence header (AV1 specification §6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// Whether the payload begins a coded video sequence: the sender says so, or the first unit is a sequence header.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let [aggregation, rest @ ..] = payload else { return false };
    // Z: the first unit is the rest of one from the packet before.
    if aggregation & 0x80 != 0 {
        return false;
    }
    let starts_sequence = aggregation & 0x08 != 0;
    // W: with one unit in the packet it has no length before it.
    let unit = if aggregation >> 4 & 3 == 1 { Some(rest) } else { first_unit(rest) };
    let kind = unit.and_then(<[u8]>::first).map(|header| header >> 3 & 0x0f);
    starts_sequence || kind == Some(SEQUENCE_HEADER)
}

/// The unit after a length in LEB128.
fn first_unit(bytes: &[u8]) -> Option<&[u8]> {
    let mut len = 0usize;
    for (nth, byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return bytes.get(nth + 1..)?.get(..len);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_seen_to_begin() {
        assert!(starts_keyframe(&[0x18, 0x0a, 1]), "N");
        assert!(starts_keyframe(&[0x10, 0x0a, 1]), "one unit: a sequence header");
        assert!(starts_keyframe(&[0x20, 2, 0x0a, 1, 0x32, 5]), "two units, the first with its length");
        assert!(starts_keyframe(&[0x00, 0x82, 0x00, 0x0a, 1]), "a length in two bytes");
        assert!(!starts_keyframe(&[0x10, 0x32, 1]), "a frame");
        assert!(!starts_keyframe(&[0x98, 0x0a, 1]), "the rest of a unit");
        assert!(!starts_keyframe(&[0x20, 9, 0x0a]), "a length that is too large");
        assert!(!starts_keyframe(&[0x00, 0x80, 0x80, 0x80, 0x80, 0x01]));
        assert!(!starts_keyframe(&[]));
    }
}
