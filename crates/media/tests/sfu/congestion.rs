//! Subscribers behind links that do not carry everything. Round trip 60 ms, drop-tail queue of 300 ms; layers of about 160,
//! 560 and 1,600 kbit/s.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::Picture;
use proto::signal_response::Message as Response;
use str0m::media::MediaKind;

use plenum_sim::layered::Piece;
use plenum_sim::svc::L3T3;
use plenum_sim::{World, picture};

const GOOD: u64 = 5_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Publishes a camera with large pictures, and a microphone.
fn publish(world: &mut World, who: usize) {
    let now = world.now;
    let camera = world.clients[who].publish_camera(now);
    world.clients[who].sources[camera].camera().set_parts([2, 4, 8]);
    world.run(ms(100));
    let now = world.now;
    world.clients[who].publish_microphone(now);
    world.run(ms(100));
}

/// The layer of the last picture that came.
fn layer(world: &World, who: usize) -> Option<u8> {
    let received = &world.clients[who].down().received;
    received.iter().rev().find_map(|packet| Picture::parse(&packet.payload)).map(|picture| picture.layer)
}

/// Longest time without a packet of that kind between two moments.
fn longest_gap(world: &World, who: usize, kind: MediaKind, from: Instant, to: Instant) -> Duration {
    let received = &world.clients[who].down().received;
    let fits = |payload: &[u8]| {
        let is_picture = Picture::parse(payload).is_some() || Piece::parse(payload).is_some();
        is_picture == (kind == MediaKind::Video)
    };
    let came = received.iter().filter(|p| p.at >= from && p.at <= to && fits(&p.payload)).map(|p| p.at);
    let moments: Vec<Instant> = std::iter::once(from).chain(came).chain([to]).collect();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// What they were told about tracks, in order.
fn states(world: &World, who: usize) -> Vec<proto::StreamState> {
    let told = world.clients[who].heard.iter().filter_map(|message| match message {
        Response::StreamStateUpdate(update) => {
            Some(update.stream_states.iter().map(proto::StreamStateInfo::state))
        }
        _ => None,
    });
    told.flatten().collect()
}

#[test]
fn a_link_that_falls_keeps_the_sound_and_a_small_picture_and_recovers() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    falls_and_recovers(world, alice, bob);
}

#[test]
fn one_connection_for_both_directions_does_as_well() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join_with_one("bob", proto::ConnectionSettings::default());
    falls_and_recovers(world, alice, bob);
}

fn falls_and_recovers(mut world: World, alice: usize, bob: usize) {
    world.limit(bob, GOOD);
    publish(&mut world, alice);
    let took = world.until("the highest layer comes", 5, |world| layer(world, bob) == Some(2));
    assert!(took <= ms(2_500), "{took:?}");
    world.run(ms(10_000));
    assert_eq!((layer(&world, bob), states(&world, bob).len()), (Some(2), 0));
    let settled = world.now;
    world.run(ms(10_000));
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let gap = longest_gap(&world, bob, kind, settled, world.now);
        assert!(gap < ms(100), "{kind:?} on a good link: {gap:?}");
    }

    let fell = world.now;
    world.limit(bob, 300);
    let small = world.until("the small picture comes", 5, |world| layer(world, bob) == Some(0));
    assert!(small <= ms(2_000), "{small:?}");
    world.run(ms(2_000));
    let gap = longest_gap(&world, bob, MediaKind::Audio, fell, world.now);
    // The queue itself, and what was lost in it when it was full.
    assert!(gap <= ms(500), "sound while the link fell: {gap:?}");
    let calm = world.now;
    world.run(ms(20_000));
    let gap = longest_gap(&world, bob, MediaKind::Audio, calm, world.now);
    assert!(gap <= ms(150), "sound on a bad link: {gap:?}");
    let gap = longest_gap(&world, bob, MediaKind::Video, calm, world.now);
    assert!(gap <= ms(300), "pictures on a bad link: {gap:?}");
    assert_eq!((layer(&world, bob), states(&world, bob).len()), (Some(0), 0));

    world.limit(bob, GOOD);
    let full = world.until("the highest layer is back", 10, |world| layer(world, bob) == Some(2));
    assert!(full <= ms(8_000), "{full:?}");
    assert_eq!(states(&world, bob), [], "nothing was ever paused");
}

#[test]
fn one_bad_subscriber_harms_nobody() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.join("alice"), world.join("bob"), world.join("carol"));
    world.limit(bob, GOOD);
    world.limit(carol, GOOD);
    publish(&mut world, alice);
    world.run(ms(10_000));
    assert_eq!((layer(&world, bob), layer(&world, carol)), (Some(2), Some(2)));
    let start = world.now;
    let before = world.clients[alice].publisher.asked.len();
    for kbps in [300, 2_500, 200, 700, 250] {
        world.limit(bob, kbps);
        world.run(ms(6_000));
    }
    let time = world.now - start;
    let pictures: Vec<_> = world.clients[carol]
        .subscriber
        .only(MediaKind::Video)
        .into_iter()
        .filter(|p| p.at >= start)
        .collect();
    assert!(pictures.iter().all(|packet| picture(packet).layer == 2));
    assert!(pictures.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let gap = longest_gap(&world, carol, kind, start, world.now);
        assert!(gap < ms(100), "{kind:?}: {gap:?}");
    }
    let asked = &world.clients[alice].publisher.asked[before..];
    for (layer, interval) in [(0, ms(500)), (1, ms(1_000)), (2, ms(1_000))] {
        let times: Vec<Instant> = asked.iter().filter(|(_, own)| *own == layer).map(|(at, _)| *at).collect();
        let few = time.as_secs_f64() / interval.as_secs_f64() / 2.0;
        assert!((times.len() as f64) < few, "{} requests for layer {layer}", times.len());
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] >= interval),
            "the throttle holds for layer {layer}"
        );
    }
}

