//! What publishers hear of the demand for their pictures.

use proto::VideoQuality::{High, Low, Medium, Off};

use super::*;

/// Enabled qualities, from LOW to HIGH, as the peer was told last; `None` if it was told nothing.
fn told(sim: &mut Sim, peer: PeerHandle) -> Option<[bool; 3]> {
    let update = sim.heard(peer).into_iter().rev().find_map(|message| match message {
        Response::SubscribedQualityUpdate(update) => Some(update),
        _ => None,
    })?;
    let codec = &update.subscribed_codecs[0];
    assert_eq!(codec.codec, "vp8");
    #[expect(deprecated, reason = "older clients read it")]
    let old = &update.subscribed_qualities;
    assert_eq!(codec.qualities, *old);
    let enabled: Vec<bool> = codec.qualities.iter().map(|quality| quality.enabled).collect();
    Some(enabled.try_into().expect("three qualities"))
}

fn set(sim: &mut Sim, peer: PeerHandle, track: &str, quality: proto::VideoQuality) {
    sim.signal(
        peer,
        Request::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![track.to_owned()],
            disabled: quality == Off,
            quality: quality as i32,
            ..Default::default()
        }),
    );
}

/// Alice publishes, bob and carol receive; the first look at the demand is over.
fn watched() -> (Sim, [PeerHandle; 3], String) {
    let mut sim = Sim::new();
    let people = [sim.join("alice"), sim.join("bob"), sim.join("carol")];
    let track = sim.publish(people[0], proto::TrackSource::Camera);
    sim.answer(people[1]);
    sim.answer(people[2]);
    sim.pass(Duration::from_secs(11));
    assert_eq!(told(&mut sim, people[0]), None, "all is wanted, as it was");
    (sim, people, track)
}

#[test]
fn more_is_said_at_once_and_less_after_a_while() {
    let (mut sim, [alice, bob, carol], track) = watched();
    set(&mut sim, bob, &track, Low);
    sim.pass(Duration::from_secs(6));
    assert_eq!(told(&mut sim, alice), None, "carol wants all of it");
    set(&mut sim, carol, &track, Medium);
    sim.pass(Duration::from_millis(4_900));
    assert_eq!(told(&mut sim, alice), None);
    sim.pass(Duration::from_millis(200));
    assert_eq!(told(&mut sim, alice), Some([true, true, false]));
    set(&mut sim, carol, &track, Off);
    sim.pass(Duration::from_secs(6));
    assert_eq!(told(&mut sim, alice), Some([true, false, false]));
    set(&mut sim, bob, &track, High);
    assert_eq!(told(&mut sim, alice), Some([true, true, true]));
    // Back and forth within the time says nothing.
    set(&mut sim, bob, &track, Low);
    sim.pass(Duration::from_secs(2));
    set(&mut sim, bob, &track, High);
    sim.pass(Duration::from_secs(10));
    assert_eq!(told(&mut sim, alice), None);
}

#[test]
fn nobody_there_nothing_wanted() {
    let (mut sim, [alice, bob, carol], track) = watched();
    let unsubscribe = proto::UpdateSubscription { track_sids: vec![track.clone()], ..Default::default() };
    sim.signal(bob, Request::Subscription(unsubscribe.clone()));
    sim.signal(carol, Request::Leave(proto::LeaveRequest::default()));
    sim.pass(Duration::from_secs(6));
    assert_eq!(told(&mut sim, alice), Some([false; 3]));
    // The publisher is not called poor for sending nothing.
    let silent = shard::Quality { publishing: true, ..Default::default() };
    sim.event(alice, EventKind::Quality(silent));
    let quality = sim.room.participants[&Identity::new("alice").expect("good")].quality;
    assert_eq!(quality, Some(proto::ConnectionQuality::Excellent));
    sim.signal(bob, Request::Subscription(proto::UpdateSubscription { subscribe: true, ..unsubscribe }));
    assert_eq!(told(&mut sim, alice), Some([true; 3]), "as soon as somebody comes");
}

#[test]
fn a_muted_track_hears_of_it_when_it_goes_on() {
    let (mut sim, [alice, bob, carol], track) = watched();
    sim.signal(alice, Request::Mute(proto::MuteTrackRequest { sid: track.clone(), muted: true }));
    set(&mut sim, bob, &track, Low);
    set(&mut sim, carol, &track, Low);
    sim.pass(Duration::from_secs(6));
    assert_eq!(told(&mut sim, alice), None);
    sim.signal(alice, Request::Mute(proto::MuteTrackRequest { sid: track.clone(), muted: false }));
    assert_eq!(told(&mut sim, alice), Some([true, false, false]));
    // And whoever was away hears it again.
    sim.step(Command::Resume { peer: alice });
    assert_eq!(told(&mut sim, alice), Some([true, false, false]));
}
