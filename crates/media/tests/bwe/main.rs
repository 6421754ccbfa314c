//! Congestion control over simulated links, in virtual time. Round trip 60 ms, drop-tail queue of 300 ms.

mod call;

use std::time::Duration;

use call::{Call, Camera};
use plenum_media::bwe::Bitrate;
use plenum_sim::{Bursts, Conditions, Dice};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn layers(conditions: Conditions) -> Call {
    Call::new(conditions, Camera::Layers)
}

#[test]
fn a_good_link_has_the_top_layer_within_two_seconds() {
    let mut call = layers(Conditions::kbps(5_000));
    let took = call.run_until(secs(5), |call| call.layer == Some(2));
    assert!(took.is_some_and(|took| took <= secs(2)), "{took:?}");
    call.reset();
    call.run(secs(60));
    assert_eq!((call.switches, call.layer), (0, Some(2)));
    assert!(call.worst_queue <= ms(40), "{:?}", call.worst_queue);
}

#[test]
fn a_link_that_falls_keeps_the_sound_and_a_small_picture() {
    let mut call = layers(Conditions::kbps(5_000));
    call.run(secs(15));
    assert_eq!(call.layer, Some(2));
    call.reset();
    call.limit(300);
    let small = call.run_until(secs(5), |call| call.layer == Some(0));
    assert!(small.is_some_and(|took| took <= secs(2)), "{small:?}");
    let drained = call.run_until(secs(5), |call| call.link.backlog(call.now) < ms(100));
    let drained = drained.zip(small).map(|(drained, small)| drained + small);
    assert!(drained.is_some_and(|took| took <= ms(1_500)), "{drained:?}");
    // Sound lost in the full queue and the queue itself: no more than that.
    assert!(call.audio_gap <= ms(500), "{:?}", call.audio_gap);
    call.run(secs(2));
    call.reset();
    call.run(secs(30));
    assert_eq!(call.layer, Some(0));
    assert!(call.switches <= 2, "{}", call.switches);
    assert!(call.audio_gap <= ms(150), "{:?}", call.audio_gap);
    assert!(call.worst_queue <= ms(150), "{:?}", call.worst_queue);
    call.limit(5_000);
    let full = call.run_until(secs(15), |call| call.layer == Some(2));
    assert!(full.is_some_and(|took| took <= secs(6)), "{full:?}");
}

#[test]
fn a_falling_link_is_empty_again_within_a_second_and_recovers() {
    // The scenario that str0m's estimator was measured with: 3 s of full queue, 313 packets lost, 20 s to recover.
    let mut call = Call::new(Conditions::kbps(5_000), Camera::Follows(0.9, 4_000));
    call.run(secs(15));
    assert!(call.bwe.estimate().as_bps() >= 4_000_000, "{:?}", call.bwe.estimate());
    call.limit(1_000);
    let lost = call.link.dropped();
    call.run(ms(200));
    let drained = call.run_until(secs(5), |call| call.link.backlog(call.now) < ms(50));
    assert!(drained.is_some_and(|took| took <= ms(1_300)), "{drained:?}");
    assert!(call.link.dropped() - lost < 160, "{}", call.link.dropped() - lost);
    call.run(secs(10));
    assert!((700_000..1_050_000).contains(&call.bwe.estimate().as_bps()), "{:?}", call.bwe.estimate());
    call.limit(5_000);
    let full = call.run_until(secs(20), |call| call.bwe.estimate().as_bps() >= 4_000_000);
    assert!(full.is_some_and(|took| took <= secs(8)), "{full:?}");
}

#[test]
fn three_percent_of_random_loss_change_nothing() {
    let mut call = layers(Conditions { loss: 0.03, ..Conditions::kbps(5_000) });
    let took = call.run_until(secs(5), |call| call.layer == Some(2));
    assert!(took.is_some_and(|took| took <= secs(3)), "{took:?}");
    call.reset();
    call.run(secs(60));
    assert_eq!((call.switches, call.layer), (0, Some(2)));
}

#[test]
fn a_link_that_loses_a_fifth_whatever_it_carries_is_used_all_the_same() {
    let mut call = layers(Conditions { loss: 0.2, ..Conditions::kbps(5_000) });
    call.run(secs(20));
    call.reset();
    call.run(secs(40));
    assert!(call.layer.is_some_and(|layer| layer >= 1) && call.switches <= 4, "{} switches", call.switches);
}

