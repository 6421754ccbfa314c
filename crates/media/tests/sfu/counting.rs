//! Subscribers that only count are served like others, and count right.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use livekit_protocol as proto;
use plenum_client::{Picture, Reception};
use str0m::media::MediaKind;

use plenum_sim::World;

const OPENED: u32 = 20;

/// Alice publishes camera and microphone; bob counts, with two connections or one.
fn call(one_connection: bool) -> (World, usize, usize) {
    let mut world = World::new();
    let alice = world.join("alice");
    world.reception = Reception::Counted { opened: OPENED };
    let bob = match one_connection {
        true => world.join_with_one("bob", proto::ConnectionSettings::default()),
        false => world.join("bob"),
    };
    world.limit(bob, 5_000);
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.clients[alice].publish_microphone(now);
    (world, alice, bob)
}

#[test]
fn the_highest_layer_comes_because_feedback_is_honest() {
    for one_connection in [false, true] {
        let (mut world, alice, bob) = call(one_connection);
        world.run(Duration::from_secs(8));
        let tally = world.clients[bob].client.tally();
        assert_eq!((tally.strange, tally.streams.len()), (0, 2));
        for (ssrc, stream) in &tally.streams {
            assert_eq!((stream.lost(), stream.damaged), (0, 0));
            assert!(stream.opened >= stream.packets / u64::from(OPENED), "{stream:?}");
            assert!(stream.opened < stream.packets / 2, "{stream:?}");
            assert!(world.clients[bob].client.track_of(*ssrc).is_some(), "descriptions name it");
        }
        let video = tally.streams.values().find(|stream| stream.kind == MediaKind::Video).expect("pictures");
        let first = video.first_picture.expect("a key frame was whole");
        assert!(first - world.started() < Duration::from_secs(2));
        let last = world.clients[bob].down().received.iter().rev();
        let layer = last.filter_map(|p| Picture::parse(&p.payload)).map(|picture| picture.layer).next();
        assert_eq!(layer, Some(2));
        assert!(!world.clients[alice].closed && !world.clients[bob].closed);
    }
}

#[test]
fn what_is_lost_is_counted() {
    let (mut world, _, bob) = call(false);
    world.run(Duration::from_secs(4));
    let before = world.clients[bob].client.tally();
    let lost = Rc::new(Cell::new(0));
    let (count, mut seen) = (lost.clone(), 0);
    world.lose = Box::new(move |datagram| {
        let is_media =
            !datagram.up && datagram.client == bob && matches!(datagram.payload_type(), Some(96 | 111));
        seen += u32::from(is_media);
        let gone = is_media && seen % 50 == 0;
        count.set(count.get() + u64::from(gone));
        gone
    });
    world.run(Duration::from_secs(4));
    world.lose = Box::new(|_| false);
    world.run(Duration::from_secs(1));
    let after = world.clients[bob].client.tally();
    assert_eq!(before.streams.values().map(plenum_client::StreamTally::lost).sum::<u64>(), 0);
    assert!(lost.get() > 5);
    assert_eq!(after.streams.values().map(plenum_client::StreamTally::lost).sum::<u64>(), lost.get());
}
