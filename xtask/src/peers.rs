//! The stock servers that Plenum is held against: nats-server from PyPI, livekit-server from its Go module.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    places,
    run::{Log, program},
    setup,
};

/// Programs of the stock peers.
pub(crate) struct Peers {
    pub(crate) nats_server: PathBuf,
    pub(crate) livekit_server: PathBuf,
}

impl Peers {
    /// Where they are once installed.
    pub(crate) fn places() -> Self {
        Self {
            nats_server: places::tools("python/bin/nats-server"),
            livekit_server: places::tools("bin/livekit-server"),
        }
    }
}

/// Installs both, with their output in a log of their own.
pub(crate) fn install() -> Result<Peers> {
    let mut log = Log::create(places::log("peers"))?;
    install_logged(&mut log).with_context(|| format!("see {}", log.path().display()))?;
    Ok(Peers::places())
}

/// Versions stand in `tests/peers`: `requirements.txt` and `go.mod`.
pub(crate) fn install_logged(log: &mut Log) -> Result<()> {
    setup::python_packages("python", "tests/peers/requirements.txt", log)?;
    let mut go = program("go", "tests/peers");
    go.args(["build", "-trimpath", "-o"]).arg(Peers::places().livekit_server);
    // Go's own cache makes this immediate when nothing changed.
    log.run(go.arg("github.com/livekit/livekit-server/cmd/server"))
}
