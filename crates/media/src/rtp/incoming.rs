//! The header of a packet that comes in (RFC 3550 §5.1, RFC 8285 §4).

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in ticks of the codec.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
    /// The last byte of the packet, once that is opened, says how many bytes at its end are padding.
    pub is_padded: bool,
    /// The extensions.
    pub extensions: Extensions<'a>,
    /// Length of the header in bytes, with all extensions.
    pub len: usize,
}

impl<'a> Incoming<'a> {
    /// Reads the header, which is not encrypted. `None` if it is cut off or of another version.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let [first, second, n1, n2, t1, t2, t3, t4, s1, s2, s3, s4, ..] = *packet else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(first & 0x0f);
        let mut extensions = Extensions { long: false, values: &[] };
        if first & 0x10 != 0 {
            let [p1, p2, w1, w2] = *packet.get(len..)?.first_chunk()?;
            let end = len + 4 + 4 * usize::from(u16::from_be_bytes([w1, w2]));
            let values = packet.get(len + 4..end)?;
            match (p1, p2) {
                (0xbe, 0xde) => extensions.values = values,
                // The lower four bits are for applications.
                (0x10, 0x00..=0x0f) => extensions = Extensions { long: true, values },
                _ => {}
            }
            len = end;
        }
        (packet.len() >= len).then_some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([n1, n2]),
            timestamp: u32::from_be_bytes([t1, t2, t3, t4]),
            ssrc: u32::from_be_bytes([s1, s2, s3, s4]),
            is_padded: first & 0x20 != 0,
            extensions,
            len,
        })
    }

    /// What of an opened payload is not padding; nothing where the padding claims more than there is.
    pub fn without_padding<'p>(&self, payload: &'p [u8]) -> &'p [u8] {
        match payload.last() {
            Some(padding) if self.is_padded => {
                payload.len().checked_sub(usize::from(*padding)).map_or(&[], |len| &payload[..len])
            }
            _ => payload,
        }
    }
}

/// Extensions of a packet: number and value. Ends at the first that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// Number and length have a byte each, instead of one together.
    long: bool,
    values: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (first, rest) = self.values.split_first()?;
            let (id, len, rest) = match *first {
                // A byte between values.
                0 => {
                    self.values = rest;
                    continue;
                }
                id if self.long => {
                    let (len, rest) = rest.split_first()?;
                    (id, usize::from(*len), rest)
                }
                // Nothing is to be read after this number (RFC 8285 §4.2).
                0xf0.. => return None,
                both => (both >> 4, 1 + usize::from(both & 0x0f), rest),
            };
            let (value, rest) = rest.split_at_checked(len)?;
            self.values = rest;
            return Some((id, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these bytes of extensions, and three of payload.
    fn packet(profile: [u8; 2], extensions: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x91, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 77];
        bytes.extend_from_slice(&profile);
        bytes.extend_from_slice(&[0, (extensions.len() / 4) as u8]);
        bytes.extend_from_slice(extensions);
        bytes.extend_from_slice(&[1, 2, 3]);
        bytes
    }

    fn values(packet: &[u8]) -> Vec<(u8, &[u8])> {
        Incoming::parse(packet).expect("well-formed").extensions.collect()
    }

    #[test]
    fn a_header_is_read_to_its_end() {
        let bytes = packet([0xbe, 0xde], &[0x91, b'1', b'2', 0, 0x31, 0xab, 0xcd, 0]);
        let header = Incoming::parse(&bytes).expect("well-formed");
        assert_eq!((header.payload_type, header.marker, header.sequence), (96, true, 0x0102));
        assert_eq!((header.timestamp, header.ssrc, header.is_padded), (0x0304_0506, 0x0708_090a, false));
        assert_eq!(bytes[header.len..], [1, 2, 3]);
        assert_eq!(header.extensions.collect::<Vec<_>>(), [(9, &b"12"[..]), (3, &[0xab, 0xcd][..])]);
        for len in 0..header.len {
            assert_eq!(Incoming::parse(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Incoming::parse(&[0x40; 20]), None, "another version");
    }

    #[test]
    fn both_forms_of_extensions_are_read() {
        assert_eq!(
            values(&packet([0x10, 0x00], &[9, 1, 5, 0, 3, 2, 7, 8])),
            [(9, &[5][..]), (3, &[7, 8][..])]
        );
        assert_eq!(values(&packet([0x10, 0x07], &[9, 0, 0, 0])), [(9, &[][..])]);
        assert_eq!(values(&packet([0xbe, 0xde], &[0x10, 5, 0xf0, 1])), [(1, &[5][..])], "15 ends the list");
        assert_eq!(values(&packet([0xbe, 0xde], &[0x10, 5, 0x37, 1])), [(1, &[5][..])], "cut off");
        assert_eq!(values(&packet([0x10, 0x00], &[9, 9, 5, 0])), []);
        assert_eq!(values(&packet([0xab, 0xac], &[0x10, 5, 0, 0])), [], "some other extension");
    }

    #[test]
    fn padding_is_taken_off() {
        let header = |first: u8| {
            let bytes = [first, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            move |payload: &[u8]| {
                Incoming::parse(&bytes).expect("well-formed").without_padding(payload).to_vec()
            }
        };
        assert_eq!(header(0x80)(&[1, 2, 3]), [1, 2, 3]);
        assert_eq!(header(0xa0)(&[1, 0, 2]), [1]);
        assert!(header(0xa0)(&[0, 0, 3]).is_empty());
        assert!(header(0xa0)(&[0, 0, 9]).is_empty(), "more padding than payload");
        assert!(header(0xa0)(&[]).is_empty());
    }
}
