//! Going on after the signal connection was lost, and the test hooks of clients.

use proto::leave_request::Action;
use proto::simulate_scenario::Scenario;

use super::*;

fn sid_of(sim: &Sim, peer: PeerHandle) -> String {
    sim.room.participants[&sim.room.by_peer[&peer]].info.sid.clone()
}

fn resume(sim: &mut Sim, peer: PeerHandle) {
    let identity = sim.room.by_peer[&peer].clone();
    assert_eq!(sim.room.resumable(&identity, &sid_of(sim, peer)), Some(peer));
    sim.step(Command::Resume { peer });
}

fn name_of(message: &Response) -> &'static str {
    match message {
        Response::Reconnect(_) => "reconnect",
        Response::Update(_) => "update",
        Response::RoomUpdate(_) => "room_update",
        Response::RefreshToken(_) => "refresh_token",
        Response::Offer(_) => "offer",
        Response::Leave(_) => "leave",
        _ => "other",
    }
}

fn ufrag(sdp: &str) -> &str {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("it has one")
}

fn restarts(effects: &[Effect], peer: PeerHandle) -> Vec<(Side, String)> {
    let of_peer = |command: &&shard::Command| match command {
        shard::Command::RestartIce { peer: own, side, local, .. } if *own == peer => {
            Some((*side, local.ufrag.clone()))
        }
        _ => None,
    };
    commands(effects).iter().filter_map(of_peer).collect()
}

#[test]
fn a_resumed_session_hears_what_it_missed_in_order_and_keeps_all() {
    let mut sim = Sim::new();
    let (alice, bob, carol) = (sim.join("alice"), sim.join("bob"), sim.join("carol"));
    let track = sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    let sid = sid_of(&sim, bob);
    sim.pass(Duration::from_secs(5));
    sim.step(Command::SignalClosed { peer: bob });
    sim.signal(carol, Request::Leave(proto::LeaveRequest::default()));
    sim.pass(Duration::from_secs(20));
    sim.take();
    resume(&mut sim, bob);
    let effects = sim.take();
    let tracks_end = |c: &&shard::Command| {
        matches!(c, shard::Command::RemoveDown { .. } | shard::Command::RemovePeer { .. })
    };
    assert!(!commands(&effects).iter().any(tracks_end), "media goes on");
    sim.said = effects;
    let heard = sim.heard(bob);
    let names: Vec<_> = heard.iter().map(name_of).collect();
    assert_eq!(names, ["reconnect", "update", "update", "room_update", "refresh_token", "offer"]);
    let people = |message| updates(std::slice::from_ref(message));
    let left: Vec<_> = people(&heard[1]).iter().map(|p| (p.identity.clone(), p.state())).collect();
    assert_eq!(left, [("carol".to_owned(), State::Disconnected)]);
    let here = people(&heard[2]);
    let known: Vec<_> = here.iter().map(|p| p.identity.as_str()).collect();
    assert_eq!(known, ["alice", "bob"]);
    assert_eq!((here[0].tracks[0].sid.as_str(), here[1].sid.as_str()), (track.as_str(), sid.as_str()));
    // It stays for good.
    sim.said = vec![Effect::Signal { to: vec![bob], message: Box::new(heard[5].clone()) }];
    sim.answer(bob);
    sim.pass(Duration::from_secs(100));
    assert!(sim.room.by_peer.contains_key(&bob));
}

#[test]
fn both_connections_get_new_credentials() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.publish(alice, proto::TrackSource::Camera);
    sim.step(Command::SignalClosed { peer: alice });
    sim.take();
    resume(&mut sim, alice);
    let offered = sim.said.iter().find_map(|effect| match effect {
        Effect::Signal { message, .. } => match &**message {
            Response::Offer(offer) => Some(offer.sdp.clone()),
            _ => None,
        },
        _ => None,
    });
    let offered = offered.expect("an offer");
    assert!(restarts(&sim.said, alice).is_empty(), "nothing changes before the client has agreed");
    // The client answers with a new name of its own.
    let answer = offered
        .replace("a=setup:actpass", "a=setup:active")
        .replace(&format!("a=ice-ufrag:{}", ufrag(&offered)), "a=ice-ufrag:another");
    let id = sim.room.participants[&sim.room.by_peer[&alice]].subscriber.outstanding.expect("offered").id;
    let answer = proto::SessionDescription { r#type: "answer".into(), sdp: answer, id, ..Default::default() };
    sim.signal(alice, Request::Answer(answer));
    let subscriber = restarts(&sim.take(), alice);
    assert_eq!(subscriber, [(Side::Subscriber, ufrag(&offered).to_owned())]);

    let lines = [("0", MediaKind::Video, Some("cid"))];
    let sdp = publisher_offer(PeerHandle { key: 99, ..alice }, &lines);
    sim.signal(alice, Request::Offer(proto::SessionDescription { sdp, id: 4, ..Default::default() }));
    let publisher = restarts(&sim.said, alice);
    let answered = sim.heard(alice).into_iter().find_map(|message| match message {
        Response::Answer(answer) => Some(answer.sdp),
        _ => None,
    });
    assert_eq!(publisher, [(Side::Publisher, ufrag(&answered.expect("answered")).to_owned())]);
    // The same offer again restarts nothing.
    let sdp = publisher_offer(PeerHandle { key: 99, ..alice }, &lines);
    sim.signal(alice, Request::Offer(proto::SessionDescription { sdp, id: 5, ..Default::default() }));
    assert!(restarts(&sim.said, alice).is_empty());
}

