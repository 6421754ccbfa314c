//! Data tracks: who is told of them, and who receives them under which handle.

use proto::request_response::Reason;

use super::*;

fn publish(sim: &mut Sim, peer: PeerHandle, pub_handle: u32, name: &str) -> Result<String, Reason> {
    sim.take();
    let request = proto::PublishDataTrackRequest { pub_handle, name: name.into(), ..Default::default() };
    publish_as(sim, peer, request)
}

fn publish_as(
    sim: &mut Sim,
    peer: PeerHandle,
    request: proto::PublishDataTrackRequest,
) -> Result<String, Reason> {
    sim.signal(peer, Request::PublishDataTrackRequest(request));
    let answer = sim.said.iter().find_map(|effect| match effect {
        Effect::Signal { to, message } if to.contains(&peer) => match &**message {
            Response::PublishDataTrackResponse(response) => {
                Some(Ok(response.info.clone().expect("about a track").sid))
            }
            Response::RequestResponse(response) => Some(Err(response.reason())),
            _ => None,
        },
        _ => None,
    });
    answer.expect("every request is answered")
}

fn subscribe(sim: &mut Sim, peer: PeerHandle, sid: &str, subscribe: bool) {
    let update = proto::update_data_subscription::Update {
        track_sid: sid.to_owned(),
        subscribe,
        ..Default::default()
    };
    let updates = proto::UpdateDataSubscription { updates: vec![update] };
    sim.signal(peer, Request::UpdateDataSubscription(updates));
}

/// What the media thread was told of that handle last, and the handles that somebody was told last.
fn routes(effects: &[Effect], handle: u16) -> Option<Vec<(PeerHandle, u16)>> {
    commands(effects).into_iter().rev().find_map(|command| match command {
        shard::Command::SetDataTrack { handle: of, to, .. } if *of == handle => Some(to.clone()),
        _ => None,
    })
}

fn handles(effects: &[Effect], peer: PeerHandle) -> Option<BTreeMap<u32, String>> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Signal { to, message } if to.contains(&peer) => match &**message {
            Response::DataTrackSubscriberHandles(handles) => Some(
                handles
                    .sub_handles
                    .iter()
                    .map(|(handle, track)| (*handle, track.track_sid.clone()))
                    .collect(),
            ),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn whoever_asks_receives_under_a_handle_of_its_own() {
    let mut sim = Sim::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| sim.join(name));
    let position = publish(&mut sim, alice, 7, "position").expect("published");
    let battery = publish(&mut sim, alice, 8, "battery").expect("published");
    let told = sim.heard(bob).into_iter().rev().find_map(|message| match message {
        Response::Update(update) => Some(update.participants[0].clone()),
        _ => None,
    });
    let told = told.expect("bob hears of it");
    let names: Vec<_> =
        told.data_tracks.iter().map(|track| (track.pub_handle, track.name.as_str())).collect();
    assert_eq!(names, [(7, "position"), (8, "battery")]);
    assert!(told.is_publisher);

    subscribe(&mut sim, bob, &battery, true);
    subscribe(&mut sim, bob, &position, true);
    let effects = sim.take();
    assert_eq!(routes(&effects, 8), Some(vec![(bob, 1)]));
    assert_eq!(routes(&effects, 7), Some(vec![(bob, 2)]));
    let both = BTreeMap::from([(1, battery.clone()), (2, position.clone())]);
    assert_eq!(handles(&effects, bob), Some(both), "all of them, each time");
    subscribe(&mut sim, carol, &position, true);
    let effects = sim.take();
    assert_eq!(routes(&effects, 7), Some(vec![(bob, 2), (carol, 1)]));
    assert_eq!(handles(&effects, bob), None, "for bob nothing has changed");

    subscribe(&mut sim, bob, &position, false);
    assert_eq!(routes(&sim.take(), 7), Some(vec![(carol, 1)]));
    sim.signal(carol, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(routes(&sim.take(), 7), Some(Vec::new()));
    subscribe(&mut sim, bob, &position, true);
    assert_eq!(routes(&sim.take(), 7), Some(vec![(bob, 3)]), "an old handle means nothing else");
    sim.signal(alice, Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 7 }));
    let effects = sim.take();
    assert_eq!(routes(&effects, 7), Some(Vec::new()));
    assert_eq!(handles(&effects, bob), Some(BTreeMap::from([(1, battery.clone())])));
    sim.signal(alice, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(handles(&sim.take(), bob), Some(BTreeMap::new()));
}

