//! Clients whose address changes under them.

use std::net::SocketAddr;
use std::time::Duration;

use plenum_client::Side;

use plenum_sim::World;

/// The translation of addresses on the way gives a client another port, or another address, without telling it.
#[test]
fn a_client_behind_another_address_goes_on() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.until("bob sees alice", 5, |world| world.clients[bob].subscriber.received.len() > 100);
    for (who, side, address) in [
        (bob, Side::Subscriber, SocketAddr::from(([198, 51, 100, 2], 50_001))),
        (alice, Side::Publisher, SocketAddr::from(([198, 51, 100, 1], 50_002))),
        (bob, Side::Subscriber, SocketAddr::from(([192, 0, 2, 99], 50_003))),
        (alice, Side::Publisher, SocketAddr::from(([192, 0, 2, 98], 50_004))),
    ] {
        world.clients[who].seen(side).outside = address;
        world.run(Duration::from_secs(6));
        let before = world.clients[bob].subscriber.received.len();
        world.run(Duration::from_secs(1));
        let came = world.clients[bob].subscriber.received.len() - before;
        assert!(came > 60, "{came} packets in a second after {side:?} moved");
    }
    assert!(!world.clients[alice].closed && !world.clients[bob].closed);
}

/// What a publisher is asked for reaches it where it is now, and pictures are whole again at once.
#[test]
fn a_publisher_behind_another_address_hears_what_is_asked() {
    let mut world = World::new();
    world.remember = false;
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    let shown = |world: &World| {
        world.clients[bob].viewer.pictures().values().next().map_or(0, |screen| screen.shown().len())
    };
    world.run(Duration::from_secs(5));
    world.rebind(alice);
    world.run(Duration::from_secs(4));
    let before = shown(&world);
    world.run(Duration::from_secs(1));
    assert!(shown(&world) - before >= 24, "{} pictures in a second", shown(&world) - before);
}

/// Nobody takes over a connection from another address without its secrets.
#[test]
fn a_recorded_packet_from_elsewhere_moves_nothing() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.until("bob sees alice", 5, |world| world.clients[bob].subscriber.received.len() > 100);
    let recorded: std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>> = std::rc::Rc::default();
    let tape = recorded.clone();
    world.lose = Box::new(move |datagram| {
        if datagram.up && datagram.client == bob && datagram.side == Side::Subscriber {
            tape.borrow_mut().push(datagram.bytes.clone());
        }
        false
    });
    world.run(Duration::from_secs(4));
    world.lose = Box::new(|_| false);
    let recorded = recorded.borrow().clone();
    assert!(recorded.len() > 4);
    // Everything but the checks: those carry no time, so that only their nominating a path can be prevented.
    for bytes in recorded.iter().filter(|bytes| bytes[0] > 3) {
        world.inject(([192, 0, 2, 66], 6_666).into(), bytes);
        // From the client's own address it is a repetition.
        let own = world.clients[bob].subscriber.outside;
        world.inject(own, bytes);
    }
    let before = world.clients[bob].subscriber.received.len();
    world.run(Duration::from_secs(1));
    assert!(world.clients[bob].subscriber.received.len() - before > 60);
    assert!(!world.clients[bob].closed);
}
