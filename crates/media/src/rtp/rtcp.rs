//! RTCP (RFC 3550 §6, RFC 4585): the reports and feedback that clients send, and ours.

use std::time::Duration;

use super::twcc::{self, TransportFeedback};

/// Something that a client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// What time it is on the sender's side of a stream.
    Sender(SenderReport),
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
    /// Packets lost so far; 24 bits of it are told.
    pub lost: u32,
    /// The highest sequence number that has arrived, with its roll-overs.
    pub highest: u32,
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
        (SENDER_REPORT, _) if packet.len() >= 28 => {
            single = Some(Feedback::Sender(SenderReport {
                ssrc: be32(packet, 4),
                ntp: u64::from(be32(packet, 8)) << 32 | u64::from(be32(packet, 12)),
                rtp: be32(packet, 16),
                packets: be32(packet, 20),
                octets: be32(packet, 24),
            }));
            blocks = report_blocks(packet, 28, count);
        }
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
            lost: be32(block, 4) & MAX_LOST,
            highest: be32(block, 8),
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

impl SenderReport {
    /// The middle of its NTP time, by which receiver reports name it (RFC 3550 §6.4.1).
    pub fn middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
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

/// Most reports of one packet.
pub const MAX_REPORTS: usize = 31;
/// The largest number of lost packets that a report has room for.
const MAX_LOST: u32 = 0xff_ffff;

/// Appends a receiver report of at most [`MAX_REPORTS`] streams in the name of `sender`.
pub fn write_receiver_report(to: &mut Vec<u8>, sender: u32, reports: &[Report]) {
    let reports = &reports[..reports.len().min(MAX_REPORTS)];
    let start = begin(to, reports.len() as u8, RECEIVER_REPORT, sender);
    for report in reports {
        let lost = u32::from(report.fraction_lost) << 24 | report.lost.min(MAX_LOST);
        for word in [report.ssrc, lost, report.highest, report.jitter, report.last_sr, report.delay] {
            to.extend_from_slice(&word.to_be_bytes());
        }
    }
    finish(to, start);
}

/// Appends a request for a key frame of `media` (RFC 4585 §6.3.1).
pub fn write_picture_loss(to: &mut Vec<u8>, sender: u32, media: u32) {
    let start = begin(to, 1, PAYLOAD_FEEDBACK, sender);
    to.extend_from_slice(&media.to_be_bytes());
    finish(to, start);
}

/// Appends a request for packets of `media` (RFC 4585 §6.2.1); nothing if none is missing.
pub fn write_nack(to: &mut Vec<u8>, sender: u32, media: u32, missing: impl IntoIterator<Item = u16>) {
    let mut missing = missing.into_iter().peekable();
    if missing.peek().is_none() {
        return;
    }
    let start = begin(to, 1, TRANSPORT_FEEDBACK, sender);
    to.extend_from_slice(&media.to_be_bytes());
    while let Some(first) = missing.next() {
        let mut mask = 0u16;
        while let Some(next) = missing.next_if(|next| (1..=16).contains(&next.wrapping_sub(first))) {
            mask |= 1 << (next.wrapping_sub(first) - 1);
        }
        to.extend_from_slice(&first.to_be_bytes());
        to.extend_from_slice(&mask.to_be_bytes());
    }
    finish(to, start);
}

/// Appends which packets have arrived and when, as [`twcc::write`] has it.
pub(super) fn write_arrivals(
    to: &mut Vec<u8>,
    sender: u32,
    media: u32,
    base: u16,
    arrivals: &[Option<i64>],
    count: u8,
) {
    let start = begin(to, 15, TRANSPORT_FEEDBACK, sender);
    to.extend_from_slice(&media.to_be_bytes());
    twcc::write(to, base, arrivals, count);
    finish(to, start);
}

/// So many missing packets of those that were due, in the unit of [`Report::fraction_lost`].
pub fn fraction_lost(missing: u64, due: u64) -> u8 {
    (256 * missing).checked_div(due).unwrap_or(0).min(255) as u8
}

/// A time in the unit of [`Report::delay`].
pub fn delay(time: Duration) -> u32 {
    (time.as_secs_f64() * 65_536.0) as u32
}

/// Begins a packet and returns where.
fn begin(to: &mut Vec<u8>, format: u8, kind: u8, sender: u32) -> usize {
    let start = to.len();
    to.extend_from_slice(&[0x80 | format, kind, 0, 0]);
    to.extend_from_slice(&sender.to_be_bytes());
    start
}

/// Pads the packet to whole words and writes its length.
fn finish(to: &mut Vec<u8>, start: usize) {
    let len = (to.len() - start).next_multiple_of(4);
    to.resize(start + len, 0);
    to[start + 2..start + 4].copy_from_slice(&((len / 4 - 1) as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_tell_is_read() {
        let report = Report {
            ssrc: 9,
            fraction_lost: 64,
            lost: 3,
            highest: 0x1_0005,
            jitter: 7,
            last_sr: 0x1234,
            delay: delay(Duration::from_millis(500)),
        };
        let mut bytes = Vec::new();
        write_receiver_report(&mut bytes, 1, &[report]);
        write_picture_loss(&mut bytes, 1, 9);
        write_nack(&mut bytes, 1, 9, []);
        write_nack(&mut bytes, 1, 9, [65_534, 65_535, 0, 14, 15]);
        assert_eq!(report.delay, 32_768);
        let found: Vec<_> = parse(&bytes).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[..2], [Feedback::Report(report), Feedback::KeyframeRequest { ssrc: 9 }]);
        let Feedback::Nack { ssrc: 9, list } = found[2] else { panic!("{:?}", found[2]) };
        assert_eq!(list.iter().collect::<Vec<_>>(), [65_534, 65_535, 0, 14, 15]);
        bytes.clear();
        write_receiver_report(&mut bytes, 1, &[report; 40]);
        assert_eq!(bytes.len(), 8 + 31 * 24);
        bytes.clear();
        let sent = SenderReport { ssrc: 1, ntp: 2 << 32 | 5, rtp: 3, packets: 4, octets: 5 };
        write_sender_report(&mut bytes, &sent, "name");
        assert_eq!(parse(&bytes).collect::<Vec<_>>(), [Feedback::Sender(sent)]);
    }

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
                lost: 1,
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
