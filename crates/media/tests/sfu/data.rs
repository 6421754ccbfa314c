//! Data packets.

use std::time::Duration;

use plenum_sim::World;

fn three() -> World {
    let mut world = World::new();
    for name in ["alice", "bob", "carol"] {
        world.join(name);
    }
    let now = world.now;
    // The publisher's connection comes up with the first track.
    world.clients[0].publish_microphone(now);
    world.run(Duration::from_secs(2));
    world
}

#[test]
fn reliable_data_arrives_in_order_at_those_it_is_for() {
    let mut world = three();
    let now = world.now;
    let alice = &mut world.clients[0];
    for number in 0..200 {
        alice.write(now, true, &number.to_string(), &[]);
    }
    alice.write(now, true, "for bob", &["bob"]);
    alice.write(now, true, "for nobody", &["dave"]);
    // One datagram in five is lost.
    let mut seen = 0;
    world.lose = Box::new(move |_| {
        seen += 1;
        seen % 5 == 0
    });
    world.run(Duration::from_secs(20));
    let expected = |more: &[&str]| -> Vec<_> {
        let numbers = (0..200).map(|number: u32| number.to_string());
        let texts = numbers.chain(more.iter().map(|text| (*text).to_owned()));
        texts.map(|text| ("reliable", "alice".to_owned(), text)).collect()
    };
    assert_eq!(world.clients[1].texts(), expected(&["for bob"]));
    assert_eq!(world.clients[2].texts(), expected(&[]));
    assert!(world.clients[0].texts().is_empty(), "nothing comes back to its sender");
}

#[test]
fn lossy_data_arrives_once_or_not_at_all() {
    let mut world = three();
    let mut seen = 0;
    world.lose = Box::new(move |_| {
        seen += 1;
        seen % 5 == 0
    });
    for number in 0..100 {
        let now = world.now;
        world.clients[0].write(now, false, &number.to_string(), &[]);
        world.run(Duration::from_millis(20));
    }
    world.lose = Box::new(|_| false);
    world.run(Duration::from_secs(5));
    let texts = world.clients[1].texts();
    assert!(texts.iter().all(|(channel, who, _)| (*channel, who.as_str()) == ("lossy", "alice")));
    let distinct: std::collections::BTreeSet<&String> = texts.iter().map(|(_, _, text)| text).collect();
    assert_eq!(distinct.len(), texts.len());
    assert!((30..100).contains(&texts.len()), "{}", texts.len());
}

#[test]
fn the_longest_packets_pass_and_hold_nothing_back() {
    let mut world = three();
    let long = "x".repeat(64_000);
    let now = world.now;
    world.clients[0].write(now, true, &long, &[]);
    world.run(Duration::from_millis(500));
    // With its sender's name it would be longer than receivers take: dropped, and nothing with it.
    let now = world.now;
    world.clients[0].write(now, true, &"y".repeat(65_520), &[]);
    world.run(Duration::from_millis(500));
    let now = world.now;
    world.clients[0].write(now, true, "after it", &[]);
    world.run(Duration::from_secs(2));
    let lengths: Vec<usize> = world.clients[2].texts().iter().map(|(_, _, text)| text.len()).collect();
    assert_eq!(lengths, [long.len(), "after it".len()]);
    assert!(world.clients.iter().all(|(_, client)| !client.closed));
}
