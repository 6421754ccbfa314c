//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn nats_protocol() {
    replay("nats_protocol", plenum_messaging::fuzz::protocol);
}

#[test]
fn nats_jwt() {
    replay("nats_jwt", plenum_messaging::fuzz::jwt);
}
