//! Calls over bad links in real time, on our media server and on livekit-server side by side.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{
    peers, places,
    run::{Log, program, show},
    setup, suite,
};

/// What the program says by its exit code where it cannot make network namespaces; it has said why.
const SKIPPED: i32 = 77;

/// Plays all calls, or those that are named; results go to `target/links`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    play(&places::repo("target/links"), args)
}

/// The same with results elsewhere.
pub(crate) fn play(results: &Path, args: &[String]) -> Result<()> {
    setup::npm_packages("web")?;
    show(&mut suite::build_binary())?;
    let mut log = Log::create(places::log("links"))?;
    setup::debian_packages(&mut log).with_context(|| format!("see {}", log.path().display()))?;
    setup::npm_packages("tests/livekit")?;
    peers::install()?;
    let mut links = program(places::binary("links"), ".");
    links.arg("--out").arg(results).args(args);
    links.env("LINKS_BROWSER", places::repo("tests/livekit/links/browser.mjs"));
    let status = suite::on_binary(&mut links).status().context("starting links")?;
    match status.code() {
        Some(0 | SKIPPED) => Ok(()),
        _ => bail!("links ended with {status}"),
    }
}
