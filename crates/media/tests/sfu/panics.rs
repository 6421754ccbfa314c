//! A bug that strikes one peer's turn, wherever in it, ends that peer alone.

use std::time::Duration;

use livekit_protocol as proto;
use plenum_media::fault::{self, Point};
use proto::leave_request::Action;
use proto::signal_response::Message as Response;

use plenum_sim::World;

/// Whether a client was told to come again.
fn is_out(world: &World, client: usize) -> bool {
    let told =
        |message: &Response| matches!(message, Response::Leave(leave) if leave.action() == Action::Reconnect);
    world.clients[client].heard.iter().any(told)
}

/// How much media a client has received of late.
fn receives(world: &mut World, client: usize) -> bool {
    world.clients[client].subscriber.received.clear();
    world.run(Duration::from_secs(1));
    world.clients[client].subscriber.received.len() > 20
}

#[test]
fn a_panic_ends_one_peer_and_no_other() {
    for point in [Point::Datagram, Point::Forward, Point::Write, Point::Report, Point::Data] {
        let mut world = World::new();
        let everybody = ["alice", "bob", "carol"].map(|name| world.join(name));
        for client in everybody {
            let now = world.now;
            world.clients[client].publish_camera(now);
        }
        world.until("everybody sees somebody", 5, |world| {
            everybody.iter().all(|client| !world.clients[*client].subscriber.received.is_empty())
        });
        world.run(Duration::from_secs(1));
        fault::arm(point);
        if point == Point::Data {
            let now = world.now;
            world.clients[everybody[0]].write(now, true, "hello", &[]);
        }
        world.run(Duration::from_secs(3));
        assert!(!fault::is_armed(), "{point:?} was passed");
        let (out, left): (Vec<usize>, Vec<usize>) =
            everybody.iter().partition(|client| is_out(&world, **client));
        assert_eq!(out.len(), 1, "{point:?}: one is lost, and told to come again");
        for client in left {
            assert!(receives(&mut world, client), "{point:?}: the others go on");
        }
        let again = world.join("again");
        assert!(receives(&mut world, again), "{point:?}: and so does whoever comes");
    }
}
