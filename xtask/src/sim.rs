//! Programs of the simulation. They are built like the tests, so that dependencies compile once.

use anyhow::Result;

use crate::{
    places,
    run::{program, show},
};

/// Plays the calls over bad links.
pub(crate) fn scoreboard(args: &[String]) -> Result<()> {
    run("scoreboard", args)
}

/// Lets people come and go.
pub(crate) fn churn(args: &[String]) -> Result<()> {
    run("churn", args)
}

fn run(example: &str, args: &[String]) -> Result<()> {
    show(program("cargo", ".").args(["build", "--workspace", "--quiet", "--example", example]))?;
    show(program(places::binary(&format!("examples/{example}")), ".").args(args))
}
