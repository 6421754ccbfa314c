use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ring::tests::packet;
use crate::rtp::dd;
use crate::rtp::dd::tests::svc::{Encoder, Frame, L1T3, L3T3, L3T3_KEY, Mode};
use crate::rtp::{vp8, vp9};

/// The packets of a layered stream, two for each frame, as the ring has them.
pub(in crate::downtrack) struct Camera {
    encoder: Encoder,
    reader: dd::Reader,
    sequence: u64,
}

impl Camera {
    pub(in crate::downtrack) fn new(mode: Mode) -> Self {
        Self { encoder: Encoder::new(mode, 65_400), reader: dd::Reader::default(), sequence: 1_000 }
    }

    pub(in crate::downtrack) fn picture(&mut self, key: bool) -> Vec<(Frame, Packet)> {
        let mut packets = Vec::new();
        for frame in self.encoder.picture(key) {
            for (starts, ends) in [(true, false), (false, true)] {
                let raw = self.encoder.descriptor(&frame, starts, ends);
                let descriptor = self.reader.read(raw.into()).expect("well-formed");
                self.sequence += 1;
                let packet = Packet {
                    marker: ends && frame.last,
                    keyframe_start: descriptor.starts_keyframe(),
                    layering: Layering::Dependency(Box::new(descriptor)),
                    ..packet(self.sequence, 0)
                };
                packets.push((frame.clone(), packet));
            }
        }
        packets
    }
}

fn limits(spatial: u8, temporal: u8) -> Limits {
    Limits { spatial, temporal }
}

/// Sends pictures through a selector and returns the frames that went out whole and which of them ended a picture.
fn run(
    camera: &mut Camera,
    selector: &mut Selector,
    limits: Limits,
    pictures: usize,
    key: bool,
) -> Vec<(Frame, bool)> {
    let mut sent = Vec::new();
    for nth in 0..pictures {
        for (frame, packet) in camera.picture(key && nth == 0) {
            let starts = packet.dependency().is_some_and(|descriptor| descriptor.starts_frame);
            match selector.choose(&packet, limits) {
                Choice::Send { ends_picture, .. } if !starts => sent.push((frame, ends_picture)),
                Choice::Send { .. } => {}
                Choice::LeaveOut => assert!(sent.last().is_none_or(|(last, _)| *last != frame)),
                Choice::Lose => panic!("everything can be read"),
            }
        }
    }
    sent
}

#[test]
fn a_subscriber_gets_exactly_the_layers_that_it_asked_for() {
    for mode in [L1T3, L3T3, L3T3_KEY] {
        for spatial in 0..mode.spatial {
            for temporal in 0..mode.temporal {
                let (mut camera, mut selector) = (Camera::new(mode), Selector::default());
                let mut reference = Encoder::new(mode, 65_400);
                let sent = run(&mut camera, &mut selector, limits(spatial, temporal), 40, true);
                let all = (0..40).flat_map(|nth| reference.picture(nth == 0)).collect::<Vec<_>>();
                let wanted = all.iter().filter(|frame| {
                    let layer = frame.spatial == spatial
                        || (frame.spatial < spatial && (frame.key || !mode.key_only));
                    layer && frame.temporal <= temporal
                });
                assert_eq!(
                    sent.iter().map(|(frame, _)| frame.number).collect::<Vec<_>>(),
                    wanted.map(|f| f.number).collect::<Vec<_>>()
                );
                assert!(sent.iter().all(|(frame, ends)| *ends == (frame.spatial == spatial)));
                assert!(!selector.wants_keyframe(limits(spatial, temporal)));
            }
        }
    }
}

#[test]
fn going_up_waits_for_a_key_frame_and_going_down_does_not() {
    let (mut camera, mut selector) = (Camera::new(L3T3), Selector::default());
    run(&mut camera, &mut selector, limits(2, 2), 9, true);
    let down = run(&mut camera, &mut selector, limits(0, 2), 8, false);
    assert!(down.iter().all(|(frame, _)| frame.spatial == 0), "at the next picture");
    assert_eq!(down.len(), 8);
    assert!(selector.wants_keyframe(limits(2, 2)));
    let waiting = run(&mut camera, &mut selector, limits(2, 2), 8, false);
    assert_eq!(waiting.len(), 8, "without a break");
    assert!(waiting.iter().all(|(frame, ends)| frame.spatial == 0 && *ends));
    let up = run(&mut camera, &mut selector, limits(2, 2), 4, true);
    assert_eq!(up.len(), 12);
    assert!(!selector.wants_keyframe(limits(2, 2)));
}

