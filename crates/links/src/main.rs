//! Plays calls over bad links in real time on our media server and on livekit-server, and prints how good they were.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use plenum_links::browsers::{self, BrowserCall, Script};
use plenum_links::report::{self, Play};
use plenum_links::server::{Kind, Program};
use plenum_links::{Unavailable, call};
use plenum_sim::scenario::Scenario;

/// Percent of packets that may be late where figures are to be believed.
const LATE_MAX: f64 = 5.0;
/// What the exit code says where such a network cannot be made.
const SKIPPED: u8 = 77;

/// Plays calls over bad links in real time, and prints how good they were on each server. With `--list`, their names.
#[derive(Debug, Parser)]
#[command(name = "links")]
struct Options {
    /// Which calls; all when none is named.
    calls: Vec<String>,
    /// Prints the names of all calls.
    #[arg(long)]
    list: bool,
    /// Our server.
    #[arg(long, env = "PLENUM_BIN")]
    plenum: PathBuf,
    /// The stock livekit-server; without it only ours is tried.
    #[arg(long, env = "LIVEKIT_SERVER_BIN")]
    livekit: Option<PathBuf>,
    /// Leaves the stock livekit-server out.
    #[arg(long)]
    ours_only: bool,
    /// The script that plays a browser; without it, calls of browsers are left out.
    #[arg(long, env = "LINKS_BROWSER")]
    browser: Option<PathBuf>,
    /// Node.js, which the script is for.
    #[arg(long, default_value = "node")]
    node: PathBuf,
    /// Ends every call after so long, such as `15s`.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    limit: Option<Duration>,
    /// Where results and the servers' logs are kept.
    #[arg(long)]
    out: PathBuf,
    /// Leaves out what was played before and is kept there.
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Unavailable>() => {
            println!("skipped: {error:#}");
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Something that can be played.
enum Call {
    People(&'static Scenario),
    Browsers(&'static BrowserCall, Script),
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Self::People(scenario) => scenario.name,
            Self::Browsers(call, _) => call.name,
        }
    }

    fn play(&self, options: &Options, program: &Program, log: &Path) -> Result<Play> {
        match self {
            Self::People(scenario) => call::play(scenario, options.limit, program, log),
            Self::Browsers(call, script) => call.play(options.limit, program, script, log),
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let calls = calls(options)?;
    if options.list {
        calls.iter().for_each(|call| println!("{}", call.name()));
        return Ok(true);
    }
    let stock = options.livekit.clone().filter(|_| !options.ours_only);
    let stock = stock.map(|path| Program { kind: Kind::Livekit, path });
    let ours = Program { kind: Kind::Plenum, path: options.plenum.clone() };
    let programs: Vec<Program> = [ours].into_iter().chain(stock).collect();
    std::fs::create_dir_all(&options.out).with_context(|| format!("creating {}", options.out.display()))?;
    let file = options.out.join("links.json");
    let mut plays = if options.resume { report::load(&file)? } else { Vec::new() };
    let mut all_well = true;
    for call in &calls {
        for program in &programs {
            let (name, server) = (call.name(), program.kind.name());
            if plays.iter().any(|play| play.call == name && play.server == server) {
                continue;
            }
            println!("{name}: {server}");
            match call.play(options, program, &options.out.join(format!("{server}.log"))) {
                Ok(play) => plays.push(play),
                Err(error) if error.is::<Unavailable>() => return Err(error),
                Err(error) => {
                    println!("could not be played: {error:#}");
                    all_well = false;
                }
            }
            report::save(&file, &plays)?;
        }
    }
    plays.retain(|play| calls.iter().any(|call| call.name() == play.call));
    print!("\n{}", report::table(&plays));
    for Play { call, server, late, .. } in plays.iter().filter(|play| play.late > LATE_MAX) {
        println!(
            "{server}: {call}: this machine was late with {late:.1} % of the packets: do not believe the line"
        );
    }
    for play in &plays {
        play.broken.iter().for_each(|broken| println!("{}: does not hold: {broken}", play.server));
    }
    println!("kept in {}", file.display());
    Ok(all_well)
}

/// The calls that are wanted.
fn calls(options: &Options) -> Result<Vec<Call>> {
    let people = call::scenarios().map(Call::People);
    let node = || options.node.clone();
    let scripts = options.browser.iter().map(|script| Script { node: node(), script: script.clone() });
    let browsers = scripts
        .flat_map(|script| browsers::CALLS.iter().map(move |call| Call::Browsers(call, script.clone())));
    let all: Vec<Call> = people.chain(browsers).collect();
    if let Some(unknown) = options.calls.iter().find(|name| !all.iter().any(|call| call.name() == **name)) {
        let names: Vec<&str> = all.iter().map(Call::name).collect();
        bail!("`{unknown}` is none of: {}", names.join(", "));
    }
    let wanted =
        |call: &Call| options.calls.is_empty() || options.calls.iter().any(|name| name == call.name());
    Ok(all.into_iter().filter(wanted).collect())
}
