//! Coming in, and what is not let in.

use std::net::SocketAddr;
use std::time::Duration;

use plenum_client::Side;
use plenum_media::counts::Stuck;
use plenum_media::shard::{DropReason, Received};
use str0m::media::MediaKind;

use plenum_sim::{World, picture};

#[test]
fn a_client_becomes_active_by_its_handshakes() {
    let mut world = World::new();
    let alice = world.enter("alice");
    assert!(!world.active(alice));
    let took = world.until("alice is active", 3, |world| world.active(alice));
    assert!(took < Duration::from_millis(1_000), "{took:?}");
    let joined = |name| world.webhooks.iter().filter(|event| event.event == name).count();
    assert_eq!(joined("participant_joined"), 1);
}

#[test]
fn who_never_connects_is_removed_and_told_to_come_again() {
    let mut world = World::new();
    let alice = world.enter("alice");
    world.lose = Box::new(|_| true);
    world.run(Duration::from_secs(11));
    assert_eq!(
        world.shards[0].take_counts().stuck,
        Stuck { ice: 1, dtls: 0 },
        "nothing has come, and that is told once"
    );
    world.until("alice is given up", 31, |world| world.clients[alice].closed);
    assert_eq!(world.shards[0].take_counts().stuck, Stuck::default());
    assert!(!world.webhooks.iter().any(|event| event.event == "participant_joined"));
    assert_eq!(world.shards[0].peers(), 0);
}

#[test]
fn a_handshake_that_does_not_end_is_told() {
    let mut world = World::new();
    world.enter("alice");
    world.lose = Box::new(|datagram| datagram.bytes.first().is_some_and(|first| (20..64).contains(first)));
    world.run(Duration::from_secs(11));
    assert_eq!(world.shards[0].take_counts().stuck, Stuck { ice: 0, dtls: 1 });
}

/// What is not really a client's is dropped, with its reason, and the call goes on.
#[test]
fn bad_datagrams_are_dropped_and_counted() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    let now = world.now;
    world.clients[alice].publish_camera(now);
    world.until("bob sees alice", 5, |world| !world.clients[bob].subscriber.received.is_empty());
    world.dropped.clear();

    let stranger = SocketAddr::from(([192, 0, 2, 66], 6666));
    let publisher = world.clients[alice].publisher.outside;
    let subscriber = world.clients[bob].subscriber.outside;
    let rtp = [&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 77][..], &[0; 40]].concat();
    let rtcp = [&[0x81, 201, 0, 1, 0, 0, 0, 1][..], &[0; 40]].concat();
    let check = |ufrag: &str| {
        let name = format!("{ufrag}:x");
        let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&[0, 6, 0, name.len() as u8]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes[3] = (bytes.len() - 20) as u8;
        bytes
    };
    let own = world.ufrag(bob);
    let malformed = Received::Dropped(DropReason::Malformed);
    let unknown = Received::Dropped(DropReason::UnknownSource);
    let unauthentic = Received::Dropped(DropReason::Unauthentic);
    for (what, from, bytes, outcome) in [
        ("nothing", stranger, Vec::new(), malformed),
        ("neither of the protocols", stranger, vec![99; 50], malformed),
        ("media of a stranger", stranger, rtp.clone(), unknown),
        ("a handshake of a stranger", stranger, vec![22; 50], unknown),
        ("a check that names nobody", stranger, check("00nobody"), unauthentic),
        ("a check with a name that was seen, unsigned", stranger, check(&own), unauthentic),
        ("forged feedback from a client's address", subscriber, rtcp.clone(), unauthentic),
        ("media where nobody sends any", subscriber, rtp.clone(), unauthentic),
        ("nothing, from a client's address", publisher, Vec::new(), malformed),
    ] {
        assert_eq!(world.inject(from, &bytes), outcome, "{what}");
    }
    assert_eq!(world.dropped.get(&DropReason::Malformed), Some(&3));
    assert_eq!(world.dropped.get(&DropReason::UnknownSource), Some(&2));
    assert_eq!(world.dropped.get(&DropReason::Unauthentic), Some(&4));

    // A check for another media thread is named as such and changes nothing here.
    assert!(matches!(world.inject(stranger, &check("07other")), Received::Foreign(_)));

    // Forged with the right shape from the right address: nothing of it arrives anywhere, and nobody is cut off.
    for bytes in [&rtp, &rtcp, &vec![22; 60]] {
        world.inject(publisher, bytes);
    }
    let before = world.clients[bob].subscriber.received.len();
    world.run(Duration::from_secs(2));
    assert!(!world.clients[alice].closed && !world.clients[bob].closed);
    let pictures = world.clients[bob].subscriber.only(MediaKind::Video);
    assert!(pictures.len() > before + 40);
    assert!(pictures.iter().all(|packet| picture(packet).layer < 3));
}

#[test]
fn whoever_falls_silent_is_removed_and_the_others_hear_it() {
    let mut world = World::new();
    let (alice, bob) = (world.join("alice"), world.join("bob"));
    world.clients[bob].dead = true;
    let took = world.until("bob is given up", 30, |world| world.clients[bob].closed);
    assert!(took > Duration::from_secs(15) && took < Duration::from_secs(25), "{took:?}");
    let left = world.webhooks.iter().filter(|event| event.event == "participant_left").count();
    assert_eq!((left, world.shards[0].peers()), (1, 1));
    assert!(!world.clients[alice].closed);
    assert!(world.clients[alice].client.is_connected(Side::Subscriber));
}
