//! RTP and RTCP as bytes: headers, reports, feedback, and the little of each codec that forwarding needs.

pub mod arrivals;
pub mod av1;
pub mod data_track;
pub mod dd;
pub mod h264;
pub mod h265;
pub mod incoming;
pub mod red;
pub mod rtcp;
pub mod twcc;
pub mod vp8;
pub mod vp9;

mod bits;

pub use incoming::Incoming;

/// Appends a header with its extensions (RFC 3550 §5.1, RFC 8285 §4) and returns its length.
pub fn write_header(to: &mut Vec<u8>, header: &Header<'_>) -> usize {
    let start = to.len();
    let extended = header.mid.is_some()
        || header.transport.is_some()
        || header.dependency.is_some()
        || header.playout_delay.is_some();
    to.push(if extended { 0x90 } else { 0x80 });
    to.push(header.payload_type & 0x7f | u8::from(header.marker) << 7);
    to.extend_from_slice(&header.sequence.to_be_bytes());
    to.extend_from_slice(&header.timestamp.to_be_bytes());
    to.extend_from_slice(&header.ssrc.to_be_bytes());
    if extended {
        write_extensions(to, header);
    }
    to.len() - start
}

fn write_extensions(to: &mut Vec<u8>, header: &Header<'_>) {
    // The one-byte form has room for 16 bytes; a dependency descriptor with its structure is longer.
    let long = header.dependency.is_some_and(|dependency| dependency.len() > 16);
    to.extend_from_slice(if long { &[0x10, 0x00, 0, 0] } else { &[0xbe, 0xde, 0, 0] });
    let start = to.len();
    let begin = |to: &mut Vec<u8>, id: u8, len: usize| {
        debug_assert!((1..=14).contains(&id) && (1..=255).contains(&len));
        if long { to.extend_from_slice(&[id, len as u8]) } else { to.push(id << 4 | (len - 1) as u8) }
    };
    if let Some((id, mid)) = header.mid {
        begin(to, id, mid.len());
        to.extend_from_slice(mid.as_bytes());
    }
    if let Some((id, number)) = header.transport {
        begin(to, id, 2);
        to.extend_from_slice(&number.to_be_bytes());
    }
    if let Some((id, delay)) = header.playout_delay {
        begin(to, id, delay.len());
        to.extend_from_slice(&delay);
    }
    if let Some(dependency) = header.dependency {
        begin(to, dependency.id, dependency.len());
        dependency.descriptor.write(to, dependency.frame_number, dependency.mask);
    }
    let words = (to.len() - start).div_ceil(4);
    to.resize(start + 4 * words, 0);
    to[start - 2..start].copy_from_slice(&(words as u16).to_be_bytes());
}

/// A dependency descriptor on its way to a subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Dependency<'a> {
    /// Number of the extension.
    pub id: u8,
    /// As it came in.
    pub descriptor: &'a dd::Descriptor,
    /// Number of the frame for this subscriber.
    pub frame_number: u16,
    /// Decode targets that this subscriber gets, where that must be said.
    pub mask: Option<u32>,
}

impl Dependency<'_> {
    fn len(&self) -> usize {
        self.descriptor.written_len(self.mask)
    }
}

/// What we put into the header of a packet that we send.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
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
    /// Number and value of the mid extension.
    pub mid: Option<(u8, &'a str)>,
    /// Number and value of the transport-wide sequence number.
    pub transport: Option<(u8, u16)>,
    /// Number and value of the playout delay.
    pub playout_delay: Option<(u8, [u8; 3])>,
    /// The dependency descriptor.
    pub dependency: Option<Dependency<'a>>,
}

/// The extended number that ends in `number` and is nearest to `highest`; never below zero.
pub fn extend(highest: u64, number: u16) -> u64 {
    let step = number.wrapping_sub(highest as u16).cast_signed();
    highest.checked_add_signed(step.into()).unwrap_or(u64::from(number))
}

/// What a datagram is, by its first byte (RFC 7983).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramKind {
    /// A STUN message.
    Stun,
    /// A DTLS record.
    Dtls,
    /// RTP.
    Rtp,
    /// RTCP (RFC 5761 §4).
    Rtcp,
}

