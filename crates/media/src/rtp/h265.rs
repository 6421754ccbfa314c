//! H.265 (RFC 7798): where a picture begins that needs no other.

/// NAL unit types of H.265 table 7-1 and RFC 7798 §4.4.
const VPS: u8 = 32;
const SPS: u8 = 33;
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;
/// Types of pictures that need no other.
const IRAP: std::ops::RangeInclusive<u8> = 16..=23;

/// Whether the payload begins a key frame: it carries parameter sets, or the start of an IRAP picture.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let [first, _, rest @ ..] = payload else { return false };
    match kind(*first) {
        AGGREGATION => aggregated(rest).any(begins),
        FRAGMENT => rest.first().is_some_and(|header| header & 0x80 != 0 && begins(header & 0x3f)),
        single => begins(single),
    }
}

fn kind(header: u8) -> u8 {
    header >> 1 & 0x3f
}

fn begins(kind: u8) -> bool {
    kind == VPS || kind == SPS || IRAP.contains(&kind)
}

/// Types of the units of an aggregation packet; it ends where a length does not fit.
fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let [high, low, tail @ ..] = rest else { return None };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let unit = tail.get(..len)?;
        rest = &tail[len..];
        unit.first().map(|header| kind(*header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_seen_in_every_packing() {
        assert!(starts_keyframe(&[0x40, 1, 0]), "VPS");
        assert!(starts_keyframe(&[0x42, 1, 0]), "SPS");
        assert!(starts_keyframe(&[0x26, 1, 0]), "IDR_W_RADL");
        assert!(starts_keyframe(&[0x2a, 1, 0]), "CRA");
        assert!(!starts_keyframe(&[0x02, 1, 0]), "TRAIL_R");
        assert!(!starts_keyframe(&[0x44, 1, 0]), "PPS");
        assert!(starts_keyframe(&[0x60, 1, 0, 2, 0x44, 1, 0, 2, 0x26, 1]), "the second of two units");
        assert!(!starts_keyframe(&[0x60, 1, 0, 2, 0x02, 1]));
        assert!(!starts_keyframe(&[0x60, 1, 0, 9, 0x40, 1]), "a length that is too large");
        assert!(starts_keyframe(&[0x62, 1, 0x80 | 19]), "the start of an IDR");
        assert!(!starts_keyframe(&[0x62, 1, 19]), "its middle");
        assert!(!starts_keyframe(&[0x62, 1]) && !starts_keyframe(&[0x40]) && !starts_keyframe(&[]));
    }
}
