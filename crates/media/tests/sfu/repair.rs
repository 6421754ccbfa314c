//! What is lost on the way, and what is asked for because of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use str0m::media::MediaKind;
use str0m::rtp::rtcp::Rtcp;

use plenum_sim::{Datagram, Loss, World, picture};

fn call() -> (World, usize, usize) {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.until("bob sees alice", 5, |world| world.clients[bob].subscriber.received.len() > 100);
    (world, alice, bob)
}

/// Loses one in `n` of the packets that `which` picks.
fn lose_one_in(n: u32, which: impl Fn(&Datagram) -> bool + 'static) -> (Loss, Rc<Cell<u32>>) {
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    let mut seen = 0;
    let lose = move |datagram: &Datagram| {
        if !which(datagram) {
            return false;
        }
        seen += 1;
        let gone = seen % n == 0;
        count.set(count.get() + u32::from(gone));
        gone
    };
    (Box::new(lose), lost)
}

fn is_whole(world: &World, who: usize) {
    let pictures = world.clients[who].subscriber.only(MediaKind::Video);
    for (before, after) in pictures.iter().zip(&pictures[1..]) {
        assert_eq!(after.sequence, before.sequence + 1);
    }
}

#[test]
fn what_a_subscriber_misses_is_sent_again() {
    let (mut world, _, bob) = call();
    let (lose, lost) = lose_one_in(10, move |datagram| {
        !datagram.up && datagram.client == bob && datagram.payload_type() == Some(96)
    });
    world.lose = lose;
    world.run(Duration::from_secs(3));
    world.lose = Box::new(|_| false);
    world.run(Duration::from_secs(1));
    assert!(lost.get() > 20, "{}", lost.get());
    assert!(world.clients[bob].subscriber.repaired >= lost.get() as usize);
    is_whole(&world, bob);
}

#[test]
fn what_is_missing_from_a_publisher_is_asked_for() {
    let (mut world, alice, bob) = call();
    let (lose, lost) = lose_one_in(10, move |datagram| {
        datagram.up && datagram.client == alice && datagram.payload_type() == Some(96)
    });
    world.lose = lose;
    world.run(Duration::from_secs(3));
    world.lose = Box::new(|_| false);
    world.run(Duration::from_secs(1));
    assert!(lost.get() > 40, "{}", lost.get());
    let nacks = world.clients[alice].publisher.reports.iter().filter(|r| matches!(r, Rtcp::Nack(_)));
    assert!(nacks.count() > 20);
    is_whole(&world, bob);
}

#[test]
fn a_request_for_a_key_frame_reaches_the_publisher_and_no_flood_does() {
    let (mut world, alice, bob) = call();
    world.run(Duration::from_secs(2));
    let before = world.clients[alice].publisher.asked.len();
    let start = world.now;
    // Asked fifty times a second.
    for _ in 0..100 {
        let now = world.now;
        let person = &mut world.clients[bob];
        let ssrc = person.subscriber.received.last().expect("some").ssrc;
        person.client.request_keyframe(now, ssrc);
        world.run(Duration::from_millis(20));
    }
    let asked = &world.clients[alice].publisher.asked[before..];
    assert!(asked[0].0 - start < Duration::from_millis(100), "at once");
    assert!(asked.iter().all(|(_, layer)| *layer == 2), "for the layer that bob sees");
    assert!((2..=4).contains(&asked.len()), "{} in two seconds", asked.len());
    let keys = world.clients[bob].subscriber.only(MediaKind::Video);
    assert!(keys.iter().filter(|p| p.at > start && picture(p).key && picture(p).part == 0).count() >= 2);
}

#[test]
fn publishers_hear_what_arrived_when() {
    let (mut world, alice, _) = call();
    let before = world.clients[alice].publisher.reports.len();
    world.run(Duration::from_secs(1));
    let reports = &world.clients[alice].publisher.reports[before..];
    let feedback = reports.iter().filter(|report| matches!(report, Rtcp::Twcc(_))).count();
    assert!(feedback >= 10, "{feedback} reports in a second");
}

/// Every packet has its place in one row of numbers, whatever stream it is of.
#[test]
fn subscribers_tell_what_arrived() {
    let (mut world, alice, bob) = call();
    let now = world.now;
    world.clients[alice].publish_microphone(now);
    world.run(Duration::from_secs(1));
    let before = world.clients[bob].subscriber.sent_reports.len();
    world.run(Duration::from_secs(2));
    let reports = &world.clients[bob].subscriber.sent_reports[before..];
    let told = reports.iter().filter_map(|report| match report {
        Rtcp::Twcc(feedback) => Some(feedback),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!(told.len() >= 20, "{} in two seconds", told.len());
    let packets: usize = told.iter().map(|feedback| usize::from(feedback.status_count)).sum();
    let came = world.clients[bob].subscriber.received.iter().filter(|p| p.at > now + Duration::from_secs(1));
    let came = came.count();
    assert!(packets.abs_diff(came) < 30, "{packets} told, {came} came");
    let missing = told.iter().filter(|feedback| format!("{feedback:?}").contains("NotReceived"));
    assert_eq!(missing.count(), 0, "nothing was lost, so no number is missing");
}

#[test]
fn subscribers_hear_of_the_publishers_clock() {
    let (mut world, _, bob) = call();
    world.run(Duration::from_secs(5));
    let client = &world.clients[bob].subscriber;
    let reports = client.reports.iter().filter(|report| matches!(report, Rtcp::SenderReport(_))).count();
    assert!((2..6).contains(&reports), "{reports}");
}
