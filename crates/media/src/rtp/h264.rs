//! H.264 (RFC 6184): where a picture begins that needs no other.

/// NAL unit types of RFC 6184 §5.2 and H.264 table 7-1.
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether the payload begins a key frame: it carries parameter sets, or the start of an IDR slice.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let Some(first) = payload.first() else { return false };
    match first & 0x1f {
        IDR | SPS => true,
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, tail @ ..] = rest {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(unit) = tail.get(..len) else { return false };
                if unit.first().is_some_and(|header| matches!(header & 0x1f, IDR | SPS)) {
                    return true;
                }
                rest = &tail[len..];
            }
            false
        }
        FU_A => payload.get(1).is_some_and(|header| header & 0x80 != 0 && matches!(header & 0x1f, IDR | SPS)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_seen_in_every_packing() {
        assert!(starts_keyframe(&[0x67, 1]));
        assert!(starts_keyframe(&[0x65, 1]));
        assert!(!starts_keyframe(&[0x61, 1]));
        assert!(starts_keyframe(&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]));
        assert!(!starts_keyframe(&[0x78, 0, 1, 0x61]));
        assert!(!starts_keyframe(&[0x78, 0, 9, 0x67]));
        assert!(starts_keyframe(&[0x7c, 0x85, 1]));
        assert!(!starts_keyframe(&[0x7c, 0x05, 1]), "the middle of a slice");
        assert!(!starts_keyframe(&[]));
    }
}
