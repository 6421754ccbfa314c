//! Streams with layers inside: who gets which.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::Received;
use plenum_media::rtp::dd;
use proto::VideoQuality;
use proto::signal_request::Message as Request;

use plenum_sim::FRAME;
use plenum_sim::World;
use plenum_sim::layered::{Codec, Piece};
use plenum_sim::svc::{L1T3, L3T3_KEY, Mode};

/// Every kind of stream of which layers can be told apart.
const KINDS: [(Codec, bool); 3] = [(Codec::Vp9, true), (Codec::Vp9, false), (Codec::Av1, true)];

/// Two people who are there; the first publishes a layered camera, and the second sees its highest layer.
fn call(codec: Codec, mode: Mode, with_dependencies: bool) -> (World, usize, usize) {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_layered(now, codec, mode, with_dependencies);
    let top = mode.spatial - 1;
    world.until("bob sees alice", 5, |world| pieces(world, bob).any(|(_, piece)| piece.spatial == top));
    (world, alice, bob)
}

fn pieces(world: &World, who: usize) -> impl Iterator<Item = (&Received, Piece)> {
    let received = &world.clients[who].subscriber.received;
    received.iter().filter_map(|packet| Some((packet, Piece::parse(&packet.payload)?)))
}

/// What came in since, in order of its numbers.
fn since(world: &World, who: usize, start: Instant) -> Vec<(Received, Piece)> {
    let mut late: Vec<(Received, Piece)> =
        pieces(world, who).filter(|(p, _)| p.at >= start).map(|(p, piece)| (p.clone(), piece)).collect();
    late.sort_by_key(|(packet, _)| packet.sequence);
    late
}

fn ask(world: &mut World, who: usize, sid: &str, quality: VideoQuality, fps: u32) {
    let track_sids = vec![sid.to_owned()];
    let settings =
        proto::UpdateTrackSettings { track_sids, quality: quality as i32, fps, ..Default::default() };
    world.signal(who, Request::TrackSetting(settings));
}

/// Nothing is missing, no frame without those that it needs, every picture has one end.
fn assert_decodable(packets: &[(Received, Piece)], with_dependencies: bool) {
    let mut reader = dd::Reader::default();
    let mut frames = BTreeSet::new();
    for (before, after) in packets.iter().zip(&packets[1..]) {
        let ((one, _), (two, second)) = (before, after);
        assert_eq!(two.sequence, one.sequence + 1, "no gap and nothing twice: {second:?}");
        assert_eq!(one.marker, two.timestamp != one.timestamp, "the last packet of a picture says so");
        let passed = after.0.at.saturating_duration_since(before.0.at);
        assert!(passed <= 5 * FRAME, "without a break: {passed:?}");
    }
    for (packet, piece) in packets {
        if !with_dependencies {
            assert_eq!(packet.dependency, None);
            continue;
        }
        let raw = packet.dependency.clone().expect("it is passed on");
        let read = reader.read(raw.0.into()).expect("with a structure before");
        assert_eq!((read.spatial, read.temporal), (piece.spatial, piece.temporal));
        assert_eq!((read.starts_frame, read.ends_frame), (piece.part == 0, piece.part == 1));
        for diff in read.diffs() {
            assert!(
                frames.contains(&read.frame_number.wrapping_sub(*diff)),
                "{piece:?} needs what did not come"
            );
        }
        frames.insert(read.frame_number);
    }
}

#[test]
fn a_subscriber_gets_the_layer_that_it_asks_for() {
    for (codec, with_dependencies) in KINDS {
        let (mut world, alice, bob) = call(codec, L3T3_KEY, with_dependencies);
        let sid = world.clients[alice].sid(0);
        for (quality, wanted) in [
            (VideoQuality::Low, 0),
            (VideoQuality::High, 2),
            (VideoQuality::Medium, 1),
            (VideoQuality::High, 2),
        ] {
            ask(&mut world, bob, &sid, quality, 0);
            // Going up as well as down between layers that are independent takes a key frame.
            world.run(Duration::from_millis(2_500));
            let start = world.now;
            world.run(Duration::from_secs(1));
            let late = since(&world, bob, start);
            let highest: BTreeSet<u8> =
                late.iter().filter(|(packet, _)| packet.marker).map(|(_, piece)| piece.spatial).collect();
            assert_eq!(highest, BTreeSet::from([wanted]), "{codec:?} {with_dependencies} {quality:?}");
            assert!(late.iter().filter(|(packet, _)| packet.marker).count() >= 23, "every picture");
            if with_dependencies {
                assert!(late.iter().all(|(_, piece)| piece.spatial == wanted), "and nothing else");
            }
        }
        assert_decodable(&since(&world, bob, world.started()), with_dependencies);
    }
}

