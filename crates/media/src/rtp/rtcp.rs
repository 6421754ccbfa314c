//! RTCP (RFC 3550 §6, RFC 4585): the reports and feedback that subscribers send, and our sender reports.

use super::twcc::TransportFeedback;

/// Something that a subscriber reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// How a stream arrives.
    Report(Report),
    /// Packets that did not arrive.
    Nack {
        /// The stream.
        ssrc: u32,
        /// Pairs of packet number and mask of the following sixteen.
        list: NackList<'a>,
    },
    /// A picture cannot be decoded: a key frame is needed (PLI or FIR).
    KeyframeRequest {
        /// The stream.
        ssrc: u32,
    },
    /// Which packets of the whole connection have arrived, and when.
    Arrivals(TransportFeedback<'a>),
    /// What the receiver believes that the connection carries, in bits per second (REMB,
    /// draft-alvestrand-rmcat-remb-03 §2.2).
    Bandwidth(u64),
    /// The receiver has stopped.
    Goodbye,
}

/// A report block (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The stream.
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// The highest sequence number that has arrived.
    pub highest: u16,
    /// Interarrival jitter in ticks of the codec.
    pub jitter: u32,
    /// Middle of the NTP time of the last sender report that arrived; 0 for none.
    pub last_sr: u32,
    /// Time between its arrival and this report, in 65536ths of a second.
    pub delay: u32,
}

/// The entries of a NACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NackList<'a>(&'a [u8]);

impl NackList<'_> {
    /// The missing sequence numbers.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.chunks_exact(4).flat_map(|entry| {
            let first = u16::from_be_bytes([entry[0], entry[1]]);
            let mask = u16::from_be_bytes([entry[2], entry[3]]);
            let following = (0..16).filter(move |bit| mask & (1 << bit) != 0);
            std::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Reads a compound packet; stops at the first part that does not fit.
pub fn parse(mut compound: &[u8]) -> impl Iterator<Item = Feedback<'_>> {
    std::iter::from_fn(move || {
        let [first, kind, l1, l2, ..] = *compound else { return None };
        if first >> 6 != 2 {
            return None;
        }
        let len = 4 * (usize::from(u16::from_be_bytes([l1, l2])) + 1);
        let packet = compound.get(..len)?;
        compound = &compound[len..];
        Some(parts(packet, first & 0x1f, kind))
    })
    .flatten()
}

fn parts(packet: &[u8], count: u8, kind: u8) -> impl Iterator<Item = Feedback<'_>> {
    let mut single = None;
    let mut blocks: &[u8] = &[];
    let mut requests: &[u8] = &[];
    match (kind, count) {
        (SENDER_REPORT, _) => blocks = report_blocks(packet, 28, count),
        (RECEIVER_REPORT, _) => blocks = report_blocks(packet, 8, count),
        (GOODBYE, _) => single = Some(Feedback::Goodbye),
        (TRANSPORT_FEEDBACK, 1) if packet.len() >= 12 => {
            single = Some(Feedback::Nack { ssrc: be32(packet, 8), list: NackList(&packet[12..]) });
        }
        (PAYLOAD_FEEDBACK, 1) if packet.len() >= 12 => {
            single = Some(Feedback::KeyframeRequest { ssrc: be32(packet, 8) });
        }
        (TRANSPORT_FEEDBACK, 15) => {
            let body = packet.get(12..).unwrap_or_default();
            single = TransportFeedback::parse(body).map(Feedback::Arrivals);
        }
        (PAYLOAD_FEEDBACK, 15) => single = remb(packet),
        // FIR names its streams in entries of eight bytes (RFC 5104 §4.3.1).
        (PAYLOAD_FEEDBACK, 4) if packet.len() >= 12 => requests = &packet[12..],
        _ => {}
    }
    let reports = blocks.chunks_exact(24).map(|block| {
        Feedback::Report(Report {
            ssrc: be32(block, 0),
            fraction_lost: block[4],
            highest: be32(block, 8) as u16,
            jitter: be32(block, 12),
            last_sr: be32(block, 16),
            delay: be32(block, 20),
        })
    });
    let requests = requests.chunks_exact(8).map(|entry| Feedback::KeyframeRequest { ssrc: be32(entry, 0) });
    single.into_iter().chain(reports).chain(requests)
}

fn remb(packet: &[u8]) -> Option<Feedback<'_>> {
    let [b'R', b'E', b'M', b'B', _ssrcs, b0, b1, b2, ..] = *packet.get(12..)? else { return None };
    // Six bits of exponent, eighteen of mantissa.
    let mantissa = u64::from(u32::from_be_bytes([0, b0 & 3, b1, b2]));
    Some(Feedback::Bandwidth(mantissa.saturating_mul(1 << (b0 >> 2))))
}

