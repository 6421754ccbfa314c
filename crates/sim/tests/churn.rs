//! What the server keeps follows what is there. `cargo xtask churn` is the long form.

use plenum_sim::churn::Crowd;

/// Bytes that are kept after that and the end.
fn kept(work: impl FnOnce(&mut Crowd)) -> i64 {
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let mut crowd = Crowd::new();
        work(&mut crowd);
        crowd.end();
        kept = Some(crowd);
    });
    allocated.bytes_current
}

#[test]
fn whoever_has_left_leaves_nothing() {
    let mut crowd = Crowd::new();
    crowd.come_and_go(10);
    crowd.leave();
    let before = crowd.extent();
    assert_eq!((before.peers, before.others, before.tracks), (1, 0, 0));
    crowd.come_and_go(10);
    crowd.leave();
    assert_eq!(crowd.extent(), before, "lines are used again");
    let (few, many) = (kept(|crowd| crowd.come_and_go(20)), kept(|crowd| crowd.come_and_go(60)));
    // The list of who has left lately keeps its room; a peer would be ten times that.
    assert!(many - few < 16_384, "{few} bytes are kept after 20, {many} after 60");
}

#[test]
fn what_was_taken_back_leaves_nothing() {
    let mut crowd = Crowd::new();
    crowd.publish_and_take_back(6);
    let before = crowd.extent();
    crowd.publish_and_take_back(12);
    assert_eq!(crowd.extent(), before, "lines are used again");
    let [few, many] = [8, 24].map(|times| kept(|crowd| crowd.publish_and_take_back(times)));
    assert!(many - few < 4_096, "{few} bytes are kept after 8, {many} after 24");
}

#[test]
fn a_full_room_is_negotiated_and_empties() {
    let mut crowd = Crowd::new();
    let empty = crowd.extent();
    crowd.fill(4, 25);
    assert_eq!(crowd.extent().tracks, 100);
    assert!(crowd.extent().lines >= 100);
    crowd.one_more();
    crowd.leave();
    assert_eq!((crowd.extent().peers, crowd.extent().tracks), (empty.peers, 0));
}
