use std::collections::{BTreeMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::selector::tests::Camera;
use super::*;
use crate::ring::{Layering, tests::packet};
use crate::rtp::dd::tests::svc::{L1T3, L3T3, L3T3_KEY};
use crate::rtp::vp8;

const RTT: Duration = Duration::from_millis(100);

fn track(kind: MediaKind) -> DownTrack {
    let payload_types = match kind {
        MediaKind::Audio => vec![(Codec::Opus, 111)],
        MediaKind::Video => vec![(Codec::Vp8, 96)],
    };
    DownTrack::new(DownConfig {
        key: DownKey(1),
        source: SourceKey(1),
        kind,
        is_screen: false,
        mid: Some((9, "1".into())),
        ssrc: 1,
        rtx: Some((2, 97)),
        payload_types,
        dependency: None,
        transport: None,
        cname: "c".into(),
        playout_delay: None,
        wanted: Wanted { max_layer: 2, ..Wanted::default() },
        first_sequence: 100,
        first_timestamp: 5_000,
    })
}

/// That layer, and all that is in it.
fn only(layer: usize) -> Target {
    Target { layer, limits: Limits::NONE }
}

fn keyframe(sequence: u64, timestamp: u32) -> Packet {
    Packet { keyframe_start: true, ..packet(sequence, timestamp) }
}

fn vp8_packet(sequence: u64, picture: u16, tl0: u8, key: bool) -> Packet {
    let high = 0x80 | (picture >> 8) as u8;
    let payload = [0x90, 0xc0, high, picture as u8, tl0, u8::from(!key)];
    Packet {
        keyframe_start: key,
        layering: vp8::Descriptor::parse(&payload).map_or(Layering::None, Layering::Vp8),
        payload: payload[..].into(),
        ..packet(sequence, 0)
    }
}

#[test]
fn nothing_is_sent_before_a_key_frame() {
    let now = Instant::now();
    let mut track = track(MediaKind::Video);
    assert!(track.needs_keyframe(now, only(2)));
    assert!(!track.needs_keyframe(now, only(2)), "asked a moment ago");
    assert!(track.needs_keyframe(now + KEYFRAME_RETRY, only(2)));
    assert_eq!(track.forward(now, 2, only(2), &packet(50, 0), Clocks::default()), None);
    let sent = track.forward(now, 2, only(2), &keyframe(51, 900), Clocks::default()).expect("a key frame");
    assert_eq!((sent.numbers.sequence, sent.numbers.timestamp), (100, 5_000));
    assert!(!track.needs_keyframe(now + KEYFRAME_RETRY * 2, only(2)));
    assert_eq!(track.forward(now, 2, only(2), &packet(50, 0), Clocks::default()), None, "from before");
}

#[test]
fn the_first_picture_may_be_of_a_lower_layer_but_not_of_a_higher() {
    let now = Instant::now();
    let mut track = track(MediaKind::Video);
    assert_eq!(track.forward(now, 2, only(1), &keyframe(7, 0), Clocks::default()), None);
    assert!(track.forward(now, 0, only(1), &keyframe(7, 0), Clocks::default()).is_some());
    assert!(track.needs_keyframe(now, only(1)), "and the better layer is asked for");
    assert!(track.forward(now, 1, only(1), &packet(70, 0), Clocks::default()).is_none());
    assert!(track.forward(now, 1, only(1), &keyframe(71, 0), Clocks::default()).is_some());
    assert_eq!(track.current(), Some(1));
    assert!(
        track.forward(now, 0, only(1), &keyframe(8, 0), Clocks::default()).is_none(),
        "the old layer ends"
    );
}

#[test]
fn a_switch_continues_every_number() {
    let start = Instant::now();
    let mut track = track(MediaKind::Video);
    let mut send = |ms: u64, layer, packet: &Packet, clocks| {
        track.forward(start + Duration::from_millis(ms), layer, only(2), packet, clocks)
    };
    send(0, 0, &Packet { timestamp: 1_000, ..vp8_packet(10, 0x7ffe, 254, true) }, Clocks::default());
    let last =
        send(33, 0, &Packet { timestamp: 4_000, ..vp8_packet(11, 0x7fff, 255, false) }, Clocks::default());
    let last = last.expect("the same layer").numbers;
    // The reports say that the new layer's timestamp 90 000 is the old one's 10 000, and its key frame is 33 ms
    // (2970 ticks) after the old layer's last packet.
    let anchor = |rtp| Some(ClockAnchor { ntp: 7 << 32, rtp, received: start });
    let clocks = Clocks { from: anchor(10_000), to: anchor(90_000) };
    let key = Packet { timestamp: 90_000 - 6_000 + 2_970, ..vp8_packet(500, 17, 3, true) };
    let next = send(70, 2, &key, clocks).expect("a key frame of the wanted layer").numbers;
    assert_eq!(next.sequence, last.sequence + 1);
    assert_eq!(next.timestamp, last.timestamp + 2_970);
    assert_eq!(next.vp8, Some(vp8::Patch { picture_id: 0, tl0_index: 0 }));
}

#[test]
fn another_codec_continues_the_stream() {
    let now = Instant::now();
    let source = |key, codec| {
        let mut source = Source::new(SourceKey(key), MediaKind::Video, 1);
        let payload: &[u8] = if codec == Codec::Vp8 { &[0x10, 0] } else { &[0x08, 0] };
        let raw = crate::ingest::RawPacket {
            sequence: 1,
            timestamp: 0,
            marker: false,
            codec: Some(codec),
            audio_level: None,
            dependency: None,
            payload: payload.into(),
        };
        source.push(now, 0, raw).expect("of use");
        source
    };
    let (vp9, vp8) = (source(1, Codec::Vp9), source(2, Codec::Vp8));
    let first =
        |source: &Source| source.layers[0].ring.get(1 << 16 | 1).or(source.layers[0].ring.get(1)).cloned();
    let (vp9_packet, vp8_packet) = (first(&vp9).expect("kept"), first(&vp8).expect("kept"));
    let mut track = track(MediaKind::Video);
    track.config.payload_types = vec![(Codec::Vp9, 98)];
    let sent = track.forward(now, 0, only(0), &vp9_packet, Clocks::default()).expect("a key frame");
    assert_eq!((sent.payload_type, sent.numbers.sequence), (98, 100));
    track.note_left(now, 100, None);

    let format = Format { codec: Codec::Vp8, payload_type: 96, rtx: Some(95) };
    track.switch(SourceKey(2), format, Wanted::default());
    assert_eq!(track.missed(now, 100, RTT), None, "what was sent lies in the other source");
    assert!(track.needs_keyframe(now, only(0)));
    assert_eq!(track.forward(now, 0, only(0), &vp9_packet, Clocks::default()), None, "not of this codec");
    let later = now + Duration::from_millis(100);
    let next = track.forward(later, 0, only(0), &vp8_packet, Clocks::default()).expect("a key frame");
    assert_eq!((next.payload_type, next.numbers.sequence), (96, 101));
    assert_eq!(next.numbers.timestamp, sent.numbers.timestamp + 9_000);
    track.note_left(now, 101, None);
    assert_eq!(track.missed(later, 101, RTT), Some(101));
    assert_eq!(track.next_rtx().map(|rtx| (rtx.ssrc, rtx.payload_type)), Some((2, 95)));
}

#[test]
fn without_reports_the_time_that_passed_counts() {
    let start = Instant::now();
    let mut track = track(MediaKind::Video);
    let first =
        track.forward(start, 0, only(2), &keyframe(1, 77), Clocks::default()).expect("a key frame").numbers;
    let later = start + Duration::from_secs(2);
    let next =
        track.forward(later, 2, only(2), &keyframe(1, 9), Clocks::default()).expect("a key frame").numbers;
    assert_eq!(next.timestamp.wrapping_sub(first.timestamp), 180_000);
}

#[test]
fn repeats_are_limited() {
    let now = Instant::now();
    let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
    let mut track = track(MediaKind::Video);
    let raw = crate::ingest::RawPacket {
        sequence: 1,
        timestamp: 0,
        marker: false,
        codec: Some(Codec::Vp8),
        audio_level: None,
        dependency: None,
        payload: [0x10, 0][..].into(),
    };
    let incoming = source.push(now, 0, raw).expect("of use").clone();
    assert!(track.forward(now, 0, only(2), &incoming, Clocks::default()).is_some());
    assert_eq!(track.missed(now, 100, RTT), None, "nobody can miss it yet");
    let comes =
        |track: &DownTrack, ms: u64| track.has_keyframe_on_its_way(now + Duration::from_millis(ms), RTT);
    assert!(comes(&track, 5_000), "it waits");
    track.note_left(now, 100, None);
    assert!(comes(&track, 199) && !comes(&track, 200), "it is there, or lost");
    let mut at = now;
    let mut repeats = 0;
    for _ in 0..15 {
        repeats += usize::from(track.missed(at, 100, RTT) == Some(100));
        assert_eq!(track.missed(at, 100, RTT), None, "twice at once");
        at += Duration::from_millis(100);
    }
    assert_eq!(repeats, 7);
    assert_eq!(track.missed(at, 101, RTT), None, "never sent");
    let again = track.repeat(100, &source).expect("it is remembered");
    assert_eq!(again.wrapping, Wrapping::Rtx(Rtx { ssrc: 2, payload_type: 97, sequence: 1 }));
}

/// Without retransmissions of their own a packet leaves with the same bytes again, and so not before it has left.
#[test]
fn what_has_not_left_cannot_leave_again() {
    let now = Instant::now();
    let mut source = Source::new(SourceKey(1), MediaKind::Audio, 1);
    let mut track = track(MediaKind::Audio);
    track.config.rtx = None;
    let raw = crate::ingest::RawPacket {
        sequence: 1,
        timestamp: 0,
        marker: false,
        codec: Some(Codec::Opus),
        audio_level: None,
        dependency: None,
        payload: [1, 2][..].into(),
    };
    let incoming = source.push(now, 0, raw).expect("of use").clone();
    assert!(track.forward(now, 0, only(0), &incoming, Clocks::default()).is_some());
    assert!(track.repeat(100, &source).is_none());
    track.note_left(now, 100, Some(7));
    let again = track.repeat(100, &source).expect("it has left");
    assert_eq!(again.wrapping, Wrapping::Same(Left { transport: Some(7) }));
}

#[test]
fn red_is_unwrapped_for_those_who_do_not_take_it() {
    let now = Instant::now();
    let mut plain = track(MediaKind::Audio);
    let red = Packet { codec: Codec::Red, ..keyframe(1, 0) };
    let sent = plain.forward(now, 0, only(0), &red, Clocks::default()).expect("sound");
    assert_eq!((sent.payload_type, sent.content), (111, Content::Primary));
    let mut config = track(MediaKind::Audio).config;
    config.payload_types.push((Codec::Red, 63));
    let mut modern = DownTrack::new(config);
    let sent = modern.forward(now, 0, only(0), &red, Clocks::default()).expect("sound");
    assert_eq!((sent.payload_type, sent.content), (63, Content::Whole));
}

/// A packet of a VP8 stream with three temporal layers; two for each picture.
fn vp8_layer(picture: u16, temporal: u8, part: u8, key: bool) -> Packet {
    let [high, low] = ((picture + 0x7ff0) | 0x8000).to_be_bytes();
    let first = if part == 0 { 0x90 } else { 0x80 };
    // Every picture above the lowest layer needs that one alone.
    let payload = [first, 0xe0, high, low, 7, temporal << 6 | 0x20, u8::from(!key)];
    Packet {
        keyframe_start: key && part == 0,
        layering: vp8::Descriptor::parse(&payload).map_or(Layering::None, Layering::Vp8),
        payload: payload[..].into(),
        ..packet(1_000 + 2 * u64::from(picture) + u64::from(part), 0)
    }
}

#[test]
fn pictures_that_are_left_out_are_not_counted() {
    let now = Instant::now();
    let mut track = track(MediaKind::Video);
    let lowest = Target { layer: 0, limits: Limits { spatial: 0, temporal: 0 } };
    let mut sent = Vec::new();
    for nth in 0..40 {
        for part in 0..2 {
            let packet = vp8_layer(nth, [0, 2, 1, 2][usize::from(nth) % 4], part, nth == 0);
            sent.extend(track.forward(now, 0, lowest, &packet, Clocks::default()));
        }
    }
    assert_eq!(sent.len(), 20);
    for (nth, outgoing) in (0..).zip(&sent) {
        assert_eq!(outgoing.numbers.sequence, 100 + u64::from(nth));
        let picture = outgoing.numbers.vp8.expect("a picture").picture_id;
        assert_eq!(picture, (0x7ff0 + nth / 2) & 0x7fff);
    }
}

#[test]
fn what_is_left_out_leaves_no_gap_and_the_rest_can_be_repeated() {
    let now = Instant::now();
    let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
    let mut config = track(MediaKind::Video).config;
    config.payload_types = vec![(Codec::Vp9, 98)];
    let mut track = DownTrack::new(config);
    let lowest = Target { layer: 0, limits: Limits { spatial: 0, temporal: 2 } };
    let mut camera = Camera::new(L3T3);
    let mut sent: Vec<(u64, Outgoing)> = Vec::new();
    for nth in 0..30 {
        for (frame, packet) in camera.picture(nth == 0) {
            let raw = crate::ingest::RawPacket {
                sequence: packet.sequence,
                timestamp: nth * 3_000,
                marker: packet.marker,
                codec: Some(Codec::Vp9),
                audio_level: None,
                dependency: packet.dependency().map(|descriptor| descriptor.raw().clone()),
                payload: packet.payload,
            };
            let incoming = source.push(now, 0, raw).expect("of use").clone();
            if let Some(outgoing) = track.forward(now, 0, lowest, &incoming, Clocks::default()) {
                assert_eq!(frame.spatial, 0);
                let ends = incoming.dependency().is_some_and(|descriptor| descriptor.ends_frame);
                assert_eq!(outgoing.marker, ends, "the lowest layer ends the picture");
                sent.push((incoming.sequence, outgoing));
            }
        }
    }
    assert_eq!(sent.len(), 60);
    for (nth, (source_sequence, outgoing)) in (0..).zip(&sent) {
        assert_eq!(outgoing.numbers.sequence, 100 + nth);
        let repeat = track.repeat(100 + nth, &source).expect("it is remembered");
        assert_eq!((repeat.packet.sequence, repeat.outgoing), (*source_sequence, *outgoing), "the very same");
    }
}

#[test]
fn a_late_packet_for_others_fills_its_place_with_nothing() {
    let now = Instant::now();
    let mut track = track(MediaKind::Video);
    let lowest = Target { layer: 0, limits: Limits { spatial: 0, temporal: 0 } };
    let mut send = |picture: u16, temporal: u8, part: u8| {
        let packet = vp8_layer(picture, temporal, part, picture == 0);
        track.forward(now, 0, lowest, &packet, Clocks::default())
    };
    assert!(send(0, 0, 0).is_some() && send(0, 0, 1).is_some());
    // The picture between is late.
    let next = send(2, 0, 0).expect("of the lowest layer");
    assert_eq!(next.numbers.sequence, 104, "two are missed");
    let filler = send(1, 2, 0).expect("its number is missed");
    assert_eq!((filler.numbers.sequence, filler.content), (102, Content::Nothing));
}

#[test]
fn frames_are_counted_on_over_a_switch_of_streams() {
    let now = Instant::now();
    let mut track = track(MediaKind::Video);
    let (mut low, mut high) = (Camera::new(L1T3), Camera::new(L1T3));
    let mut last = None;
    for nth in 0..50 {
        high.picture(nth == 0);
    }
    for nth in 0..8 {
        for (_, packet) in low.picture(nth == 0) {
            last = track.forward(now, 0, only(0), &packet, Clocks::default());
        }
    }
    let last = last.and_then(|outgoing| outgoing.numbers.frame_number).expect("sent");
    let (_, packet) = high.picture(true).remove(0);
    let next = track.forward(now, 1, only(1), &packet, Clocks::default()).expect("a key frame");
    assert_eq!(next.numbers.frame_number, Some(last.wrapping_add(1)));
}

#[test]
fn numbers_are_extended_backwards_only() {
    assert_eq!(extend(5, 0x1_0005), Some(0x1_0005));
    assert_eq!(extend(0xffff, 0x1_0005), Some(0xffff));
    assert_eq!(extend(6, 0x1_0005), None, "never sent");
    assert_eq!(extend(10, 5), None);
}

/// What may happen to a subscriber's track.
#[derive(Debug, Clone)]
enum Event {
    Packet { layer: usize, skip: u64, back: u64, key: bool },
    Pause,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..3usize, 0..4u64, 0..6u64, prop::bool::weighted(0.2))
            .prop_map(|(layer, skip, back, key)| Event::Packet { layer, skip, back, key }),
        1 => Just(Event::Pause),
        1 => (0..500u64).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Whatever happens, and whatever waits for its turn: no number leaves with two packets, the row starts where it should,
    /// and time goes on.
    #[test]
    fn numbers_are_never_used_twice(events in prop::collection::vec(event(), 1..400)) {
        let mut now = Instant::now();
        let mut track = track(MediaKind::Video);
        let mut highest = [1_000u64; 3];
        let mut seen_in = HashSet::new();
        let mut waiting: VecDeque<Rewritten> = VecDeque::new();
        let mut left = Vec::new();
        for event in events {
            match event {
                Event::Pause => {
                    waiting.clear();
                    track.stop();
                }
                Event::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    for numbers in waiting.drain(..) {
                        track.note_left(now, numbers.sequence, None);
                        left.push(numbers);
                    }
                }
                Event::Packet { layer, skip, back, key } => {
                    now += Duration::from_millis(5);
                    let sequence = (highest[layer] + 1 + skip).saturating_sub(back);
                    // The ring's owner drops what came before.
                    if !seen_in.insert((layer, sequence)) { continue }
                    highest[layer] = highest[layer].max(sequence);
                    let incoming = Packet { keyframe_start: key, ..packet(sequence, (sequence * 3_000) as u32) };
                    if track.begins_with(layer, only(2), &incoming) && !waiting.is_empty() {
                        waiting.clear();
                        track.take_back();
                    }
                    let Some(sent) = track.forward(now, layer, only(2), &incoming, Clocks::default()) else { continue };
                    if waiting.is_empty() && sequence % 4 != 0 {
                        track.note_left(now, sent.numbers.sequence, None);
                        left.push(sent.numbers);
                    } else {
                        waiting.push_back(sent.numbers);
                    }
                }
            }
        }
        let (mut seen, mut last): (HashSet<u64>, Option<Rewritten>) = (HashSet::new(), None);
        for numbers in left {
            prop_assert!(seen.insert(numbers.sequence), "number {} twice", numbers.sequence);
            prop_assert!(numbers.sequence >= 100);
            if let Some(last) = last.filter(|last| numbers.sequence > last.sequence) {
                let step = numbers.timestamp.wrapping_sub(last.timestamp).cast_signed();
                prop_assert!(step >= 0, "time went back by {step}");
            }
            if last.is_none_or(|last| numbers.sequence > last.sequence) {
                last = Some(numbers);
            }
        }
    }

    /// The same for streams with layers inside, whatever is lost, comes late or is asked for.
    #[test]
    fn layered_numbers_are_never_used_twice(
        steps in prop::collection::vec((0..20u8, 0..9u8, 0..40u8, 0..3u8), 40..400),
        kind in 0..4u8,
    ) {
        let now = Instant::now();
        let mut track = track(MediaKind::Video);
        let mut camera = Camera::new([L1T3, L3T3, L3T3_KEY, L3T3_KEY][usize::from(kind)]);
        let mut target = only(0);
        let mut late: BTreeMap<usize, Vec<Packet>> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut pictures: BTreeMap<u16, u16> = BTreeMap::new();
        for (nth, (fate, delay, change, layer)) in steps.into_iter().enumerate() {
            if change < 3 { target.limits = Limits { spatial: layer, temporal: change } }
            let key = nth == 0 || (change == 39 && track.selector.wants_keyframe(target.limits));
            let packets: Vec<Packet> = if kind == 3 {
                let temporal = [0, 2, 1, 2][nth % 4];
                (0..2).map(|part| vp8_layer(nth as u16, temporal, part, key)).collect()
            } else {
                camera.picture(key).into_iter().map(|(_, packet)| packet).collect()
            };
            let mut arriving = late.remove(&nth).unwrap_or_default();
            for (at, packet) in packets.into_iter().enumerate() {
                match fate {
                    _ if nth == 0 => arriving.push(packet),
                    0 if at % 2 == 0 => {}
                    1 | 2 if at % 2 == 0 => late.entry(nth + 1 + usize::from(delay)).or_default().push(packet),
                    _ => arriving.push(packet),
                }
            }
            for packet in arriving {
                let Some(sent) = track.forward(now, 0, target, &packet, Clocks::default()) else { continue };
                prop_assert!(seen.insert(sent.numbers.sequence), "number {} twice", sent.numbers.sequence);
                if let (Some(descriptor), Some(patch), Content::Whole) = (packet.vp8(), sent.numbers.vp8, sent.content) {
                    let source = descriptor.picture_id.map_or(0, |(id, _)| id);
                    let given = *pictures.entry(source).or_insert(patch.picture_id);
                    prop_assert_eq!(given, patch.picture_id, "one number for one picture");
                }
            }
        }
        let given: HashSet<&u16> = pictures.values().collect();
        prop_assert_eq!(given.len(), pictures.len(), "one picture for one number");
    }
}