fn report_blocks(packet: &[u8], from: usize, count: u8) -> &[u8] {
    let rest = packet.get(from..).unwrap_or_default();
    &rest[..rest.len().min(24 * usize::from(count))]
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What a sender report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// The stream.
    pub ssrc: u32,
    /// NTP time of the sender, in 2^-32 seconds.
    pub ntp: u64,
    /// The same moment in ticks of the stream.
    pub rtp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Bytes of payload sent.
    pub octets: u32,
}

/// Appends a sender report and the stream's CNAME.
pub fn write_sender_report(to: &mut Vec<u8>, report: &SenderReport, cname: &str) {
    to.extend_from_slice(&[0x80, SENDER_REPORT, 0, 6]);
    to.extend_from_slice(&report.ssrc.to_be_bytes());
    to.extend_from_slice(&report.ntp.to_be_bytes());
    to.extend_from_slice(&report.rtp.to_be_bytes());
    to.extend_from_slice(&report.packets.to_be_bytes());
    to.extend_from_slice(&report.octets.to_be_bytes());
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    // One chunk: SSRC, item type 1, length, text, at least one zero, to a multiple of four.
    let words = (4 + 2 + cname.len() + 1).div_ceil(4);
    to.extend_from_slice(&[0x81, 202, (words >> 8) as u8, words as u8]);
    let chunk = to.len();
    to.extend_from_slice(&report.ssrc.to_be_bytes());
    to.extend_from_slice(&[1, cname.len() as u8]);
    to.extend_from_slice(cname);
    to.resize(chunk + 4 * words, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compound_of_everything_is_read() {
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
        bytes.extend_from_slice(&[0, 0, 0, 9, 64, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 10]);
        bytes.extend_from_slice(&[0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0x80, 0x01]);
        bytes.extend_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
        bytes.extend_from_slice(&[0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 3, 0, 0, 0]);
        bytes.extend_from_slice(&[0x81, 203, 0, 1, 0, 0, 0, 1]);
        let found: Vec<_> = parse(&bytes).collect();
        assert_eq!(found.len(), 5);
        assert_eq!(
            found[0],
            Feedback::Report(Report {
                ssrc: 9,
                fraction_lost: 64,
                highest: 5,
                jitter: 7,
                last_sr: 8,
                delay: 10
            })
        );
        let Feedback::Nack { ssrc: 9, list } = found[1] else { panic!("{:?}", found[1]) };
        assert_eq!(list.iter().collect::<Vec<_>>(), [0xffff, 0, 15]);
        assert_eq!(found[2], Feedback::KeyframeRequest { ssrc: 9 });
        assert_eq!(found[3], Feedback::KeyframeRequest { ssrc: 9 });
        assert_eq!(found[4], Feedback::Goodbye);
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).count() <= 5);
        }
    }

    #[test]
    fn bandwidth_and_arrivals_are_read() {
        let mut bytes = vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(b"REMB");
        bytes.extend_from_slice(&[1, 3 << 2 | 1, 0, 5, 0, 0, 0, 9]);
        bytes.extend_from_slice(&[0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 9]);
        bytes.extend_from_slice(&[0, 7, 0, 2, 0, 0, 1, 0, 0x20, 2, 4, 8]);
        let found: Vec<_> = parse(&bytes).collect();
        assert_eq!(found[0], Feedback::Bandwidth(0x1_0005 << 3));
        let Feedback::Arrivals(arrivals) = found[1] else { panic!("{:?}", found[1]) };
        let read: Vec<_> = arrivals.iter().map(|packet| (packet.sequence, packet.arrival)).collect();
        assert_eq!(read, [(7, Some(4)), (8, Some(12))]);
    }

    #[test]
    fn a_sender_report_is_whole_words() {
        for cname in ["", "a", "ab", "abc", "PA_x|camera"] {
            let mut out = Vec::new();
            let report = SenderReport { ssrc: 1, ntp: 2 << 32, rtp: 3, packets: 4, octets: 5 };
            write_sender_report(&mut out, &report, cname);
            assert_eq!(out.len() % 4, 0);
            let words = usize::from(u16::from_be_bytes([out[30], out[31]]));
            assert_eq!(out.len(), 28 + 4 * (words + 1));
            assert_eq!(out.last(), Some(&0));
        }
    }
}
