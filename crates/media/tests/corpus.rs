//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn livekit_signal() {
    replay("livekit_signal", |input| {
        plenum_media::signalling::fuzz(input);
        plenum_media::room::fuzz(input);
    });
}

#[test]
fn api() {
    replay("api", plenum_media::room::fuzz_api);
}

#[test]
fn join_request() {
    replay("join_request", plenum_media::signalling::fuzz_request);
}

#[test]
fn sdp() {
    replay("sdp", plenum_media::sdp::fuzz);
}

#[test]
fn rtp() {
    replay("rtp", plenum_media::rtp::fuzz);
}

#[test]
fn ingest() {
    let start = std::time::Instant::now();
    replay("ingest", |input| plenum_media::ingest::fuzz(start, input));
}

#[test]
fn bwe() {
    let start = std::time::Instant::now();
    replay("bwe", |input| plenum_media::bwe::fuzz(start, input));
}

#[test]
fn turn() {
    let start = std::time::Instant::now();
    replay("turn", |input| plenum_media::turn::fuzz(start, input));
}

#[test]
fn dependency_descriptor() {
    replay("dependency_descriptor", plenum_media::rtp::dd::fuzz);
}

#[test]
fn jwt() {
    replay("jwt", plenum_media::token::fuzz);
}
