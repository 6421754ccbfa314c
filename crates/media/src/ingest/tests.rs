use std::collections::HashSet;

use dimpl::SrtpProfile;
use proptest::prelude::*;

use super::*;
use crate::rtp::rtcp::Feedback;
use crate::sdp::uri;
use crate::sending::PathProtocol;
use crate::srtp::{SrtpKeys, SrtpReceiver};

const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
const TRANSPORT: u8 = 3;
/// VP8 and its repetitions, in our own numbers.
const VIDEO: u8 = 96;
const RTX: u8 = 97;
const AUDIO: u8 = 111;

/// A publisher with a camera of three layers on m-line 1, published as 7, and a microphone on m-line 0, published as 8.
struct Publisher {
    now: Instant,
    ingest: Ingest,
    sender: SrtpSender,
    receiver: SrtpReceiver,
    transport_number: u16,
    /// Of the next packets, in ticks of 90 kHz.
    timestamp: u32,
}

/// What is handed over of a packet: track, layer, number and payload.
type Handed = Option<(usize, usize, u64, Vec<u8>)>;

impl Publisher {
    fn new() -> Self {
        let now = Instant::now();
        let mut ingest = Ingest::new(now, PayloadTypes::ours());
        let names = [
            (MID, uri::MID),
            (RID, uri::RID),
            (REPAIRED_RID, uri::REPAIRED_RID),
            (TRANSPORT, uri::TRANSPORT_CC),
        ];
        ingest.learn_extensions(&names.map(|(id, name)| (id, name.to_owned())));
        ingest.declare(microphone());
        ingest.declare(camera(&["q", "h", "f"]));
        ingest.publish("1", 7);
        ingest.publish("0", 8);
        let keys = SrtpKeys::new(SrtpProfile::AEAD_AES_128_GCM, &[5; 56]).expect("long enough");
        let ((sender, _), (_, receiver)) = (keys.contexts(false), keys.contexts(true));
        Self { now, ingest, sender, receiver, transport_number: 0, timestamp: 9 }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn packet(
        &mut self,
        payload_type: u8,
        ssrc: u32,
        index: u64,
        said: &[(u8, &str)],
        payload: &[u8],
    ) -> Handed {
        let mut bytes = vec![0x90, payload_type];
        bytes.extend_from_slice(&(index as u16).to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&ssrc.to_be_bytes());
        bytes.extend_from_slice(&[0xbe, 0xde, 0, 0]);
        let [high, low] = self.transport_number.to_be_bytes();
        self.transport_number += 1;
        bytes.extend_from_slice(&[TRANSPORT << 4 | 1, high, low]);
        for (id, value) in said {
            bytes.push(id << 4 | (value.len() - 1) as u8);
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes[15] = ((bytes.len() - 16) / 4) as u8;
        let header = Incoming::parse(&bytes).expect("well-formed");
        let arrival = self.ingest.handle_packet(self.now, path(1), &header, index, payload)?;
        let packet = arrival.packet;
        Some((arrival.source, arrival.layer, packet.sequence, packet.payload.to_vec()))
    }

    /// What the publisher is told now.
    fn told(&mut self) -> Vec<u8> {
        let mut queue = SendQueue::default();
        self.ingest.report(self.now, &mut self.sender, &mut queue);
        let mut told = Vec::new();
        for (datagram, to) in queue.iter() {
            assert!(datagram.len() < 1_400 && *to == path(1));
            let mut datagram = datagram.to_vec();
            let len = self.receiver.unprotect_rtcp(&mut datagram).expect("authentic");
            told.extend_from_slice(&datagram[..len]);
        }
        told
    }

    /// Numbers that the publisher is asked for, by stream.
    fn asked(&mut self) -> Vec<(u32, u16)> {
        let told = self.told();
        let all = rtcp::parse(&told).filter_map(|feedback| match feedback {
            Feedback::Nack { ssrc, list } => {
                Some(list.iter().map(move |number| (ssrc, number)).collect::<Vec<_>>())
            }
            _ => None,
        });
        all.flatten().collect()
    }
}

fn path(port: u16) -> Path {
    Path { protocol: PathProtocol::Udp, local: None, remote: ([127, 0, 0, 1], port).into() }
}

fn camera(rids: &[&str]) -> UpMedia {
    let rids = rids.iter().map(|rid| (*rid).to_owned()).collect();
    UpMedia { mid: "1".into(), kind: MediaKind::Video, rids, ssrc: None }
}

fn microphone() -> UpMedia {
    UpMedia { mid: "0".into(), kind: MediaKind::Audio, rids: Vec::new(), ssrc: Some((50, None)) }
}

#[test]
fn first_packets_say_where_a_stream_belongs() {
    let mut publisher = Publisher::new();
    assert_eq!(publisher.packet(VIDEO, 1_000, 5, &[], b"a"), None, "whose is it?");
    assert_eq!(publisher.packet(VIDEO, 1_000, 6, &[(MID, "1")], b"a"), None, "which layer?");
    assert_eq!(publisher.packet(VIDEO, 1_000, 7, &[(MID, "1"), (RID, "x")], b"a"), None, "there is none");
    let found = publisher.packet(VIDEO, 1_000, 8, &[(MID, "1"), (RID, "h")], b"a");
    assert_eq!(found, Some((7, 1, 8, b"a".to_vec())));
    assert_eq!(publisher.packet(VIDEO, 1_000, 9, &[], b"b"), Some((7, 1, 9, b"b".to_vec())));
    assert_eq!(
        publisher.packet(AUDIO, 50, 3, &[], b"s"),
        Some((8, 0, 3, b"s".to_vec())),
        "named in the offer"
    );
    assert_eq!(publisher.packet(AUDIO, 51, 3, &[(MID, "0")], b"s"), Some((8, 0, 3, b"s".to_vec())));
    assert_eq!(
        publisher.packet(AUDIO, 50, 4, &[], b"s"),
        Some((8, 0, 4, b"s".to_vec())),
        "the last one counts"
    );
}

#[test]
fn what_is_missing_is_asked_for_and_taken_once() {
    let mut publisher = Publisher::new();
    let first = [(MID, "1"), (RID, "q")];
    publisher.packet(VIDEO, 1_000, 0xfffe, &first, b"a");
    publisher.packet(VIDEO, 1_000, 0x1_0001, &[], b"d");
    assert_eq!(publisher.asked(), [], "it may only be late");
    let at = publisher.ingest.ask_at().expect("something is missing");
    publisher.now = at;
    assert_eq!(publisher.asked(), [(1_000, 0xffff), (1_000, 0)]);
    publisher.wait(30);
    let repair = [(MID, "1"), (REPAIRED_RID, "q")];
    let repaired = publisher.packet(RTX, 1_001, 1, &repair, &[0xff, 0xff, b'b']);
    assert_eq!(repaired, Some((7, 0, 0xffff, b"b".to_vec())));
    assert_eq!(publisher.packet(RTX, 1_001, 2, &[], &[0xff, 0xff, b'b']), None, "it was repaired");
    assert_eq!(publisher.packet(VIDEO, 1_000, 0xffff, &[], b"b"), None, "and this is late");
    assert_eq!(publisher.packet(VIDEO, 1_000, 0x1_0000, &[], b"c"), Some((7, 0, 0x1_0000, b"c".to_vec())));
    publisher.wait(1_000);
    assert_eq!(publisher.asked(), []);
    assert_eq!(publisher.ingest.ask_at(), None);
}

#[test]
fn on_a_link_that_is_too_narrow_only_the_smallest_picture_is_worth_asking_for() {
    const SSRCS: [u32; 3] = [1_000, 2_000, 3_000];
    let mut publisher = Publisher::new();
    // A picture of four packets a layer; a busy link takes five milliseconds more for each and loses every other packet.
    let picture = |publisher: &mut Publisher, nth: u64, is_narrow: bool| {
        publisher.timestamp += 33 * 90;
        publisher.wait(if is_narrow { 38 } else { 33 });
        for (ssrc, rid) in SSRCS.into_iter().zip(["q", "h", "f"]) {
            for index in 4 * nth..4 * nth + 4 {
                if is_narrow && index % 2 == 1 {
                    publisher.transport_number += 1;
                } else {
                    publisher.packet(VIDEO, ssrc, index, &[(MID, "1"), (RID, rid)], b"a");
                }
            }
        }
        publisher.asked()
    };
    (1..30).for_each(|nth| assert_eq!(picture(&mut publisher, nth, false), []));
    let asked: Vec<Vec<_>> = (30..70).map(|nth| picture(&mut publisher, nth, true)).collect();
    let of = |asked: &[Vec<(u32, u16)>], ssrc: u32| asked.iter().flatten().any(|(of, _)| *of == ssrc);
    assert!(of(&asked[..10], 3_000), "it may be the air");
    assert!(of(&asked[30..], 1_000) && !of(&asked[30..], 2_000) && !of(&asked[30..], 3_000));
}

#[test]
fn padding_is_no_packet_but_has_arrived() {
    let mut publisher = Publisher::new();
    publisher.packet(VIDEO, 1_000, 5, &[(MID, "1"), (RID, "q")], b"a");
    let repair = [(MID, "1"), (REPAIRED_RID, "q")];
    assert_eq!(publisher.packet(RTX, 1_001, 1, &repair, &[]), None);
    assert_eq!(publisher.packet(RTX, 1_001, 2, &[], &[0]), None, "half a number");
    assert_eq!(publisher.packet(VIDEO, 2_000, 1, &[], b"a"), None, "of a stream that nobody knows");
    publisher.wait(100);
    let told = publisher.told();
    let Some(Feedback::Arrivals(arrivals)) = rtcp::parse(&told).next() else { panic!("no feedback") };
    assert_eq!(arrivals.iter().map(|packet| packet.sequence).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(arrivals.iter().all(|packet| packet.arrival.is_some()));
}

#[test]
fn what_has_arrived_is_told_more_often_where_much_does() {
    for (burst, least, most) in [(1, 10, 10), (5, 20, 25)] {
        let mut publisher = Publisher::new();
        let (mut feedbacks, mut index) = (0, 0);
        for _ in 0..100 {
            for _ in 0..burst {
                publisher.packet(AUDIO, 50, index, &[], b"a");
                index += 1;
            }
            let told = publisher.told();
            feedbacks += rtcp::parse(&told).filter(|part| matches!(part, Feedback::Arrivals(_))).count();
            publisher.wait(10);
        }
        assert!((least..=most).contains(&feedbacks), "{feedbacks}");
    }
}

#[test]
fn reports_and_clocks_belong_to_their_streams() {
    let mut publisher = Publisher::new();
    publisher.packet(VIDEO, 1_000, 5, &[(MID, "1"), (RID, "f")], b"a");
    publisher.packet(VIDEO, 1_000, 7, &[], b"a");
    publisher.packet(AUDIO, 50, 5, &[], b"a");
    let sent = SenderReport { ssrc: 1_000, ntp: 9 << 32, rtp: 77, packets: 1, octets: 1 };
    let now = publisher.now;
    let anchor = ClockAnchor { ntp: 9 << 32, rtp: 77, received: now };
    assert_eq!(publisher.ingest.handle_sender_report(now, &sent), Some((7, 2, anchor)));
    let stranger = SenderReport { ssrc: 4, ..sent };
    assert_eq!(publisher.ingest.handle_sender_report(now, &stranger), None);
    publisher.wait(1_000);
    let told = publisher.told();
    let reports = rtcp::parse(&told).filter_map(|feedback| match feedback {
        Feedback::Report(report) => {
            Some((report.ssrc, report.highest, report.lost, report.last_sr, report.delay))
        }
        _ => None,
    });
    assert_eq!(reports.collect::<Vec<_>>(), [(50, 5, 0, 0, 0), (1_000, 7, 1, 9 << 16, 0x1_0000)]);
}

#[test]
fn key_frames_are_asked_of_the_stream_of_a_layer() {
    let mut publisher = Publisher::new();
    publisher.packet(VIDEO, 1_000, 5, &[(MID, "1"), (RID, "q")], b"a");
    publisher.packet(VIDEO, 3_000, 5, &[(MID, "1"), (RID, "f")], b"a");
    assert!(!publisher.ingest.want_keyframe(7, 1), "there is no such layer");
    assert!(!publisher.ingest.want_keyframe(9, 0), "nor such a track");
    assert!(publisher.ingest.want_keyframe(7, 2) && publisher.ingest.want_keyframe(7, 2));
    let told = publisher.told();
    let asked = rtcp::parse(&told).filter(|part| matches!(part, Feedback::KeyframeRequest { .. }));
    assert_eq!(asked.collect::<Vec<_>>(), [Feedback::KeyframeRequest { ssrc: 3_000 }]);
    assert!(publisher.told().is_empty(), "once");
}

#[test]
fn an_m_line_that_changes_forgets_its_streams_and_keeps_its_track() {
    let mut publisher = Publisher::new();
    publisher.packet(VIDEO, 1_000, 5, &[(MID, "1"), (RID, "q")], b"a");
    publisher.ingest.declare(camera(&["q", "h", "f"]));
    assert!(publisher.packet(VIDEO, 1_000, 6, &[], b"a").is_some(), "nothing has changed");
    publisher.ingest.declare(camera(&[]));
    assert_eq!(publisher.packet(VIDEO, 1_000, 7, &[], b"a"), None);
    assert_eq!(publisher.packet(VIDEO, 1_000, 8, &[(MID, "1")], b"a"), Some((7, 0, 8, b"a".to_vec())));
    publisher.ingest.unpublish(7);
    assert_eq!(publisher.packet(VIDEO, 1_000, 9, &[], b"a"), None);
    publisher.ingest.publish("1", 9);
    assert_eq!(publisher.packet(VIDEO, 1_000, 10, &[], b"a").map(|found| found.0), Some(9));
    publisher.ingest.remove("1");
    assert_eq!(publisher.packet(VIDEO, 1_000, 11, &[(MID, "1")], b"a"), None);
    assert_eq!(publisher.ingest.published().collect::<Vec<_>>(), [8]);
}

#[test]
fn streams_are_bounded_and_those_of_no_use_make_room() {
    let mut publisher = Publisher::new();
    for ssrc in 0..10_000 {
        publisher.packet(AUDIO, ssrc, 1, &[(MID, "0")], b"a");
    }
    assert!(publisher.ingest.streams.len() <= MAX_STREAMS);
    assert!(publisher.packet(AUDIO, 9_999, 2, &[], b"a").is_some(), "the last one counts");
}

proptest! {
    /// Whatever is lost, late or repeated in whatever order: every packet is handed over once, with what is in it.
    #[test]
    fn a_packet_is_handed_over_once(
        steps in prop::collection::vec((0..4u64, 0..40u64, any::<bool>(), 0..30u64), 1..1_000),
    ) {
        let mut publisher = Publisher::new();
        let (mut highest, mut repetitions) = (0xfff0, 0);
        let (mut came, mut handed) = (HashSet::new(), HashSet::new());
        for (ahead, back, is_repetition, wait) in steps {
            publisher.wait(wait);
            highest += ahead;
            let index = highest - back;
            let content = index.to_be_bytes();
            let first = [(MID, "1"), (if is_repetition { REPAIRED_RID } else { RID }, "h")];
            let arrival = if is_repetition {
                repetitions += 1;
                let payload = [&(index as u16).to_be_bytes()[..], &content].concat();
                publisher.packet(RTX, 2_001, repetitions, &first, &payload)
            } else if came.insert(index) {
                publisher.packet(VIDEO, 2_000, index, &first, &content)
            } else {
                // A replay, which is never opened.
                None
            };
            if let Some((source, layer, sequence, payload)) = arrival {
                prop_assert_eq!((source, layer, payload), (7, 1, sequence.to_be_bytes().to_vec()));
                prop_assert!(handed.insert(sequence), "{} twice", sequence);
            }
            publisher.told();
        }
    }
}
