//! Reception by header: packets are counted, one in some is decrypted, and feedback is honest all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plenum_media::rtp::arrivals::Arrivals;
use plenum_media::rtp::rtcp::{self, Feedback, Report};
use plenum_media::rtp::{Incoming, extend};
use plenum_media::sdp::{self, MediaType, uri};
use plenum_media::srtp::{SrtpReceiver, SrtpSender};
use str0m::media::MediaKind;

use crate::connection::Received;
use crate::stamp::{Picture, Sound};

/// What becomes of the media that a client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// All of it is decrypted, repaired and handed over, by str0m.
    Whole,
    /// Packets are counted by their headers, and what is lost stays lost.
    Counted {
        /// One in so many packets of a stream is decrypted and handed over; at least 1. Of pictures every packet is, until
        /// the first key frame is whole.
        opened: u32,
    },
}

/// Time between two transport-wide feedbacks, as libwebrtc's usual one.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two receiver reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Streams that a client counts; a server that sends more is broken.
const MAX_STREAMS: usize = 4_096;

/// What was counted on a connection.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By SSRC.
    pub streams: HashMap<u32, StreamTally>,
    /// Packets that came again on a stream of their own (RFC 4588).
    pub repeated: u64,
    /// Packets that are no RTP, or of more streams than are counted.
    pub strange: u64,
}

/// What was counted of a stream.
#[derive(Debug, Clone)]
pub struct StreamTally {
    /// Sound or pictures.
    pub kind: MediaKind,
    /// Packets that came, without repetitions on a stream of their own.
    pub packets: u64,
    /// Their bytes, with headers and tags.
    pub bytes: u64,
    /// Packets that were decrypted, and those of them that could not be or were not what a [`Picture`] or [`Sound`]
    /// writes.
    pub opened: u64,
    /// See `opened`.
    pub damaged: u64,
    /// When the first packet came.
    pub first: Instant,
    /// When the first key frame was whole.
    pub first_picture: Option<Instant>,
    lowest: u64,
    highest: u64,
}

impl StreamTally {
    fn new(now: Instant, kind: MediaKind, number: u16) -> Self {
        // The roll-over counter begins with zero, and numbers below 2^15 (RFC 3711 §3.3.1).
        let number = u64::from(number);
        Self {
            kind,
            packets: 0,
            bytes: 0,
            opened: 0,
            damaged: 0,
            first: now,
            first_picture: None,
            lowest: number,
            highest: number,
        }
    }

    /// Packets that should have come, by their numbers.
    pub fn expected(&self) -> u64 {
        self.highest - self.lowest + 1
    }

    /// Packets that did not come.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.packets)
    }
}

