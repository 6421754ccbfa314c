//! Headers of media packets, as far as counting needs them.

/// What counting needs of a header (RFC 3550 §5.1, RFC 8285 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Number over all streams of the connection.
    pub(crate) transport: Option<u16>,
    pub(crate) len: usize,
}

impl Header {
    /// Reads one; `transport_id` is the number of the extension that numbers packets over all streams.
    pub(crate) fn parse(packet: &[u8], transport_id: Option<u8>) -> Option<Self> {
        let [first, second, n1, n2, t1, t2, t3, t4, s1, s2, s3, s4, rest @ ..] = packet else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(first & 0x0f);
        let mut transport = None;
        if first & 0x10 != 0 {
            let [p1, p2, w1, w2, ..] = *rest.get(len - 12..)? else { return None };
            let words = usize::from(u16::from_be_bytes([w1, w2]));
            let values = packet.get(len + 4..len + 4 + 4 * words)?;
            transport = transport_id.and_then(|id| match [p1, p2] {
                [0xbe, 0xde] => short_value(values, id),
                [0x10, 0x00] => long_value(values, id),
                _ => None,
            });
            len += 4 + 4 * words;
        }
        (packet.len() >= len).then_some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([*n1, *n2]),
            timestamp: u32::from_be_bytes([*t1, *t2, *t3, *t4]),
            ssrc: u32::from_be_bytes([*s1, *s2, *s3, *s4]),
            transport,
            len,
        })
    }
}

/// A number among values of one-byte headers.
fn short_value(mut values: &[u8], id: u8) -> Option<u16> {
    while let [first, rest @ ..] = values {
        let (own, len) = (first >> 4, 1 + usize::from(first & 0x0f));
        values = match own {
            // A byte of padding.
            0 => rest,
            _ if own == id => return number(rest.get(..len)?),
            _ => rest.get(len..)?,
        };
    }
    None
}

/// A number among values of two-byte headers.
fn long_value(mut values: &[u8], id: u8) -> Option<u16> {
    loop {
        match values {
            [0, rest @ ..] => values = rest,
            [own, len, rest @ ..] => {
                let (value, after) = rest.split_at_checked(usize::from(*len))?;
                if *own == id {
                    return number(value);
                }
                values = after;
            }
            _ => return None,
        }
    }
}

fn number(value: &[u8]) -> Option<u16> {
    let [high, low] = *value else { return None };
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet of stream 77, with or without a number over all streams.
    pub(crate) fn packet(sequence: u16, transport: Option<u16>) -> Vec<u8> {
        let header = plenum_media::rtp::Header {
            payload_type: 96,
            marker: false,
            sequence,
            timestamp: 5,
            ssrc: 77,
            mid: Some((9, "12")),
            transport: transport.map(|number| (3, number)),
            playout_delay: None,
            dependency: None,
        };
        let mut bytes = Vec::new();
        plenum_media::rtp::write_header(&mut bytes, &header);
        bytes.extend_from_slice(&[0; 20]);
        bytes
    }

    #[test]
    fn headers_are_read() {
        let bytes = packet(0x0102, Some(0x0304));
        let header = Header::parse(&bytes, Some(3)).expect("well-formed");
        assert_eq!((header.sequence, header.transport, header.ssrc), (0x0102, Some(0x0304), 77));
        assert_eq!((header.len, header.payload_type, header.marker), (24, 96, false));
        assert_eq!(Header::parse(&bytes, Some(4)).expect("well-formed").transport, None);
        for len in 0..24 {
            assert_eq!(Header::parse(&bytes[..len], Some(3)), None, "{len}");
        }
        let long = [&[0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0x10, 0, 0, 2][..], &[9, 1, 5, 0, 3, 2, 7, 8]]
            .concat();
        assert_eq!(Header::parse(&long, Some(3)).expect("well-formed").transport, Some(0x0708));
    }
}
