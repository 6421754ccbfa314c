//! Published media on its way to the others.

use std::time::Duration;

use livekit_protocol as proto;
use plenum_client::{Picture, Received};
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::media::MediaKind;

use plenum_sim::{World, picture};

/// Two people who are there; the first publishes a camera and a microphone.
fn call() -> (World, usize, usize) {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.run(Duration::from_millis(100));
    let now = world.now;
    world.clients[alice].publish_microphone(now);
    world.until("bob sees and hears alice", 5, |world| {
        let received = &world.clients[bob].subscriber.received;
        let has_picture = |packet: &Received| Picture::parse(&packet.payload).is_some();
        received.iter().any(has_picture) && received.iter().any(|packet| !has_picture(packet))
    });
    (world, alice, bob)
}

/// Every packet of a stream is there once, and everything that counts goes on.
fn assert_continuous(packets: &[Received]) {
    for (before, after) in packets.iter().zip(&packets[1..]) {
        assert_eq!(after.sequence, before.sequence + 1, "no gap and nothing twice");
        let step = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
        assert!(step >= 0, "time goes on");
        let passed = after.at.saturating_duration_since(before.at).as_secs_f64() * 90_000.0;
        assert!(f64::from(step) < passed + 9_000.0, "by what really passed: {step} of {passed}");
        let (one, two) = (picture(before), picture(after));
        let steps = u16::from(two.part == 0);
        assert_eq!(two.id, one.id.wrapping_add(steps) & 0x7fff, "pictures are counted");
        assert_eq!(two.tl0, one.tl0.wrapping_add(steps as u8));
    }
}

fn setting(sid: &str, quality: proto::VideoQuality) -> Request {
    let track_sids = vec![sid.to_owned()];
    Request::TrackSetting(proto::UpdateTrackSettings {
        track_sids,
        quality: quality as i32,
        ..Default::default()
    })
}

#[test]
fn pictures_and_sound_arrive_whole_and_in_order() {
    let (mut world, _, bob) = call();
    world.run(Duration::from_secs(4));
    let client = &world.clients[bob].subscriber;
    let pictures = client.only(MediaKind::Video);
    assert!(picture(&pictures[0]).key, "a decoder can begin with the first one");
    assert!(pictures[0].sequence < 0x8000, "the receiver cannot miss a roll-over");
    assert_continuous(&pictures);
    let top = pictures.iter().filter(|packet| picture(packet).layer == 2).count();
    assert!(top > 75 * 3, "the highest layer is sent to who asked for nothing: {top}");
    let sound = client.only(MediaKind::Audio);
    assert!(sound.len() > 190);
    for (before, after) in sound.iter().zip(&sound[1..]) {
        assert_eq!(after.sequence, before.sequence + 1);
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 960);
    }
    // They arrived in the order in which they were sent, too.
    let sequences = client.received.iter().filter(|p| p.ssrc == pictures[0].ssrc).map(|p| p.sequence);
    assert!(sequences.is_sorted());
}

#[test]
fn layers_change_without_a_seam() {
    let (mut world, alice, bob) = call();
    world.run(Duration::from_secs(2));
    let sid = world.clients[alice].sid(0);
    let layer =
        |world: &World| world.clients[bob].subscriber.only(MediaKind::Video).last().map(|p| picture(p).layer);
    for (quality, wanted) in [
        (proto::VideoQuality::Low, 0),
        (proto::VideoQuality::High, 2),
        (proto::VideoQuality::Medium, 1),
        (proto::VideoQuality::High, 2),
    ] {
        world.signal(bob, setting(&sid, quality));
        let took = world.until("the wanted layer comes", 3, |world| layer(world) == Some(wanted));
        assert!(took < Duration::from_millis(1_500), "{took:?} to layer {wanted}");
        world.run(Duration::from_millis(1_200));
        assert_eq!(layer(&world), Some(wanted), "and stays");
    }
    let pictures = world.clients[bob].subscriber.only(MediaKind::Video);
    assert_continuous(&pictures);
    for (before, after) in pictures.iter().zip(&pictures[1..]) {
        let (one, two) = (picture(before), picture(after));
        assert!(one.layer == two.layer || (two.key && two.part == 0), "a layer begins with a key frame");
    }
}

#[test]
fn a_layer_that_the_publisher_stops_is_replaced_by_the_next_best() {
    let (mut world, alice, bob) = call();
    world.run(Duration::from_secs(1));
    world.clients[alice].sources[0].camera().set_layers([true, false, false]);
    let layer =
        |world: &World| world.clients[bob].subscriber.only(MediaKind::Video).last().map(|p| picture(p).layer);
    world.until("the lowest layer comes", 4, |world| layer(world) == Some(0));
    world.clients[alice].sources[0].camera().set_layers([true, true, true]);
    world.until("the highest layer is back", 4, |world| layer(world) == Some(2));
    assert_continuous(&world.clients[bob].subscriber.only(MediaKind::Video));
}

