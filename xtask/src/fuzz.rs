//! Fuzzes one parser of outside bytes. Its corpus replays as an ordinary test; this looks for new inputs.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    places,
    run::{program, show},
};

/// Runs until stopped or until an input breaks the parser.
pub(crate) fn run(args: &[String]) -> Result<bool> {
    let targets = targets()?;
    let Some((target, rest)) = args.split_first().filter(|(name, _)| targets.contains(name)) else {
        bail!("which one? cargo xtask fuzz <{}>", targets.join("|"));
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    show_fuzz("run", target, &rest).map(|()| true)
}

/// `cargo fuzz <verb> <target> <rest…>`, on the terminal.
pub(crate) fn show_fuzz(verb: &str, target: &str, rest: &[&str]) -> Result<()> {
    show(program("cargo", "fuzz").args(["+nightly", "fuzz", verb, target]).args(rest))
        .context("fuzzing needs `rustup toolchain install nightly` and `cargo install cargo-fuzz`")
}

pub(crate) fn targets() -> Result<Vec<String>> {
    let folder = places::repo("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
