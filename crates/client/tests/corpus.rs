//! Runs the fuzz target of this crate over its corpus.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn client_packet() {
    let start = std::time::Instant::now();
    replay("client_packet", |input| plenum_client::fuzz(start, input));
}
