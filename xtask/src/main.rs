//! What a developer and CI run: `cargo xtask <verb>`.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

mod bench;
mod count;
mod dev;
mod fuzz;
mod links;
mod long;
mod peers;
mod places;
mod run;
mod setup;
mod sim;
mod stage;
mod suite;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask <verb>

  test [stage…]    everything CI runs, or only the named stages; installs what it needs
  lint             format, clippy, web lint and types
  web              builds the web client into web/dist
  dev [args…]      the server with the web client reloading as you type; args go to `plenum`
  e2e [args…]      browser tests against the binary; args go to Playwright, such as `-g chat`
  fuzz <target>    fuzzes one parser until stopped (needs nightly and cargo-fuzz)
  scoreboard       plays calls over bad links and prints how good they are; `--write` keeps that in the repository
  churn [joins]    10,000 people come and go, publish and take back, fill a room: what is kept of that
  links [call…]    calls over bad links in real time, on our media server and on livekit-server (needs root)
  bench [args…]    what the media server costs beside livekit-server; args go to `benches/media.mjs`, such as `--quick`
  long [target…]   fuzzes every parser for half an hour, then churn and links; goes on where it was stopped, `--anew` anew
  peers            installs the stock nats-server and livekit-server that tests compare with
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match dispatch(&verb, &rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether what the verb checks holds; an error when the verb itself could not be carried out.
fn dispatch(verb: &str, rest: &[String]) -> Result<bool> {
    match verb {
        "test" => suite::test(rest),
        "lint" => suite::lint(),
        "web" => setup::npm_packages("web").and_then(|()| suite::build_web()).map(|()| true),
        "dev" => dev::run(rest).map(|()| true),
        "e2e" => suite::e2e(rest),
        "fuzz" => fuzz::run(rest),
        "scoreboard" => sim::scoreboard(rest).map(|()| true),
        "churn" => sim::churn(rest).map(|()| true),
        "links" => links::run(rest).map(|()| true),
        "bench" => bench::run(rest).map(|()| true),
        "long" => long::run(rest),
        "peers" => peers::install().map(|peers| {
            println!("nats-server      {}", peers.nats_server.display());
            println!("livekit-server   {}", peers.livekit_server.display());
            true
        }),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => bail!("no verb `{other}`\n\n{USAGE}"),
    }
}
