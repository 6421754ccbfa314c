//! What is forwarded costs no memory: for each packet and receiver nothing is allocated.

mod support;

use std::time::{Duration, Instant};

use plenum_media::egress::Origin;
use plenum_media::ids::SourceKey;
use plenum_media::ingest::Source;
use plenum_media::sdp::MediaKind;
use plenum_media::sending::SendQueue;

#[test]
fn a_packet_that_is_forwarded_allocates_nothing() {
    let mut now = Instant::now();
    let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
    let mut egress = support::subscriber(1, 3);
    let mut queue = SendQueue::default();
    let (mut left, mut allocated, mut last) = (0, 0, 0);
    for nth in 0..6_000 {
        now += Duration::from_millis(3);
        let packet = source.push(now, 0, support::packet(nth)).map(|packet| packet.sequence).expect("of use");
        let packet = source.layers[0].ring.get(packet).expect("it came a moment ago");
        let origin = |key| (key == SourceKey(1)).then_some(Origin { source: &source, speaks: false });
        let info = allocation_counter::measure(|| {
            egress.forward(now, 0, 0, packet, &source, &mut queue);
            // Some are missed.
            if nth % 10 == 0 {
                egress.repeat(now, 0, last, &source, &mut queue);
            }
            if nth % 2 == 0 {
                egress.pace(now, origin, &mut queue);
            }
            if nth % 70 == 0 {
                egress.allocate(now, origin, |_, _| {});
            }
        });
        // What is remembered has its full size by then.
        if nth >= 3_000 {
            left += queue.iter().count();
            allocated += info.count_total;
        }
        let is_media = |bytes: &&[u8]| bytes[1] & 0x7f == 96;
        let sent = queue.iter().map(|(bytes, _)| bytes).filter(is_media).last();
        last = sent.map_or(last, |bytes| u16::from_be_bytes([bytes[2], bytes[3]]));
        queue.clear();
    }
    assert!(left > 3_000, "{left}");
    assert_eq!(allocated, 0);
}
