//! Body of the fuzz target `ingest`.

use std::time::{Duration, Instant};

use dimpl::SrtpProfile;

use super::{Ingest, MAX_LAYERS, MAX_STREAMS, UpMedia};
use crate::rtp::Incoming;
use crate::rtp::rtcp::{self, Feedback};
use crate::sdp::{MediaKind, PayloadTypes, uri};
use crate::sending::{Path, PathProtocol, SendQueue};
use crate::srtp::SrtpKeys;

/// Packets of any shape from a publisher do no harm: what is kept and what is told stays within its bounds. Each takes two bytes before it, for its length and for what passes until it comes.
pub fn fuzz(start: Instant, mut input: &[u8]) {
    let mut ingest = Ingest::new(start, PayloadTypes::ours());
    let names =
        [(1, uri::MID), (2, uri::RID), (3, uri::REPAIRED_RID), (4, uri::TRANSPORT_CC), (5, uri::AUDIO_LEVEL)];
    ingest.learn_extensions(&names.map(|(id, name)| (id, name.to_owned())));
    let rids = ["q", "h", "f"].map(str::to_owned).to_vec();
    ingest.declare(UpMedia {
        mid: "0".into(),
        kind: MediaKind::Audio,
        rids: Vec::new(),
        ssrc: Some((1, None)),
    });
    ingest.declare(UpMedia { mid: "1".into(), kind: MediaKind::Video, rids, ssrc: None });
    ingest.publish("0", 0);
    ingest.publish("1", 1);
    let keys = SrtpKeys::new(SrtpProfile::AEAD_AES_128_GCM, &[7; 56]).expect("long enough");
    let (mut sender, _) = keys.contexts(false);
    let path = Path { protocol: PathProtocol::Udp, local: None, remote: ([127, 0, 0, 1], 9).into() };
    let mut queue = SendQueue::default();
    let mut now = start;
    while let [len, wait, rest @ ..] = input {
        let (packet, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        input = rest;
        now += Duration::from_millis(u64::from(*wait));
        for feedback in rtcp::parse(packet) {
            if let Feedback::Sender(report) = feedback {
                ingest.handle_sender_report(now, &report);
            }
        }
        let Some(header) = Incoming::parse(packet) else { continue };
        let index = 0x1_0000 + u64::from(header.sequence);
        if let Some(arrival) = ingest.handle_packet(now, path, &header, index, &packet[header.len..]) {
            assert!(arrival.layer < MAX_LAYERS && arrival.packet.payload.len() <= packet.len());
            ingest.want_keyframe(arrival.source, arrival.layer);
        }
        assert!(ingest.streams.len() <= MAX_STREAMS);
        ingest.report(now, &mut sender, &mut queue);
        assert!(queue.iter().all(|(datagram, _)| datagram.len() < 1_500));
        queue.clear();
    }
}
