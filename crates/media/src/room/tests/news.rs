//! What everybody learns of the others when many come and go at once.

use super::*;

/// Updates that a peer got: who is how, by name.
fn updates(sim: &mut Sim, peer: PeerHandle) -> Vec<Vec<(String, State)>> {
    let of = |message| match message {
        Response::Update(update) => {
            let line = |info: proto::ParticipantInfo| (info.identity.clone(), info.state());
            Some(update.participants.into_iter().map(line).collect())
        }
        _ => None,
    };
    sim.heard(peer).into_iter().filter_map(of).collect()
}

fn known(identity: &str, state: State) -> (String, State) {
    (identity.to_owned(), state)
}

const INTERVAL: Duration = Duration::from_millis(100);

#[test]
fn the_first_to_come_is_told_at_once_and_a_crowd_together() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.pass(INTERVAL * 2);
    sim.take();
    sim.join_as("bob", VideoGrant::default(), &[]);
    assert_eq!(updates(&mut sim, alice), [[known("bob", State::Joined)]]);
    sim.join("carol");
    sim.join("dave");
    sim.step(Command::SignalClosed { peer: PeerHandle { key: 2, ..alice } });
    assert_eq!(updates(&mut sim, alice), Vec::<Vec<_>>::new());
    sim.pass(INTERVAL);
    let crowd =
        [known("carol", State::Active), known("dave", State::Active), known("bob", State::Disconnected)];
    assert_eq!(updates(&mut sim, alice), [crowd]);
    sim.pass(INTERVAL * 3);
    assert_eq!(updates(&mut sim, alice), Vec::<Vec<_>>::new(), "everything was told");
}

#[test]
fn a_track_waits_for_nobody_and_overtakes_nobody() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    sim.pass(INTERVAL);
    sim.join("carol");
    sim.take();
    sim.publish(bob, proto::TrackSource::Camera);
    let told = updates(&mut sim, alice);
    assert_eq!(told, [[known("carol", State::Active), known("bob", State::Active)]]);
    // The departure of one who publishes does not wait either.
    sim.signal(bob, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(updates(&mut sim, alice), [[known("bob", State::Disconnected)]]);
}

#[test]
fn who_comes_again_is_not_taken_for_the_one_who_left() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.join("bob");
    sim.take();
    sim.join("bob");
    // A newcomer finds the second bob in the room, and must not hear afterwards that bob has left.
    let carol = sim.join("carol");
    let first = sim.said.iter().position(|effect| {
        matches!(effect, Effect::Signal { to, message }
            if to.contains(&alice) && matches!(&**message, Response::Update(update) if update.participants.iter().any(|p| p.state() == State::Disconnected)))
    });
    assert!(first.is_some(), "alice hears that the first bob is gone");
    sim.pass(INTERVAL);
    let told: Vec<_> = updates(&mut sim, carol).into_iter().flatten().collect();
    assert!(!told.contains(&known("bob", State::Disconnected)), "{told:?}");
}