/// A publisher without RTX fills up what it may send with packets of padding on the stream itself.
#[test]
fn padding_leaves_no_gap() {
    let (mut world, alice, bob) = call();
    world.run(Duration::from_secs(1));
    world.clients[alice].sources[0].camera().padding = 3;
    world.run(Duration::from_secs(3));
    let pictures = world.clients[bob].subscriber.only(MediaKind::Video);
    assert!(pictures.len() > 200);
    assert_continuous(&pictures);
    let nacks = |report: &str| report.starts_with("Nack");
    let reports = &world.clients[bob].subscriber.sent_reports;
    assert_eq!(reports.iter().filter(|report| nacks(&format!("{report:?}"))).count(), 0, "nothing is missed");
}

#[test]
fn a_muted_track_is_silent_and_comes_back_with_a_key_frame() {
    let (mut world, alice, bob) = call();
    let sid = world.clients[alice].sid(0);
    let mute = |muted| Request::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted });
    world.signal(alice, mute(true));
    world.run(Duration::from_millis(100));
    let count = world.clients[bob].subscriber.only(MediaKind::Video).len();
    world.run(Duration::from_secs(2));
    assert_eq!(
        world.clients[bob].subscriber.only(MediaKind::Video).len(),
        count,
        "although alice goes on sending"
    );
    world.signal(alice, mute(false));
    world.until("bob sees alice again", 2, |world| {
        world.clients[bob].subscriber.only(MediaKind::Video).len() > count + 20
    });
    let pictures = world.clients[bob].subscriber.only(MediaKind::Video);
    assert!(picture(&pictures[count]).key);
    assert_continuous(&pictures);
}

#[test]
fn who_speaks_is_told_and_who_falls_silent() {
    let (mut world, alice, bob) = call();
    let speaks = |world: &World| {
        let mut changed = world.clients[bob].heard.iter().filter_map(|message| match message {
            Response::SpeakersChanged(changed) => changed.speakers.last(),
            _ => None,
        });
        changed.next_back().map(|speaker| speaker.active)
    };
    world.until("alice is heard to speak", 2, |world| speaks(world) == Some(true));
    world.clients[alice].sources[1].microphone().level = 90;
    world.until("alice is heard to be silent", 3, |world| speaks(world) == Some(false));
    world.clients[alice].sources[1].microphone().level = 10;
    world.until("alice speaks again", 2, |world| speaks(world) == Some(true));
    // Taken away in the middle of a word.
    let now = world.now;
    world.clients[alice].unpublish(now, 1);
    world.until("nobody speaks", 1, |world| speaks(world) == Some(false));
}

#[test]
fn a_track_that_was_taken_away_can_be_published_again() {
    let (mut world, alice, bob) = call();
    for _ in 0..3 {
        let now = world.now;
        let screen = world.clients[alice].publish_screen(now);
        let before = world.clients[bob].subscriber.received.len();
        world.run(Duration::from_secs(1));
        let sid = world.clients[alice].sid(screen);
        let streams: std::collections::BTreeSet<u32> =
            world.clients[bob].subscriber.received[before..].iter().map(|packet| packet.ssrc).collect();
        assert_eq!(streams.len(), 3, "camera, microphone and the screen");
        let now = world.now;
        world.clients[alice].unpublish(now, screen);
        world.run(Duration::from_millis(500));
        let mut ended = world.webhooks.iter().filter(|event| event.event == "track_unpublished");
        assert!(
            ended.next_back().and_then(|event| event.track.as_ref()).is_some_and(|track| track.sid == sid)
        );
        let before = world.clients[bob].subscriber.received.len();
        world.run(Duration::from_millis(500));
        let streams: std::collections::BTreeSet<u32> =
            world.clients[bob].subscriber.received[before..].iter().map(|packet| packet.ssrc).collect();
        assert_eq!(streams.len(), 2, "the screen is gone");
    }
}

#[test]
fn quality_is_told_while_it_is_good() {
    let (mut world, alice, bob) = call();
    let told = |world: &World, to: usize| {
        let mut updates = world.clients[to].heard.iter().filter_map(|message| match message {
            Response::ConnectionQuality(update) => update.updates.last(),
            _ => None,
        });
        updates.next_back().map(proto::ConnectionQualityInfo::quality)
    };
    for who in [alice, bob] {
        world.until("quality is told", 8, |world| {
            told(world, who) == Some(proto::ConnectionQuality::Excellent)
        });
    }
}
