//! What the media server costs on this machine, beside livekit-server and the floor (`benches/media.mjs`).

use anyhow::Result;

use crate::{
    peers, places,
    run::{program, show},
    suite,
};

/// Builds for speed and measures; `args` go to the program.
pub(crate) fn run(args: &[String]) -> Result<()> {
    peers::install()?;
    let build = ["build", "--workspace", "--release", "--bins"];
    show(program("cargo", ".").args(build).env("WEB_CLIENT", "skip"))?;
    let mut bench = program("node", ".");
    bench.arg("benches/media.mjs").args(args);
    show(suite::on_binary(&mut bench).env("PLENUM_BIN", places::repo("target/release/plenum")))
}
