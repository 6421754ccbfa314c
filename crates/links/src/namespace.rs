//! A network of its own for whoever is put into it.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use rustix::io::retry_on_intr;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. It ends with this value and whoever runs in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// An empty one.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("plenum-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let file = File::open(format!("/run/netns/{name}")).context("opening the namespace");
        // The open file keeps it; without a name nothing is left over, however this program ends.
        ip(&["netns", "delete", &name])?;
        Ok(Self(file?))
    }

    /// Does something in it, on a thread of its own. Programs that it starts and sockets that it opens stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let enter = || move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
                retry_on_intr(enter).context("entering the namespace")?;
                work()
            });
            inside.join().map_err(|_| anyhow::anyhow!("what ran in the namespace panicked"))?
        })
    }
}

/// Runs iproute2's `ip`.
pub(crate) fn ip(args: &[&str]) -> Result<()> {
    let words = || format!("ip {}", args.join(" "));
    let output = Command::new("ip").args(args).output().with_context(words)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", words(), said.trim());
    Ok(())
}
