//! The server with a web client that reloads as you type.

use std::process::{Child, Command};

use anyhow::{Context, Result};

use crate::{
    places,
    run::{program, show},
    setup,
};

/// Builds and starts the server, then Vite in front of it. Ends when either ends; Ctrl-C reaches both.
pub(crate) fn run(args: &[String]) -> Result<()> {
    setup::npm_packages("web")?;
    show(program("cargo", ".").args(["build", "--package", "plenum"]))?;
    let mut server = Running::start(program(places::binary("plenum"), ".").args(args))?;
    let mut vite = Running::start(program("npm", "web").args(["run", "dev"]))?;
    println!(
        "\nOpen the address that Vite prints; the host link of the server works there too, behind its `/host#`.\n"
    );
    while server.is_up()? && vite.is_up()? {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Ok(())
}

/// A program that ends when this value does.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        command.env_remove("NO_COLOR").spawn().map(Self).with_context(|| format!("starting {command:?}"))
    }

    fn is_up(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good as ended now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
