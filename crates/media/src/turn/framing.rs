//! Where messages end in a stream (RFC 8656 §12.5 and RFC 8489 §6.2.2).

use crate::stun::{COOKIE, HEADER_LEN};

/// Longest message that is read, without padding: what fits into a packet of any network, and some more.
pub const MESSAGE_LEN_MAX: usize = 4_096;
/// Number and length of channel data.
pub(super) const CHANNEL_HEADER_LEN: usize = 4;

/// A stream that is none of TURN, or has a message that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of TURN, or one of more than {MESSAGE_LEN_MAX} bytes")]
pub struct NotTurn;

/// How many bytes of the stream are its first message, padding included. `None` if too few are there to tell.
///
/// # Errors
/// The stream cannot be read any further.
pub fn frame_len(stream: &[u8]) -> Result<Option<usize>, NotTurn> {
    let Some(&[first, _, l1, l2]) = stream.first_chunk::<4>() else {
        return match stream.first() {
            Some(first) if *first >= 0x80 => Err(NotTurn),
            _ => Ok(None),
        };
    };
    let len = usize::from(u16::from_be_bytes([l1, l2]));
    let len = match first {
        _ if first < 0x40 && stream.get(4..8).is_some_and(|cookie| cookie != COOKIE) => return Err(NotTurn),
        // All attributes are padded, so a message of STUN is.
        0x00..=0x3f if len % 4 == 0 => HEADER_LEN + len,
        0x40..=0x7f => CHANNEL_HEADER_LEN + len,
        _ => return Err(NotTurn),
    };
    if len > MESSAGE_LEN_MAX { Err(NotTurn) } else { Ok(Some(len.next_multiple_of(4))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_bytes() {
        assert_eq!(frame_len(&[]), Ok(None));
        assert_eq!(frame_len(&[0, 1, 0]), Ok(None));
        assert_eq!(frame_len(&[0, 1, 0, 8]), Ok(Some(28)));
        assert_eq!(frame_len(&[0x40, 0, 0, 0]), Ok(Some(4)));
        assert_eq!(frame_len(&[0x40, 0, 0, 5, 1]), Ok(Some(12)), "padded");
        for wrong in
            [&[0x16, 3, 1, 0, 1, 0, 0, 0xfc][..], &[0x80], b"GET ", &[0, 1, 0, 7], &[0x40, 0, 0xff, 0xff]]
        {
            assert_eq!(frame_len(wrong), Err(NotTurn), "{wrong:?}");
        }
    }
}