#[test]
fn where_layers_are_independent_both_ways_wait_for_a_key_frame() {
    let (mut camera, mut selector) = (Camera::new(L3T3_KEY), Selector::default());
    run(&mut camera, &mut selector, limits(2, 2), 9, true);
    assert!(selector.wants_keyframe(limits(0, 2)), "its pictures were not sent");
    let waiting = run(&mut camera, &mut selector, limits(0, 2), 8, false);
    assert!(waiting.iter().all(|(frame, _)| frame.spatial == 2) && waiting.len() == 8);
    let down = run(&mut camera, &mut selector, limits(0, 2), 8, true);
    assert!(down.iter().all(|(frame, _)| frame.spatial == 0) && down.len() == 8);
}

#[test]
fn temporal_layers_come_and_go_without_a_key_frame() {
    for mode in [L1T3, L3T3, L3T3_KEY] {
        let top = mode.spatial - 1;
        let (mut camera, mut selector) = (Camera::new(mode), Selector::default());
        run(&mut camera, &mut selector, limits(top, 2), 8, true);
        run(&mut camera, &mut selector, limits(top, 0), 4, false);
        let few = run(&mut camera, &mut selector, limits(top, 0), 8, false);
        assert!(few.iter().all(|(frame, _)| frame.temporal == 0));
        assert!(!selector.wants_keyframe(limits(top, 2)));
        run(&mut camera, &mut selector, limits(top, 2), 4, false);
        let all = run(&mut camera, &mut selector, limits(top, 2), 8, false);
        assert_eq!(all.iter().filter(|(frame, _)| frame.spatial == top).count(), 8);
    }
}

