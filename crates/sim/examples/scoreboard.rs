//! Plays all calls over bad links and prints how good they were; `--write` keeps that in `scoreboard.txt`.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

use std::process::ExitCode;

use plenum_sim::scenario::play_all;

fn main() -> std::io::Result<ExitCode> {
    let results = play_all(1);
    print!("{}", results.scoreboard);
    for broken in &results.broken {
        println!("does not hold: {broken}");
    }
    if std::env::args().any(|arg| arg == "--write") {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/scoreboard.txt"), results.scoreboard)?;
    }
    Ok(if results.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
