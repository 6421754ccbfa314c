//! What does a packet cost that is forwarded to one receiver? `cargo bench -p plenum-media --bench forward`
//!
//! A camera of about 3 Mbit/s to many subscribers: layer and numbers, header, encryption, congestion control; without the
//! system call that sends.

#[path = "../crates/media/tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use plenum_media::egress::{Egress, Origin};
use plenum_media::ids::SourceKey;
use plenum_media::ingest::Source;
use plenum_media::sdp::MediaKind;
use plenum_media::sending::SendQueue;
use support::{packet, subscriber};

/// Time between packets.
const INTERVAL: Duration = Duration::from_micros(3_000);
/// Packets before the measurement: long enough for subscribers that tell nothing to be believed to have room.
const WARM_UP: u64 = 2_000;
const MEASURED: u64 = 2_000;

fn main() {
    for (subscribers, tracks) in [(10, 1), (200, 1), (10, 100)] {
        let (time, sent) = run(subscribers, tracks);
        let each = time.as_secs_f64() * 1e9 / sent as f64;
        report(&format!("{subscribers} subscribers with {tracks} tracks each"), each, sent);
    }
}

#[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
fn report(what: &str, nanos: f64, sent: u64) {
    println!("{what:<40} {nanos:>8.0} ns per packet and receiver, {sent} sent");
}

/// Forwards one of the tracks to everybody. The time, and how many packets left in it.
fn run(subscribers: usize, tracks: u64) -> (Duration, u64) {
    let mut now = Instant::now();
    let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
    let mut queue = SendQueue::default();
    let mut all: Vec<Egress> = (0..subscribers).map(|nth| subscriber(nth, tracks)).collect();
    let (mut time, mut sent) = (Duration::ZERO, 0);
    for nth in 0..WARM_UP + MEASURED {
        now += INTERVAL;
        let Some(number) = source.push(now, 0, packet(nth)).map(|packet| packet.sequence) else { continue };
        let Some(packet) = source.layers[0].ring.get(number) else { continue };
        let start = Instant::now();
        for egress in &mut all {
            egress.forward(now, 0, 0, packet, &source, &mut queue);
            egress.starts_pacing();
        }
        let origin = |key| (key == SourceKey(1)).then_some(Origin { source: &source, speaks: false });
        if nth < WARM_UP {
            all.iter_mut().for_each(|egress| egress.pace(now, origin, &mut queue));
        }
        if nth % 70 == 0 {
            all.iter_mut().for_each(|egress| _ = egress.allocate(now, origin, |_, _| {}));
        }
        if nth >= WARM_UP {
            time += start.elapsed();
            sent += queue.iter().count() as u64;
        }
        queue.clear();
    }
    (time, sent)
}