#[test]
fn fewer_pictures_are_sent_to_who_asks_for_fewer() {
    for (codec, with_dependencies) in KINDS {
        let (mut world, alice, bob) = call(codec, L1T3, with_dependencies);
        // Time to count the pictures.
        world.run(Duration::from_secs(5));
        let (sid, asked) = (world.clients[alice].sid(0), world.clients[alice].publisher.asked.len());
        for (fps, wanted) in [(6, 0), (12, 1), (0, 2), (6, 0)] {
            ask(&mut world, bob, &sid, VideoQuality::High, fps);
            world.run(Duration::from_millis(500));
            let start = world.now;
            world.run(Duration::from_secs(1));
            let temporal = since(&world, bob, start).iter().map(|(_, piece)| piece.temporal).max();
            assert_eq!(temporal, Some(wanted), "{codec:?} {with_dependencies} {fps}");
        }
        assert_eq!(world.clients[alice].publisher.asked.len(), asked, "no key frame is needed for that");
        assert_decodable(&since(&world, bob, world.started()), with_dependencies);
    }
}

#[test]
fn a_repeated_packet_has_the_descriptor_of_the_first() {
    let (mut world, alice, bob) = call(Codec::Av1, L1T3, true);
    let mut nth = 0;
    world.lose = Box::new(move |datagram| {
        let media = !datagram.up && datagram.client == bob && datagram.payload_type() == Some(35);
        nth += u32::from(media);
        media && nth % 7 == 0
    });
    world.run(Duration::from_secs(3));
    world.lose = Box::new(|_| false);
    world.run(Duration::from_secs(1));
    let sent = world.clients[alice].sources[0].layered().sent.clone();
    let repeated = &world.clients[bob].subscriber.repeated;
    assert!(repeated.len() > 15, "{}", repeated.len());
    for (dependency, payload) in repeated {
        let piece = Piece::parse(payload).expect("whole");
        let original = &sent[&(piece.number, piece.part)];
        assert_eq!(dependency.as_ref().map(|dependency| &dependency.0), Some(original));
    }
    assert_decodable(&since(&world, bob, world.started()), true);
}

#[test]
fn a_thread_with_too_much_to_do_sends_small_pictures_and_all_the_sound() {
    let (mut world, alice, bob) = call(Codec::Vp9, L3T3_KEY, true);
    let now = world.now;
    world.clients[alice].publish_microphone(now);
    world.run(Duration::from_secs(1));
    world.limit_layers(Some(0));
    world.run(Duration::from_secs(1));
    let start = world.now;
    world.run(Duration::from_secs(2));
    let highest = since(&world, bob, start).iter().map(|(_, piece)| piece.spatial).max();
    assert_eq!(highest, Some(0), "nothing above, and not nothing");
    let is_sound = |packet: &&Received| packet.at >= start && Piece::parse(&packet.payload).is_none();
    let sound = world.clients[bob].subscriber.received.iter().filter(is_sound).count();
    assert!((98..=102).contains(&sound), "{sound} packets of sound in two seconds");
    // Whoever comes now gets no more either.
    let carol = world.join("carol");
    world.run(Duration::from_secs(2));
    assert!(pieces(&world, carol).all(|(_, piece)| piece.spatial == 0));

    world.limit_layers(None);
    world.until("bob sees the highest layer again", 5, |world| {
        pieces(world, bob).any(|(packet, piece)| packet.at > start && piece.spatial == 2)
    });
}