#[test]
fn losses_of_a_policer_are_avoided() {
    let mut call = layers(Conditions { queue: ms(15), ..Conditions::kbps(1_000) });
    call.run(secs(10));
    let before = call.link.dropped();
    call.run(secs(30));
    assert!(call.link.dropped() - before < 200, "{}", call.link.dropped() - before);
}

#[test]
fn ten_percent_of_loss_never_cost_the_small_picture() {
    let mut call = layers(Conditions { loss: 0.10, ..Conditions::kbps(5_000) });
    call.run(secs(5));
    for _ in 0..120 {
        call.run(ms(500));
        assert!(call.layer.is_some());
    }
    assert!(call.switches <= 8, "{}", call.switches);
}

#[test]
fn jitter_is_not_congestion() {
    let mut call = layers(Conditions { jitter: ms(30), ..Conditions::kbps(5_000) });
    let took = call.run_until(secs(10), |call| call.layer == Some(2));
    assert!(took.is_some_and(|took| took <= secs(4)), "{took:?}");
    call.reset();
    call.run(secs(60));
    assert!(call.switches <= 2 && call.layer == Some(2), "{} {:?}", call.switches, call.layer);
}

#[test]
fn a_link_between_two_layers_does_not_flap() {
    let mut call = layers(Conditions::kbps(800));
    call.run(secs(8));
    assert_eq!(call.layer, Some(1));
    call.reset();
    call.run(secs(60));
    assert!(call.switches <= 2 && call.layer == Some(1), "{} {:?}", call.switches, call.layer);
    assert!(call.worst_queue <= ms(200), "{:?}", call.worst_queue);
}

#[test]
fn strong_jitter_is_no_queue() {
    let mut call = layers(Conditions { jitter: ms(80), ..Conditions::kbps(5_000) });
    call.run(secs(10));
    for _ in 0..60 {
        call.run(secs(1));
        assert!(call.layer.is_some(), "never paused");
    }
    assert!(call.bwe.estimate().as_bps() > 400_000, "{:?}", call.bwe.estimate());
}

#[test]
fn what_others_send_is_left_to_them() {
    let mut call = layers(Conditions { competing: Bitrate::kbps(400), ..Conditions::kbps(1_100) });
    call.run(secs(10));
    call.reset();
    call.run(secs(60));
    assert_eq!(call.layer, Some(1));
    assert!(call.switches <= 2, "{}", call.switches);
    assert!(call.worst_queue <= ms(250), "{:?}", call.worst_queue);
}

#[test]
fn feedback_that_is_lost_for_a_second_changes_nothing() {
    let mut call = layers(Conditions::kbps(5_000));
    call.run(secs(10));
    let before = call.bwe.estimate();
    call.deaf_until = call.now + secs(1);
    call.run(secs(1));
    assert!(call.bwe.estimate() <= before.times(1.05), "no growth in the dark");
    call.reset();
    call.run(secs(5));
    assert_eq!((call.switches, call.layer), (0, Some(2)));
}

#[test]
fn silence_is_a_broken_link() {
    let mut call = layers(Conditions::kbps(5_000));
    call.run(secs(10));
    let before = call.bwe.estimate();
    call.deaf_until = call.now + secs(6);
    call.run(secs(6));
    assert!(call.bwe.estimate() < before.times(0.5), "{:?}", call.bwe.estimate());
    let full = call.run_until(secs(10), |call| call.layer == Some(2));
    assert!(full.is_some_and(|took| took <= secs(6)), "{full:?}");
}

#[test]
fn reordering_and_bursts_of_loss_do_no_lasting_harm() {
    let mut call = layers(Conditions {
        reorder: 0.02,
        bursts: Bursts { begin: 0.001, end: 0.1, loss: 1.0 },
        ..Conditions::kbps(5_000)
    });
    call.run(secs(60));
    assert_eq!(call.layer, Some(2));
}

/// Feedback of random bytes, half of them of a form that is read: bounds hold and nothing panics.
#[test]
fn no_feedback_does_harm() {
    let start = std::time::Instant::now();
    let mut dice = Dice::new(4_711);
    for round in 0..3_000 {
        let mut input: Vec<u8> = (0..600).map(|_| (dice.roll() * 256.0) as u8).collect();
        if round % 2 == 0 {
            // Few packets, near the numbers that were sent, with small status counts.
            for at in (0..input.len() - 40).step_by(36) {
                input[at + 2] = 32;
                input[at + 4] = 0;
                input[at + 6] = 0;
                input[at + 7] %= 16;
                input[at + 8..at + 10].fill(0);
            }
        }
        plenum_media::bwe::fuzz(start, &input);
    }
}
