//! Redundant audio (RFC 2198): the newest packet is the last block.

/// The primary block of a RED payload, or `None` where the headers do not fit.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let mut headers = payload;
    let mut redundant = 0usize;
    loop {
        match *headers {
            // F bit set: a redundant block, with a 10-bit length.
            [first, _, high, low, ref rest @ ..] if first & 0x80 != 0 => {
                redundant += usize::from(u16::from_be_bytes([high, low]) & 0x03ff);
                headers = rest;
            }
            [first, ref blocks @ ..] if first & 0x80 == 0 => return blocks.get(redundant..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_block_is_the_last() {
        assert_eq!(primary(&[111, 1, 2, 3]), Some(&[1, 2, 3][..]));
        assert_eq!(primary(&[0x80 | 111, 0, 0, 2, 111, 9, 9, 1, 2]), Some(&[1, 2][..]));
        assert_eq!(primary(&[0x80 | 111, 0, 0, 9, 111, 9, 9]), None);
        assert_eq!(primary(&[0x80]), None);
        assert_eq!(primary(&[]), None);
    }
}