#[test]
fn the_mask_is_told_with_the_frame_that_changes_it() {
    let (mut camera, mut selector) = (Camera::new(L1T3), Selector::default());
    let mut masks = |limits: Limits, key: bool| {
        let choices: Vec<Choice> =
            camera.picture(key).iter().map(|(_, packet)| selector.choose(packet, limits)).collect();
        choices
            .into_iter()
            .map(|choice| match choice {
                Choice::Send { mask, .. } => mask,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(masks(limits(0, 0), true), [Some(0b100); 2], "on every packet of the frame");
    for _ in 0..3 {
        assert_eq!(camera.picture(false).len(), 2);
    }
    let (mut camera, mut selector) = (Camera::new(L1T3), Selector::default());
    let first = camera.picture(true).remove(0).1;
    assert_eq!(
        selector.choose(&first, Limits::NONE),
        Choice::Send { ends_picture: false, mask: Some(0b111) }
    );
    let next = camera.picture(false).remove(0).1;
    assert_eq!(selector.choose(&next, Limits::NONE), Choice::WHOLE);
}

#[test]
fn a_frame_that_never_comes_breaks_what_was_built_on_it() {
    let (mut camera, mut selector) = (Camera::new(L1T3), Selector::default());
    run(&mut camera, &mut selector, Limits::NONE, 4, true);
    camera.picture(false);
    let trusting = run(&mut camera, &mut selector, Limits::NONE, 20, false);
    assert_eq!(trusting.len(), 20, "it may still come");
    assert!(!selector.wants_keyframe(Limits::NONE));
    run(&mut camera, &mut selector, Limits::NONE, 60, false);
    assert!(selector.wants_keyframe(Limits::NONE));
    assert!(run(&mut camera, &mut selector, Limits::NONE, 20, false).is_empty());
    assert_eq!(run(&mut camera, &mut selector, Limits::NONE, 4, true).len(), 4);
}

#[test]
fn a_layer_that_the_publisher_stops_is_replaced_by_the_next() {
    let (mut camera, mut selector) = (Camera::new(L3T3), Selector::default());
    run(&mut camera, &mut selector, limits(2, 2), 8, true);
    let mut without_top = |selector: &mut Selector, mask: Option<u32>| {
        let mut sent = 0;
        for (frame, packet) in camera.picture(false) {
            let Layering::Dependency(descriptor) = &packet.layering else { continue };
            let mut raw = Vec::new();
            descriptor.write(&mut raw, descriptor.frame_number, mask);
            let read = camera.reader.read(raw.into()).expect("well-formed");
            let packet = Packet { layering: Layering::Dependency(Box::new(read)), ..packet };
            if frame.spatial < 2 && matches!(selector.choose(&packet, limits(2, 2)), Choice::Send { .. }) {
                sent += 1;
            }
        }
        sent
    };
    // The three targets of the highest layer come first.
    assert_eq!(without_top(&mut selector, Some(0b1_1111_1000)), 4);
    for _ in 0..100 {
        assert_eq!(without_top(&mut selector, Some(0b1_1111_1000)), 4);
    }
    assert!(!selector.wants_keyframe(limits(2, 2)), "nothing better is there to be had");
}

fn vp9(picture: u16, spatial: u8, temporal: u8, up: bool, key: bool, ends: bool) -> Packet {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let first = 0xa8 | if key { 0 } else { 0x40 } | if ends { 4 } else { 0 };
    let layers = temporal << 5 | u8::from(up) << 4 | spatial << 1 | u8::from(key && spatial > 0);
    let descriptor = vp9::Descriptor::parse(&[first, high, low, layers, 0]).expect("complete");
    Packet {
        keyframe_start: descriptor.starts_keyframe(),
        layering: Layering::Vp9(descriptor),
        ..packet(u64::from(picture) * 3 + u64::from(spatial), 0)
    }
}

#[test]
fn layers_of_vp9_are_told_by_its_own_descriptor() {
    let mut selector = Selector::default();
    // The layers of one picture that are sent, and which of them ends it.
    let mut picture = |id: u16, temporal: u8, up: bool, key: bool, limits: Limits| {
        let mut sent = Vec::new();
        for spatial in 0..3 {
            if let Choice::Send { ends_picture, .. } =
                selector.choose(&vp9(id, spatial, temporal, up, key, true), limits)
            {
                sent.push((spatial, ends_picture));
            }
        }
        (sent, selector.wants_keyframe(limits))
    };
    assert_eq!(picture(10, 0, true, true, limits(1, 0)), (vec![(0, false), (1, true)], false));
    assert_eq!(picture(11, 2, true, false, limits(1, 0)), (vec![], false));
    assert_eq!(picture(12, 0, false, false, limits(0, 0)), (vec![(0, true)], false), "down at once");
    assert_eq!(
        picture(13, 2, true, false, limits(0, 2)),
        (vec![], false),
        "the picture before allows no rise"
    );
    assert_eq!(picture(14, 0, true, false, limits(0, 2)), (vec![(0, true)], false));
    assert_eq!(picture(15, 2, true, false, limits(0, 2)), (vec![(0, true)], false));
    assert_eq!(
        picture(16, 1, true, false, limits(2, 2)),
        (vec![(0, true)], true),
        "up with a key frame only"
    );
    assert_eq!(picture(17, 0, true, true, limits(2, 2)), (vec![(0, false), (1, false), (2, true)], false));
}

fn vp8(picture: u16, temporal: u8, sync: bool, key: bool) -> Packet {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let layers = temporal << 6 | u8::from(sync) << 5;
    let descriptor = vp8::Descriptor::parse(&[0x90, 0xe0, high, low, 0, layers, u8::from(!key)]);
    Packet {
        keyframe_start: key,
        layering: Layering::Vp8(descriptor.expect("complete")),
        ..packet(u64::from(picture), 0)
    }
}

#[test]
fn temporal_layers_of_vp8_begin_one_after_another_where_the_encoder_says_so() {
    let mut selector = Selector::default();
    let mut sent = |picture, temporal, sync, key, limit| {
        selector.choose(&vp8(picture, temporal, sync, key), limits(9, limit)) == Choice::WHOLE
    };
    assert!(sent(1, 0, false, true, 0));
    assert!(!sent(2, 2, true, false, 0) && !sent(3, 1, true, false, 0) && !sent(4, 2, false, false, 0));
    assert!(sent(5, 0, false, false, 2));
    assert!(!sent(6, 2, true, false, 2), "the layer between is missing");
    assert!(!sent(7, 1, false, false, 2), "needs pictures that were left out");
    assert!(sent(9, 0, false, false, 2) && sent(11, 1, true, false, 2));
    assert!(!sent(12, 2, false, false, 2) && sent(13, 0, false, false, 2) && sent(14, 2, true, false, 2));
    assert!(sent(15, 1, false, false, 2) && sent(16, 2, false, false, 2));
    assert!(!sent(6, 2, true, false, 2), "a late packet shares the fate of its picture");
    assert!(!sent(17, 1, false, false, 0), "down at once");
}

#[test]
fn a_layer_of_simulcast_is_one_layer_whatever_its_packets_say() {
    let mut selector = Selector::default();
    let any = Limits { temporal: 0, ..Limits::NONE };
    assert!(matches!(selector.choose(&vp9(1, 0, 0, true, true, true), any), Choice::Send { .. }));
    assert!(matches!(selector.choose(&vp9(1, 2, 0, true, true, true), any), Choice::Send { .. }));
    assert!(!selector.wants_keyframe(Limits { spatial: u8::MAX, temporal: 0 }));
}

#[test]
fn what_cannot_be_read_ends_what_was_built_on_it() {
    let (mut camera, mut selector) = (Camera::new(L1T3), Selector::default());
    run(&mut camera, &mut selector, Limits::NONE, 4, true);
    let next = camera.picture(false).remove(0).0.number as u16;
    let unreadable = Packet { layering: Layering::Unreadable(Some(next)), ..packet(camera.sequence, 0) };
    assert_eq!(selector.choose(&unreadable, Limits::NONE), Choice::Lose);
    assert!(selector.wants_keyframe(Limits::NONE));
    assert!(run(&mut camera, &mut selector, Limits::NONE, 8, false).is_empty());
    assert_eq!(run(&mut camera, &mut selector, Limits::NONE, 8, true).len(), 8);
}

proptest! {
    /// Whatever is lost, comes late, or is asked for: what is sent needs nothing that was left out, and nothing that
    /// has been missing for long.
    #[test]
    fn nothing_is_sent_that_needs_what_was_left_out(
        mode in prop::sample::select(vec![L1T3, L3T3, L3T3_KEY]),
        steps in prop::collection::vec((0..3u8, 0..3u8, prop::bool::weighted(0.05), 0..12usize, 0..20u32), 40..200),
    ) {
        let (mut camera, mut selector) = (Camera::new(mode), Selector::default());
        let mut limits = limits(0, 0);
        let mut late: BTreeMap<u64, Vec<(Frame, Packet)>> = BTreeMap::new();
        let mut sent: BTreeSet<u64> = BTreeSet::new();
        let mut left_out: BTreeSet<u64> = BTreeSet::new();
        let mut highest = 0;
        for (nth, (spatial, temporal, change, delay, fate)) in steps.into_iter().enumerate() {
            if change { limits = Limits { spatial, temporal } }
            let packets = camera.picture(nth == 0 || (selector.wants_keyframe(limits) && nth % 7 == 0));
            // One in twenty pictures loses a frame for good, some come late.
            let mut arriving = late.remove(&(nth as u64)).unwrap_or_default();
            for (frame, packet) in packets {
                match fate {
                    0 if frame.spatial == mode.spatial - 1 && nth > 0 => {}
                    1 if frame.spatial == 0 && nth > 0 => {}
                    2 | 3 if nth > 0 => late.entry((nth + delay) as u64).or_default().push((frame, packet)),
                    _ => arriving.push((frame, packet)),
                }
            }
            for (frame, packet) in arriving {
                if selector.0.is_fresh() && !packet.keyframe_start { continue }
                let is_sent = matches!(selector.choose(&packet, limits), Choice::Send { .. });
                highest = highest.max(frame.number);
                if !is_sent { left_out.insert(frame.number); continue }
                prop_assert!(!left_out.contains(&frame.number) || sent.contains(&frame.number));
                sent.insert(frame.number);
                for need in &frame.needs {
                    prop_assert!(!left_out.contains(need), "{} needs {need}, which was left out", frame.number);
                    prop_assert!(sent.contains(need) || highest - need <= 64 + 3, "{need} is missing for too long");
                }
            }
        }
    }
}

impl State {
    fn is_fresh(&self) -> bool {
        matches!(self, Self::Whole)
    }
}