impl DatagramKind {
    /// Looks at the first two bytes.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match *datagram {
            [0..=3, _, ..] if datagram.len() >= 20 => Some(Self::Stun),
            [20..=63, _, ..] => Some(Self::Dtls),
            [128..=191, 192..=223, ..] if datagram.len() >= 8 => Some(Self::Rtcp),
            [128..=191, _, ..] if datagram.len() >= 12 => Some(Self::Rtp),
            _ => None,
        }
    }
}

/// The local half of USERNAME in a STUN request and whether it nominates this path (RFC 8445 §7.1).
/// Looks at bounds only; whether the message is authentic the ICE agent says.
pub fn stun_request(message: &[u8]) -> Option<StunRequest<'_>> {
    const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
    const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    if message.get(..2)? != BINDING_REQUEST || message.get(4..8)? != MAGIC_COOKIE {
        return None;
    }
    let mut ufrag = None;
    let mut nominates = false;
    let mut rest = message.get(20..)?;
    while let [k1, k2, l1, l2, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l1, *l2]));
        let value = tail.get(..len)?;
        match u16::from_be_bytes([*k1, *k2]) {
            0x0006 => ufrag = value.split(|byte| *byte == b':').next(),
            0x0025 => nominates = true,
            _ => {}
        }
        rest = tail.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(StunRequest { ufrag: ufrag?, nominates })
}

/// What a connectivity check says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StunRequest<'a> {
    /// Our ufrag, which names shard and connection.
    pub ufrag: &'a [u8],
    /// The client wants to use this path.
    pub nominates: bool,
}