pub(crate) struct Counter {
    opened: u32,
    /// SSRC of our feedback.
    ssrc: u32,
    keys: Option<(SrtpReceiver, SrtpSender)>,
    kinds: HashMap<u8, PayloadKind>,
    transport_id: Option<u8>,
    arrivals: Arrivals,
    /// Any stream, which feedback has to name one of.
    media: u32,
    next_feedback: Instant,
    next_report: Instant,
    reports: HashMap<u32, Reported>,
    /// A key frame that is on its way: stream, number and packets that came.
    key: HashMap<u32, (u32, u8)>,
    scratch: Vec<u8>,
    pub(crate) tally: Tally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PayloadKind {
    Media(MediaKind),
    Repetition,
}

/// What the last report said of a stream, and the sender's last.
#[derive(Debug, Default, Clone, Copy)]
struct Reported {
    expected: u64,
    packets: u64,
    sender: Option<(u32, Instant)>,
}

impl Counter {
    pub(crate) fn new(now: Instant, opened: u32, ssrc: u32) -> Self {
        Self {
            opened: opened.max(1),
            ssrc,
            keys: None,
            kinds: HashMap::new(),
            transport_id: None,
            arrivals: Arrivals::new(now),
            media: 0,
            next_feedback: now + FEEDBACK_INTERVAL,
            next_report: now + REPORT_INTERVAL,
            reports: HashMap::new(),
            key: HashMap::new(),
            scratch: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The handshake is done.
    pub(crate) fn set_keys(&mut self, keys: (SrtpSender, SrtpReceiver)) {
        self.keys = Some((keys.1, keys.0));
    }

    /// The server's description says what payload types and extensions mean.
    pub(crate) fn learn(&mut self, session: &sdp::Session) {
        for media in &session.media {
            let kind = match media.kind {
                MediaType::Audio => MediaKind::Audio,
                MediaType::Video => MediaKind::Video,
                MediaType::Application | MediaType::Other => continue,
            };
            for codec in &media.codecs {
                self.kinds.insert(codec.payload_type, PayloadKind::Media(kind));
                if let Some(rtx) = codec.rtx {
                    self.kinds.insert(rtx, PayloadKind::Repetition);
                }
            }
            let transport = media.extensions.iter().find(|(_, name)| name == uri::TRANSPORT_CC);
            if let Some((id, _)) = transport {
                self.transport_id = Some(*id);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        // Without keys nothing can be said, and before the first packet there is nothing to say.
        (self.keys.is_some() && !self.tally.streams.is_empty())
            .then(|| self.next_feedback.min(self.next_report))
    }

    /// A media packet came. What was opened is handed over.
    pub(crate) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<Received> {
        let Some(header) = Incoming::parse(datagram) else {
            self.tally.strange += 1;
            return None;
        };
        let number = header.extensions.into_iter().find(|(id, _)| Some(*id) == self.transport_id);
        if let Some([high, low]) = number.map(|(_, value)| value) {
            self.arrivals.push(now, u16::from_be_bytes([*high, *low]));
        }
        let kind = match self.kinds.get(&header.payload_type) {
            Some(PayloadKind::Media(kind)) => *kind,
            Some(PayloadKind::Repetition) | None => {
                self.tally.repeated += u64::from(self.kinds.contains_key(&header.payload_type));
                return None;
            }
        };
        let full = self.tally.streams.len() >= MAX_STREAMS;
        if full && !self.tally.streams.contains_key(&header.ssrc) {
            self.tally.strange += 1;
            return None;
        }
        let stream = self
            .tally
            .streams
            .entry(header.ssrc)
            .or_insert_with(|| StreamTally::new(now, kind, header.sequence));
        let sequence = extend(stream.highest, header.sequence);
        stream.highest = stream.highest.max(sequence);
        stream.lowest = stream.lowest.min(sequence);
        stream.packets += 1;
        stream.bytes += datagram.len() as u64;
        self.media = header.ssrc;
        let is_turn = stream.packets % u64::from(self.opened) == 1 % u64::from(self.opened);
        let waits = stream.kind == MediaKind::Video && stream.first_picture.is_none();
        if is_turn || waits { self.open(now, datagram, &header) } else { None }
    }

    fn open(&mut self, now: Instant, datagram: &[u8], header: &Incoming<'_>) -> Option<Received> {
        let (receiver, _) = self.keys.as_mut()?;
        let stream = self.tally.streams.get_mut(&header.ssrc)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(datagram);
        stream.opened += 1;
        let Ok(opened) = receiver.unprotect_rtp(&mut self.scratch, header.len) else {
            stream.damaged += 1;
            return None;
        };
        let payload = &self.scratch[header.len..opened.len];
        let picture = Picture::parse(payload);
        let is_ours = picture.is_some() || Sound::parse(payload).is_some();
        stream.damaged += u64::from(!is_ours && !payload.is_empty());
        if let Some(picture) = picture.filter(|picture| picture.key && stream.first_picture.is_none()) {
            let (number, parts) = self.key.entry(header.ssrc).or_insert((picture.number, 0));
            if *number != picture.number {
                (*number, *parts) = (picture.number, 0);
            }
            *parts += 1;
            if *parts >= picture.parts {
                stream.first_picture = Some(now);
                self.key.remove(&header.ssrc);
            }
        }
        Some(Received {
            at: now,
            ssrc: header.ssrc,
            sequence: opened.index,
            timestamp: header.timestamp,
            marker: header.marker,
            dependency: None,
            payload: Arc::from(payload),
        })
    }

    /// A control packet came: senders' reports say what ours have to name.
    pub(crate) fn handle_control(&mut self, now: Instant, datagram: &[u8]) {
        let Some((receiver, _)) = &mut self.keys else { return };
        self.scratch.clear();
        self.scratch.extend_from_slice(datagram);
        let Ok(len) = receiver.unprotect_rtcp(&mut self.scratch) else { return };
        for feedback in rtcp::parse(&self.scratch[..len]) {
            if let Feedback::Sender(report) = feedback
                && self.tally.streams.contains_key(&report.ssrc)
            {
                self.reports.entry(report.ssrc).or_default().sender = Some((report.middle(), now));
            }
        }
    }

    /// Writes what is due, protected.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mut send: impl FnMut(Vec<u8>)) {
        let Some((_, sender)) = &mut self.keys else { return };
        let mut protect = |mut bytes: Vec<u8>| {
            if sender.protect_rtcp(&mut bytes, 0).is_ok() {
                send(bytes);
            }
        };
        if now >= self.next_feedback {
            self.next_feedback = now + FEEDBACK_INTERVAL;
            self.arrivals.tell(self.ssrc, self.media, |packet| protect(packet.to_vec()));
        }
        if now >= self.next_report && !self.tally.streams.is_empty() {
            self.next_report = now + REPORT_INTERVAL;
            let reports: Vec<Report> = self
                .tally
                .streams
                .iter()
                .map(|(ssrc, stream)| {
                    let reported = self.reports.entry(*ssrc).or_default();
                    report(now, *ssrc, stream, reported)
                })
                .collect();
            for reports in reports.chunks(rtcp::MAX_REPORTS) {
                let mut bytes = Vec::new();
                rtcp::write_receiver_report(&mut bytes, self.ssrc, reports);
                protect(bytes);
            }
        }
    }

    /// Asks for a key frame of a stream.
    pub(crate) fn request_keyframe(&mut self, ssrc: u32) -> Option<Vec<u8>> {
        let (_, sender) = self.keys.as_mut()?;
        let mut bytes = Vec::new();
        rtcp::write_picture_loss(&mut bytes, self.ssrc, ssrc);
        sender.protect_rtcp(&mut bytes, 0).ok()?;
        Some(bytes)
    }
}

fn report(now: Instant, ssrc: u32, stream: &StreamTally, reported: &mut Reported) -> Report {
    let (expected, packets) = (stream.expected(), stream.packets);
    let due = expected.saturating_sub(reported.expected);
    let missing = due.saturating_sub(packets.saturating_sub(reported.packets));
    (reported.expected, reported.packets) = (expected, packets);
    let (last_sr, at) = reported.sender.unwrap_or((0, now));
    Report {
        ssrc,
        fraction_lost: rtcp::fraction_lost(missing, due),
        lost: stream.lost().min(u64::from(u32::MAX)) as u32,
        highest: stream.highest as u32,
        // Not measured: nobody who counts plays anything.
        jitter: 0,
        last_sr,
        delay: rtcp::delay(now.saturating_duration_since(at)),
    }
}

/// Body of the fuzz target `client_packet`: packets of any shape are counted without harm. A byte before each says how long
/// it is.
pub fn fuzz(start: Instant, mut input: &[u8]) {
    let mut counter = Counter::new(start, 1, 7);
    counter.transport_id = Some(3);
    counter.kinds = HashMap::from([
        (96, PayloadKind::Media(MediaKind::Video)),
        (97, PayloadKind::Repetition),
        (111, PayloadKind::Media(MediaKind::Audio)),
    ]);
    while let [len, rest @ ..] = input {
        let (packet, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        let _ = counter.handle(start, packet);
        counter.handle_control(start, packet);
        let _ = Picture::parse(packet);
        let _ = Sound::parse(packet);
        input = rest;
    }
    for stream in counter.tally.streams.values() {
        assert!(stream.expected() >= 1 && stream.lost() <= stream.expected());
    }
    counter.arrivals.tell(1, 2, |bytes| assert!(bytes.len() < 1_400));
}

#[cfg(test)]
mod tests {
    use plenum_media::rtp::{Header, write_header};

    use super::*;

    /// A packet of stream 77.
    fn packet(sequence: u16) -> Vec<u8> {
        let header = Header {
            payload_type: 96,
            marker: false,
            sequence,
            timestamp: 5,
            ssrc: 77,
            mid: Some((9, "12")),
            transport: None,
            playout_delay: None,
            dependency: None,
        };
        let mut bytes = Vec::new();
        write_header(&mut bytes, &header);
        bytes.extend_from_slice(&[0; 20]);
        bytes
    }

    #[test]
    fn what_is_missing_is_counted_and_what_comes_late_is_not_missing() {
        let now = Instant::now();
        let mut counter = Counter::new(now, 100, 7);
        counter.kinds = HashMap::from([(96, PayloadKind::Media(MediaKind::Video))]);
        for sequence in [10, 11, 13, 15, 14] {
            counter.handle(now, &packet(sequence));
        }
        let stream = &counter.tally.streams[&77];
        assert_eq!((stream.packets, stream.expected(), stream.lost()), (5, 6, 1));
        let mut reported = Reported::default();
        let first = report(now, 77, stream, &mut reported);
        assert_eq!((first.fraction_lost, first.lost, first.highest), (42, 1, 15));
        let second = report(now, 77, stream, &mut reported);
        assert_eq!((second.fraction_lost, second.lost), (0, 1), "since the last report nothing");
    }
}