#[test]
fn a_screen_slows_down_before_it_blurs() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    world.limit(bob, GOOD);
    let now = world.now;
    let screen = world.clients[alice].publish_layered_screen(now, L3T3);
    // All three resolutions at 25 pictures a second take about 800 kbit/s, at half of that about 400.
    world.clients[alice].sources[screen].layered().len = 600;
    world.run(ms(10_000));
    let since = |world: &World, from: Instant| -> Vec<Piece> {
        let received = world.clients[bob].down().received.iter().filter(|p| p.at >= from);
        received.filter_map(|packet| Piece::parse(&packet.payload)).collect()
    };
    let pieces = since(&world, world.now - ms(2_000));
    let fastest = pieces.iter().map(|piece| piece.temporal).max();
    assert_eq!((pieces.iter().map(|piece| piece.spatial).max(), fastest), (Some(2), Some(2)));
    world.limit(bob, 500);
    world.run(ms(5_000));
    let calm = world.now;
    world.run(ms(10_000));
    let pieces = since(&world, calm);
    let sharp = pieces.iter().filter(|piece| piece.spatial == 2).count();
    let fast = pieces.iter().filter(|piece| piece.temporal == 2).count();
    // A third of the packets is of each resolution.
    assert!(sharp * 4 >= pieces.len(), "{sharp} of {}", pieces.len());
    assert!(fast * 10 <= pieces.len(), "{fast} of {}", pieces.len());
    let gap = longest_gap(&world, bob, MediaKind::Video, calm, world.now);
    assert!(gap <= ms(600), "{gap:?}");
}

#[test]
fn pictures_pause_where_nothing_fits_and_that_is_told() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    world.limit(bob, GOOD);
    publish(&mut world, alice);
    world.run(ms(8_000));
    world.limit(bob, 120);
    world.until("the track is paused", 8, |world| states(world, bob) == [proto::StreamState::Paused]);
    world.run(ms(3_000));
    let calm = world.now;
    world.run(ms(5_000));
    assert!(longest_gap(&world, bob, MediaKind::Video, calm, world.now) >= ms(4_900));
    let gap = longest_gap(&world, bob, MediaKind::Audio, calm, world.now);
    assert!(gap <= ms(150), "{gap:?}");
    world.limit(bob, GOOD);
    let again = [proto::StreamState::Paused, proto::StreamState::Active];
    world.until("the track goes on", 10, |world| states(world, bob) == again);
    world.until("the highest layer is back", 10, |world| layer(world, bob) == Some(2));
}

#[test]
fn whoever_allows_no_pause_keeps_the_speaker() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.enter_with("bob", &[("subscriber_allow_pause", "0")]);
    world.run(ms(2_000));
    keeps_the_speaker(world, alice, bob);
}

#[test]
fn whoever_allows_no_pause_on_one_connection_keeps_the_speaker() {
    let mut world = World::new();
    let alice = world.join("alice");
    let settings = proto::ConnectionSettings { subscriber_allow_pause: Some(false), ..Default::default() };
    let bob = world.join_with_one("bob", settings);
    keeps_the_speaker(world, alice, bob);
}

fn keeps_the_speaker(mut world: World, alice: usize, bob: usize) {
    world.limit(bob, GOOD);
    publish(&mut world, alice);
    world.run(ms(8_000));
    world.limit(bob, 120);
    world.run(ms(8_000));
    let calm = world.now;
    world.run(ms(5_000));
    assert_eq!((layer(&world, bob), states(&world, bob).len()), (Some(0), 0));
    let gap = longest_gap(&world, bob, MediaKind::Video, calm, world.now);
    assert!(gap <= ms(1_500), "at risk, but there: {gap:?}");
    // Whoever has fallen silent is no speaker any more.
    world.clients[alice].sources[1].microphone().level = 120;
    world.until("the track is paused", 10, |world| states(world, bob) == [proto::StreamState::Paused]);
}

#[test]
fn nothing_pauses_on_a_good_link() {
    let mut world = World::new();
    let publishers: Vec<usize> = (0..6).map(|nth| world.join(&format!("p{nth}"))).collect();
    for who in publishers {
        publish(&mut world, who);
    }
    let bob = world.join("bob");
    world.limit(bob, 15_000);
    world.run(ms(10_000));
    assert_eq!(states(&world, bob), []);
    let received = &world.clients[bob].down().received;
    let recent = received.iter().filter(|packet| packet.at > world.now - ms(1_000));
    let top: std::collections::BTreeSet<u32> = recent
        .filter(|p| Picture::parse(&p.payload).is_some_and(|picture| picture.layer == 2))
        .map(|p| p.ssrc)
        .collect();
    assert_eq!(top.len(), 6, "everybody is seen well");
}