#[test]
fn a_wish_may_come_before_the_track_and_may_be_for_all() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let eager = sim.join_as("eager", VideoGrant::default(), &[("auto_subscribe_data_track", "1")]);
    sim.answer(eager);
    publish(&mut sim, alice, 7, "position").expect("published");
    assert_eq!(routes(&sim.take(), 7), None, "not there yet");
    sim.event(eager, EventKind::Connected(Side::Subscriber));
    sim.event(eager, EventKind::ChannelsOpen);
    assert_eq!(routes(&sim.take(), 7), Some(vec![(eager, 1)]));
}

#[test]
fn rights_hold_for_data_tracks() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    let deaf = VideoGrant { can_subscribe: Some(false), ..VideoGrant::default() };
    let deaf = sim.join_as("deaf", deaf, &[("auto_subscribe_data_track", "1")]);
    sim.event(deaf, EventKind::Connected(Side::Subscriber));
    sim.event(deaf, EventKind::ChannelsOpen);
    let dumb =
        sim.join_as("dumb", VideoGrant { can_publish_data: Some(false), ..VideoGrant::default() }, &[]);
    assert_eq!(publish(&mut sim, dumb, 1, "x"), Err(Reason::NotAllowed));

    let sid = publish(&mut sim, alice, 7, "position").expect("published");
    assert_eq!(routes(&sim.take(), 7), None, "nobody may or wants");
    subscribe(&mut sim, bob, &sid, true);
    assert_eq!(routes(&sim.take(), 7), Some(vec![(bob, 1)]));
    let nobody = proto::SubscriptionPermission { all_participants: false, ..Default::default() };
    sim.signal(alice, Request::SubscriptionPermission(nobody));
    assert_eq!(routes(&sim.take(), 7), Some(Vec::new()));
    let all = proto::SubscriptionPermission { all_participants: true, ..Default::default() };
    sim.signal(alice, Request::SubscriptionPermission(all));
    assert_eq!(routes(&sim.take(), 7), Some(vec![(bob, 2)]));
    let permission =
        proto::ParticipantPermission { can_subscribe: true, can_publish: true, ..Default::default() };
    let mut rng = StdRng::seed_from_u64(1);
    let mut moment = Moment { now: sim.now, unix_ms: sim.unix_ms, rng: &mut rng };
    sim.room.set_permission(&mut moment, &Identity::new("alice").expect("a good name"), permission);
    sim.step(Command::Timeout);
    let effects = sim.take();
    assert_eq!(routes(&effects, 7), Some(Vec::new()), "may not publish data any more");
    assert_eq!(handles(&effects, bob), Some(BTreeMap::new()));
}

#[test]
fn what_is_wrong_with_a_data_track_is_said() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    assert_eq!(publish(&mut sim, alice, 0, "x"), Err(Reason::InvalidHandle));
    assert_eq!(publish(&mut sim, alice, 65_536, "x"), Err(Reason::InvalidHandle));
    assert_eq!(publish(&mut sim, alice, 1, ""), Err(Reason::InvalidName));
    assert_eq!(publish(&mut sim, alice, 1, &"x".repeat(257)), Err(Reason::InvalidName));
    assert!(publish(&mut sim, alice, 1, "x").is_ok());
    assert_eq!(publish(&mut sim, alice, 1, "y"), Err(Reason::DuplicateHandle));
    assert_eq!(publish(&mut sim, alice, 2, "x"), Err(Reason::DuplicateName));
    let custom = |custom: &str| proto::PublishDataTrackRequest {
        pub_handle: 3,
        name: "z".into(),
        frame_encoding: Some(proto::DataTrackFrameEncoding {
            value: Some(proto::data_track_frame_encoding::Value::Custom(custom.into())),
        }),
        ..Default::default()
    };
    sim.take();
    assert_eq!(publish_as(&mut sim, alice, custom("")), Err(Reason::InvalidRequest));
    sim.take();
    assert_eq!(publish_as(&mut sim, alice, custom(&"x".repeat(33))), Err(Reason::InvalidRequest));
    for handle in 10..41 {
        assert!(publish(&mut sim, alice, handle, &handle.to_string()).is_ok());
    }
    assert_eq!(publish(&mut sim, alice, 50, "one more"), Err(Reason::LimitExceeded));
    sim.take();
    sim.signal(alice, Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 9 }));
    let refused = sim.heard(alice).into_iter().any(|message| {
        matches!(message, Response::RequestResponse(response) if response.reason() == Reason::NotFound)
    });
    assert!(refused);
}
