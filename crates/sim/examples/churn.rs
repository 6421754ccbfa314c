//! Many people come and go, publish and take back, and fill a room; prints what is kept of it.
//!
//! `churn [joins]`, 10,000 where nothing is said.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use plenum_sim::churn::Crowd;

fn main() -> ExitCode {
    let joins = std::env::args().nth(1).and_then(|joins| joins.parse().ok()).unwrap_or(10_000);
    let few = joins / 10;
    let mut holds = true;
    let mut compare = |what: &str, few: (u64, i64), many: (u64, i64)| {
        let each = (many.1 - few.1) / (many.0 - few.0).max(1).cast_signed();
        println!(
            "{what}: {} bytes kept after {}, {} after {}: {each} for each",
            few.1, few.0, many.1, many.0
        );
        holds &= each < 64;
    };
    let come = |times| (times, kept("joins", times, |crowd| crowd.come_and_go(times)));
    compare("coming and going", come(few), come(joins));
    let storm = |times| (times, kept("publications", times, |crowd| crowd.publish_and_take_back(times)));
    compare("publishing and taking back", storm(joins / 100), storm(joins / 20));
    for tracks in [0, 100, 400, 0] {
        let mut crowd = Crowd::new();
        crowd.fill(tracks / 20, 20);
        let began = Instant::now();
        let took = crowd.one_more();
        let extent = crowd.extent();
        println!(
            "joining a room of {} tracks in {} lines: {:.1} ms of the machine, {took:?} of the call",
            extent.tracks,
            extent.lines,
            began.elapsed().as_secs_f64() * 1e3,
        );
        holds &= extent.tracks as u64 == tracks;
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Bytes that are kept after that, when everybody has left.
fn kept(what: &str, times: u64, work: impl FnOnce(&mut Crowd)) -> i64 {
    let began = Instant::now();
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let mut crowd = Crowd::new();
        work(&mut crowd);
        crowd.end();
        kept = Some(crowd);
    });
    println!("{times} {what} took {:.1} s", began.elapsed().as_secs_f64());
    allocated.bytes_current
}
