//! Clients that come back by another network.

use std::net::SocketAddr;
use std::time::Duration;

use plenum_client::Side;

use plenum_sim::World;

/// From one network to another: nothing gets through for a while, then everything from other addresses.
#[test]
fn a_client_goes_on_in_another_network_without_new_connections() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.until("bob sees alice", 5, |world| world.clients[bob].subscriber.received.len() > 100);
    let published = world.clients[alice].sid(0);

    // Longer than ICE takes to notice, shorter than until somebody is given up.
    world.lose = Box::new(move |datagram| datagram.client == alice);
    world.run(Duration::from_secs(15));
    for side in [Side::Publisher, Side::Subscriber] {
        let port = if side == Side::Publisher { 50_001 } else { 50_002 };
        world.clients[alice].seen(side).outside = SocketAddr::from(([192, 0, 2, 77], port));
    }
    world.lose = Box::new(|_| false);
    world.resume(alice);
    let now = world.now;
    world.clients[alice].client.restart_ice(now);
    let before = world.clients[bob].subscriber.received.len();
    let took = world
        .until("bob sees alice again", 3, |world| world.clients[bob].subscriber.received.len() > before + 10);
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    assert_eq!(world.clients[alice].sid(0), published);

    // Both ways: alice receives what bob publishes, and data.
    let now = world.now;
    world.clients[bob].publish_microphone(now);
    world.run(Duration::from_secs(2));
    let now = world.now;
    world.clients[bob].write(now, true, "welcome back", &[]);
    world.clients[alice].write(now, true, "thank you", &[]);
    let got = |world: &World, who: usize, text: &str| {
        world.clients[who].texts().iter().any(|(_, _, own)| own == text)
    };
    let took = world.until("words go both ways", 3, |world| {
        got(world, alice, "welcome back") && got(world, bob, "thank you")
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!world.clients[alice].subscriber.received.is_empty(), "and she hears bob");
    world.run(Duration::from_secs(30));
    assert!(!world.clients[alice].closed && !world.clients[bob].closed);
}

/// The network comes back as it was: nothing changes but the names in checks.
#[test]
fn a_restart_on_the_same_path_loses_nothing() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_microphone(now);
    world.run(Duration::from_secs(3));
    let count = |world: &World| world.clients[bob].subscriber.received.len();
    let steady = {
        let before = count(&world);
        world.run(Duration::from_secs(2));
        count(&world) - before
    };
    for who in [alice, bob] {
        world.resume(who);
    }
    let now = world.now;
    world.clients[alice].client.restart_ice(now);
    let before = count(&world);
    world.run(Duration::from_secs(2));
    let came = count(&world) - before;
    assert!(came + 2 >= steady, "{came} of {steady}");
    world.run(Duration::from_secs(30));
    assert!(!world.clients[alice].closed && !world.clients[bob].closed);
}
