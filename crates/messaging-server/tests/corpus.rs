//! Runs the fuzz targets of this crate over their corpora.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn websocket() {
    replay("websocket", plenum_messaging_server::fuzz);
}