#[test]
fn only_who_is_here_can_go_on() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let name = |name: &str| Identity::new(name).expect("a good name");
    assert_eq!(sim.room.resumable(&name("alice"), ""), Some(alice), "not all clients say as whom");
    assert_eq!(sim.room.resumable(&name("alice"), "PA_other"), None);
    assert_eq!(sim.room.resumable(&name("bob"), ""), None);
    let bob = sim.join_as("bob", VideoGrant::default(), &[]);
    assert_eq!(sim.room.resumable(&name("bob"), ""), None, "not without connections to keep");
    sim.event(bob, EventKind::Failed(Failure::Unreachable));
    assert_eq!(sim.room.resumable(&name("bob"), ""), None);
}

#[test]
fn who_came_back_meanwhile_is_not_taken_away_again() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    let first = sim.join("bob");
    sim.signal(first, Request::Leave(proto::LeaveRequest::default()));
    sim.pass(Duration::from_secs(1));
    sim.join("bob");
    sim.pass(Duration::from_secs(5));
    // Alice was there all the time and knows of the second one only.
    sim.signal(alice, Request::Ping(1));
    sim.step(Command::SignalClosed { peer: alice });
    sim.take();
    resume(&mut sim, alice);
    let states: Vec<_> = updates(&sim.heard(alice)).iter().map(proto::ParticipantInfo::state).collect();
    assert_eq!(states, [State::Active, State::Active]);
}

#[test]
fn a_client_that_sends_what_nobody_knows_comes_again() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    let sid = sim.publish(alice, proto::TrackSource::Camera);
    sim.answer(bob);
    let published = |sid: &str| proto::TrackPublishedResponse {
        cid: "cid".into(),
        track: Some(proto::TrackInfo { sid: sid.into(), ..Default::default() }),
    };
    sim.take();
    let state = proto::SyncState { publish_tracks: vec![published(&sid)], ..Default::default() };
    sim.signal(alice, Request::SyncState(state));
    assert_eq!(leaves(&sim.heard(alice)), None);
    let state = proto::SyncState {
        subscription: Some(proto::UpdateSubscription::default()),
        track_sids_disabled: vec![sid.clone()],
        ..Default::default()
    };
    sim.signal(bob, Request::SyncState(state));
    let is_off = |c: &&shard::Command| matches!(c, shard::Command::SetDown { wanted, .. } if wanted.disabled);
    assert!(commands(&sim.take()).iter().any(is_off));
    let state = proto::SyncState { publish_tracks: vec![published("TR_gone")], ..Default::default() };
    sim.signal(alice, Request::SyncState(state));
    assert_eq!(leaves(&sim.heard(alice)), Some((DisconnectReason::StateMismatch, Action::Reconnect)));
}

fn simulate(sim: &mut Sim, peer: PeerHandle, scenario: Scenario) {
    sim.signal(peer, Request::Simulate(proto::SimulateScenario { scenario: Some(scenario) }));
}

fn closes(effects: &[Effect], peer: PeerHandle) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::CloseSignal { peer: own } if *own == peer))
}

#[test]
fn simulated_speech_begins_and_ends() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.take();
    simulate(&mut sim, alice, Scenario::SpeakerUpdate(3));
    let speaks = |heard: Vec<Response>| {
        heard.into_iter().find_map(|message| match message {
            Response::SpeakersChanged(changed) => Some(changed.speakers[0].active),
            _ => None,
        })
    };
    assert_eq!(speaks(sim.heard(bob)), Some(true));
    sim.pass(Duration::from_millis(2_900));
    assert_eq!(speaks(sim.heard(bob)), None);
    sim.pass(Duration::from_millis(200));
    assert_eq!(speaks(sim.heard(bob)), Some(false));
}

#[test]
fn simulated_failures_end_as_their_names_say() {
    let cases = [
        (Scenario::NodeFailure(true), None),
        (Scenario::Migration(true), None),
        (Scenario::ServerLeave(true), Some((DisconnectReason::ServerShutdown, Action::Disconnect))),
        (
            Scenario::LeaveRequestFullReconnect(true),
            Some((DisconnectReason::ServerShutdown, Action::Reconnect)),
        ),
    ];
    for (scenario, told) in cases {
        let mut sim = Sim::new();
        let (alice, bob) = (sim.join("alice"), sim.join("bob"));
        sim.take();
        simulate(&mut sim, alice, scenario);
        let effects = sim.take();
        assert!(closes(&effects, alice) && !closes(&effects, bob), "{scenario:?}");
        sim.said = effects;
        assert_eq!(leaves(&sim.heard(alice)), told, "{scenario:?}");
        assert_eq!(sim.room.resumable(&Identity::new("alice").expect("good"), ""), None);
    }
}

#[test]
fn a_resumed_connection_breaks_when_asked_to() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    simulate(&mut sim, alice, Scenario::DisconnectSignalOnResume(true));
    sim.take();
    resume(&mut sim, alice);
    let effects = sim.take();
    assert!(closes(&effects, alice));
    sim.said = effects;
    assert_eq!(name_of(&sim.heard(alice)[0]), "reconnect");
    resume(&mut sim, alice);
    assert!(!closes(&sim.take(), alice), "once only");

    simulate(&mut sim, alice, Scenario::DisconnectSignalOnResumeNoMessages(true));
    for _ in 0..3 {
        sim.take();
        resume(&mut sim, alice);
        assert!(closes(&sim.said, alice));
        assert!(sim.heard(alice).is_empty());
    }
    resume(&mut sim, alice);
    assert_eq!(name_of(&sim.heard(alice)[0]), "reconnect");
}