/// Body of the fuzz target `rtp`: packets and payloads of any shape are read without harm.
pub fn fuzz(input: &[u8]) {
    let _ = DatagramKind::of(input);
    let _ = stun_request(input);
    if let Some(header) = Incoming::parse(input) {
        assert!(header.len <= input.len());
        assert!(header.extensions.map(|(_, value)| value.len()).sum::<usize>() < header.len);
        assert!(header.without_padding(&input[header.len..]).len() <= input.len() - header.len);
    }
    if data_track::handle_of(input).is_some() {
        let mut packet = input.to_vec();
        data_track::set_handle(&mut packet, 7);
        assert_eq!(data_track::handle_of(&packet), Some(7));
    }
    let _ = h264::starts_keyframe(input);
    let _ = h265::starts_keyframe(input);
    let _ = av1::starts_keyframe(input);
    if let Some(descriptor) = vp9::Descriptor::parse(input) {
        assert!(descriptor.len <= input.len());
        assert!(descriptor.spatial < 8 && descriptor.temporal < 8);
    }
    if let Some(descriptor) = vp8::Descriptor::parse(input) {
        let mut out = Vec::new();
        vp8::write_rewritten(&mut out, input, &descriptor, vp8::Patch { picture_id: 77, tl0_index: 7 });
        assert_eq!(out.len(), input.len());
        let again = vp8::Descriptor::parse(&out).expect("rewriting keeps the shape");
        assert_eq!(again.len, descriptor.len);
        assert_eq!(again.keyframe_start, descriptor.keyframe_start);
    }
    if let Some(primary) = red::primary(input) {
        assert!(primary.len() < input.len());
    }
    for feedback in rtcp::parse(input) {
        let _ = format!("{feedback:?}");
        if let rtcp::Feedback::Arrivals(arrivals) = feedback {
            assert!(arrivals.iter().count() <= usize::from(arrivals.count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_extended_to_the_nearest() {
        for (highest, number, extended) in
            [(5, 6, 6), (5, 4, 4), (0x1_0001, 0xffff, 0xffff), (0xffff, 1, 0x1_0001), (5, 0xfff0, 0xfff0)]
        {
            assert_eq!(extend(highest, number), extended, "{highest} {number}");
        }
    }

    #[test]
    fn a_header_has_the_bytes_of_the_rfc() {
        let mut out = vec![7];
        let header = Header {
            payload_type: 96,
            marker: true,
            sequence: 0x0102,
            timestamp: 0x0304_0506,
            ssrc: 0x0708_090a,
            mid: Some((9, "12")),
            transport: None,
            playout_delay: None,
            dependency: None,
        };
        assert_eq!(write_header(&mut out, &header), 20);
        assert_eq!(
            out[1..],
            [0x90, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xbe, 0xde, 0, 1, 0x91, b'1', b'2', 0]
        );
        out.clear();
        assert_eq!(write_header(&mut out, &Header { mid: None, ..header }), 12);
        out.clear();
        let numbered = Header { transport: Some((3, 0xabcd)), ..header };
        assert_eq!(write_header(&mut out, &numbered), 24);
        assert_eq!(out[12..], [0xbe, 0xde, 0, 2, 0x91, b'1', b'2', 0x31, 0xab, 0xcd, 0, 0]);
        out.clear();
        let late = Header { mid: None, playout_delay: Some((11, [1, 2, 3])), ..header };
        assert_eq!(write_header(&mut out, &late), 20);
        assert_eq!(out[12..], [0xbe, 0xde, 0, 1, 0xb2, 1, 2, 3]);
    }

    #[test]
    fn a_long_descriptor_takes_the_two_byte_form() {
        use dd::tests::svc::{Encoder, L3T3_KEY};
        let mut encoder = Encoder::new(L3T3_KEY, 7);
        let mut reader = dd::Reader::default();
        let frames: Vec<_> = [true, false].into_iter().map(|key| encoder.picture(key).remove(0)).collect();
        let mut written = Vec::new();
        for frame in &frames {
            let descriptor = reader.read(encoder.descriptor(frame, true, true).into()).expect("well-formed");
            for mask in [None, Some(0b101)] {
                let dependency = Dependency { id: 10, descriptor: &descriptor, frame_number: 0x1234, mask };
                let header = Header {
                    payload_type: 98,
                    marker: false,
                    sequence: 1,
                    timestamp: 2,
                    ssrc: 3,
                    mid: Some((9, "12")),
                    transport: None,
                    playout_delay: None,
                    dependency: Some(dependency),
                };
                let mut out = Vec::new();
                assert_eq!(write_header(&mut out, &header), out.len());
                assert_eq!(out.len() % 4, 0);
                assert_eq!(12 + 4 + 4 * usize::from(out[15]), out.len());
                written.push((out, dependency.len()));
            }
        }
        for (long, len) in &written[..2] {
            assert_eq!(long[12..14], [0x10, 0x00]);
            assert_eq!(long[16..20], [9, 2, b'1', b'2']);
            assert_eq!((long[20], usize::from(long[21])), (10, *len));
            assert_eq!(long[23..25], [0x12, 0x34]);
        }
        for (short, len) in &written[2..] {
            assert_eq!(short[12..14], [0xbe, 0xde]);
            assert_eq!(short[16..19], [0x91, b'1', b'2']);
            assert_eq!(usize::from(short[19]), 0xa0 | (len - 1));
        }
    }

    #[test]
    fn a_check_names_its_connection() {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend_from_slice(&[0; 12]);
        message.extend_from_slice(&[0, 6, 0, 7]);
        message.extend_from_slice(b"0abc:xy\0");
        assert_eq!(stun_request(&message), Some(StunRequest { ufrag: b"0abc", nominates: false }));
        message.extend_from_slice(&[0, 0x25, 0, 0]);
        assert_eq!(stun_request(&message), Some(StunRequest { ufrag: b"0abc", nominates: true }));
        message[1] = 0x11;
        assert_eq!(stun_request(&message), None);
        assert_eq!(stun_request(&[0, 1]), None);
    }

    #[test]
    fn datagrams_are_told_apart() {
        let of = |first, second| DatagramKind::of(&[&[first, second][..], &[0; 20]].concat());
        assert_eq!(of(0, 1), Some(DatagramKind::Stun));
        assert_eq!(of(22, 254), Some(DatagramKind::Dtls));
        assert_eq!(of(0x80, 200), Some(DatagramKind::Rtcp));
        assert_eq!(of(0x90, 96), Some(DatagramKind::Rtp));
        assert_eq!(of(255, 0), None);
        assert_eq!(DatagramKind::of(&[]), None);
    }
}
